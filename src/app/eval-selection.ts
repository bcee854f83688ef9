// Which tasks a call of `openelm eval` means: a suite, or names of tasks and groups, the user's own (YAML or JSON files in a folder)
// among them. No data and no models.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../errors.js';
import type { EvaluateOptions } from '../eval/harness.js';
import { findSuite, type Suite } from '../eval/suites.js';
import { leafTasks, type Task, type TaskGroup } from '../eval/task.js';
import { builtinTasks, findTasks, nameOf } from '../eval/tasks/index.js';
import { taskFromObject } from '../eval/user-task.js';
import { parseYaml } from '../io/config.js';
import { fileError } from '../io/node/files.js';
import { readTextFile, UsageError } from './terminal.js';

export interface SelectionOptions {
  readonly suite?: string;
  /** Names with commas between them. */
  readonly tasks?: string;
  readonly tasksDir?: string;
  readonly numFewshot?: number;
}

export interface Selection {
  readonly tasks: readonly (Task | TaskGroup)[];
  readonly numFewshot: EvaluateOptions['numFewshot'];
  readonly suite?: Suite;
}

/** Throws `UsageError` when nothing or two things are asked for, `InputError` on an unknown name or a task file that is wrong. */
export async function selectTasks({ suite: name, tasks, tasksDir, numFewshot }: SelectionOptions): Promise<Selection> {
  if ((name === undefined) === (tasks === undefined)) {
    throw new UsageError('give either --suite or --tasks (--tasks list shows the tasks)');
  }
  const own = tasksDir === undefined ? [] : await readTasks(tasksDir);
  if (tasks !== undefined) return { tasks: findTasks(namesIn(tasks), own), numFewshot };
  if (numFewshot !== undefined) throw new UsageError('a suite has its own numbers of examples: --num-fewshot goes with --tasks');
  const suite = findSuite(name!)!;
  return {
    tasks: findTasks(suite.tasks.map(({ task }) => task)),
    numFewshot: Object.fromEntries(suite.tasks.map(({ task, numFewshot: shots }) => [task, shots])),
    suite,
  };
}

function namesIn(list: string): string[] {
  const names = list.split(',').map((part) => part.trim());
  if (names.some((part) => part === '')) throw new UsageError('--tasks takes names with one comma between them');
  return names;
}

/** The tasks in the .yaml, .yml and .json files of a folder. Throws `InputError` that names file and field. */
export async function readTasks(folder: string): Promise<Task[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw fileError(error, folder, 'read');
  });
  const files = names.filter((file) => /\.(ya?ml|json)$/.test(file)).sort();
  if (files.length === 0) throw new InputError(`${folder}: no .yaml, .yml or .json file, so no task`);
  const tasks = new Map<string, { task: Task; file: string }>();
  for (const file of files.map((part) => join(folder, part))) {
    const text = await readTextFile(file);
    const line = text.split('\n').findIndex((part) => /^[^#'"]*:\s*!function\b/.test(part));
    if (line >= 0) throw new InputError(`${file}, line ${line + 1}: "!function" is Python; write the field as a template`);
    const task = taskFromObject(parseYaml(text, file), file);
    const other = tasks.get(task.task);
    if (other) throw new InputError(`${file}: task "${task.task}" is in ${other.file} already`);
    tasks.set(task.task, { task, file });
  }
  return [...tasks.values()].map(({ task }) => task);
}

/** What `--tasks list` prints: a line each. */
export async function describeTasks(tasksDir: string | undefined): Promise<string> {
  const own = tasksDir === undefined ? [] : await readTasks(tasksDir);
  const lines = [...own, ...builtinTasks].map((item) => {
    const what =
      'group' in item
        ? `a group of ${leafTasks([item]).length} tasks`
        : (item.metric_list ?? []).map(({ metric }) => metric).join(', ');
    return `${nameOf(item).padEnd(28)}${what}\n`;
  });
  return [...lines, `${'llm_adapters'.padEnd(28)}the eight llm_adapters_* tasks\n`].join('');
}
