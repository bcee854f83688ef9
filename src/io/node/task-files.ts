// A folder of task files as lm-evaluation-harness has them: every .yaml, .yml and .json in it and below, YAML as Python reads it,
// `include` merged in (later ones over earlier ones, the file's own fields over all), Python functions noted by name.

import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { InputError } from '../../errors.js';
import { type KnownFunction, knownFunctions } from '../../eval/python-functions.js';
import { nameOf, type Task, type TaskGroup } from '../../eval/task.js';
import { definition, type TaskFile, TaskRegistry } from '../../eval/task-registry.js';
import { builtinTasks, everything } from '../../eval/tasks/index.js';
import { decodeUtf8 } from '../json.js';
import { parsePythonYaml, plainNumbers } from '../python-yaml.js';
import './deadline.js';
import { fileError } from './files.js';
import { readIfThere } from './paths.js';

const skipped = ['__pycache__', '.ipynb_checkpoints', 'node_modules', '.git'];

/**
 * The tasks and groups of a folder's files by name; groups may name built-in tasks. Throws `InputError` that names file and field: now
 * when there are no files, and when a task that is wrong is asked for.
 */
export async function readTasks(folder: string): Promise<TaskRegistry> {
  const { files, problems } = await readTaskFiles(folder);
  return new TaskRegistry(files, problems, builtin());
}

function builtin(): (name: string) => readonly (Task | TaskGroup)[] | undefined {
  const known = new Map(everything(builtinTasks).map((item) => [nameOf(item), [item]]));
  return (name) => known.get(name);
}

/** Whether a name is that of a task file. */
export function isTaskFile(name: string): boolean {
  return /\.(ya?ml|json)$/.test(name);
}

/**
 * The task or group that one file defines. A group's members are looked for in `folder`, else in the file's own, then among the built-in
 * tasks. Throws `InputError` that names file and field.
 */
export async function readTaskFile(file: string, folder?: string): Promise<readonly (Task | TaskGroup)[]> {
  const fields = await new Includes().read(file, []);
  const [kind, name] = definition(fields);
  const own: TaskFile = { file, fields };
  const around = folder ?? (kind === 'group' ? dirname(file) : undefined);
  const others = around === undefined ? { files: [], problems: [] } : await readTaskFiles(around);
  const files = [own, ...others.files.filter((other) => resolve(other.file) !== resolve(file))];
  const registry = new TaskRegistry(files, [], builtin());
  if (typeof name !== 'string') throw registry.problems[0];
  return registry.find(name)!;
}

/**
 * The files of a folder that define a task or a group, in the order of their names; files that only others include are left out.
 * `problems` name files that cannot be used: not YAML, no fields, an include that is not there or goes in a circle. Throws
 * `InputError` when there are no files.
 */
export async function readTaskFiles(folder: string): Promise<{ files: TaskFile[]; problems: InputError[] }> {
  const reader = new Includes();
  const found: TaskFile[] = [];
  const paths = await filesBelow(folder);
  if (paths.length === 0) throw new InputError(`${folder}: no .yaml, .yml or .json file, so no task`);
  const problems: InputError[] = [];
  for (const file of paths) {
    try {
      found.push({ file, fields: await reader.read(file, []) });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      problems.push(error);
    }
  }
  const files = found.filter(({ file, fields }) => {
    if (fields.task !== undefined || fields.group !== undefined) return true;
    if (reader.included.has(resolve(file))) return false;
    problems.push(new InputError(`${file}: task is missing`));
    return false;
  });
  return { files, problems };
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw fileError(error, folder, 'read');
  });
  const paths = await Promise.all(
    entries.map(async (entry): Promise<string[]> => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return skipped.includes(entry.name) ? [] : filesBelow(path);
      return isTaskFile(entry.name) ? [path] : [];
    }),
  );
  return paths.flat().sort();
}

class Includes {
  /** Absolute paths of files that another one includes. */
  readonly included = new Set<string>();
  private readonly parsed = new Map<string, Readonly<Record<string, unknown>>>();
  private readonly modules = new Map<string, ReadonlyMap<string, KnownFunction>>();

  async read(file: string, way: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
    const path = resolve(file);
    if (way.includes(path)) throw new InputError(`${file}: its includes go in a circle`);
    const fields = await this.parse(file, path, way.length > 0);
    if (fields.include === undefined) return fields;
    const { include, ...own } = fields;
    let merged: Record<string, unknown> = {};
    for (const name of [include].flat()) {
      if (typeof name !== 'string') throw new InputError(`${file}: include must be the path of a file, or a list of paths`);
      const target = resolve(dirname(path), name);
      this.included.add(target);
      const { task_list: _, ...inherited } = await this.read(target, [...way, path]);
      merged = { ...merged, ...inherited };
    }
    return { ...merged, ...own };
  }

  private async parse(file: string, path: string, included: boolean): Promise<Readonly<Record<string, unknown>>> {
    const known = this.parsed.get(path);
    if (known) return known;
    const bytes = await readIfThere(path);
    if (bytes === undefined) throw new InputError(`${file}: ${included ? 'it is included, but there' : 'there'} is no such file`);
    const text = decodeUtf8(bytes, file).replace(/^\ufeff/, '');
    const fields = parsePythonYaml(text, file, [pythonFunction]);
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
      throw new InputError(`${file}: expected fields such as task and doc_to_text`);
    }
    const task = await this.known(settings(fields as Record<string, unknown>), dirname(path));
    this.parsed.set(path, task);
    return task;
  }

  /** The fields with what known functions do in their place. */
  private async known(fields: Record<string, unknown>, folder: string): Promise<Record<string, unknown>> {
    const of = async (value: unknown) => {
      const [, module, name] = functionName(value)?.match(/^(\w+)\.(\w+)$/) ?? [];
      return module === undefined ? undefined : (await this.functionsOf(join(folder, `${module}.py`))).get(name);
    };
    const docs = await of(fields.process_docs);
    const changed: Record<string, unknown> = docs && 'keep' in docs ? { process_docs: docs } : {};
    if (Array.isArray(fields.metric_list)) {
      changed.metric_list = await Promise.all(
        fields.metric_list.map(async (metric: Record<string, unknown> | null) => {
          const found = await of(metric?.aggregation);
          return found && 'aggregation' in found ? { ...metric, ...found } : metric;
        }),
      );
    }
    return { ...fields, ...changed };
  }

  /** None where the file is not there or no text: the task is refused for the function's name. */
  private async functionsOf(path: string): Promise<ReadonlyMap<string, KnownFunction>> {
    let functions = this.modules.get(path);
    if (!functions) {
      const text = await readIfThere(path, 1 << 20)
        .then((bytes) => (bytes ? decodeUtf8(bytes, path) : ''))
        .catch(() => '');
      functions = knownFunctions(text);
      this.modules.set(path, functions);
    }
    return functions;
  }
}

/** A `!function` that stands in a file. */
function functionName(value: unknown): string | undefined {
  const name = (value as { '!function'?: unknown } | null | undefined)?.['!function'];
  return typeof name === 'string' ? name : undefined;
}

/** A file's fields with plain numbers; but examples are data, which templates print as Python does. */
function settings(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const plain = plainNumbers(fields) as Record<string, unknown>;
  const config = fields.fewshot_config as { samples?: unknown } | null | undefined;
  if (!config?.samples) return plain;
  return { ...plain, fewshot_config: { ...(plain.fewshot_config as object), samples: config.samples } };
}

const pythonFunction = { tag: '!function', resolve: (name: string) => ({ '!function': name }) };
