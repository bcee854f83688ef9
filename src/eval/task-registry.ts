// Tasks, groups and tags of a user's files by name, as lm-evaluation-harness's tasks/_index.py and _factory.py have them: a group lists
// tasks, groups, tags or definitions of its own, each perhaps with other settings; a tag stands for the tasks that bear it. What a
// file asks for that cannot be done here is refused when its task is asked for. Reading files and `include` are io/node's.

import { counted, InputError, messageOf, nearest, shown } from '../errors.js';
import type { Task, TaskGroup } from './task.js';
import { checkedOverrides, taskFromObject } from './user-task.js';

/** A file's fields, includes merged in; a Python function is `{ '!function': name }`. */
export interface TaskFile {
  readonly file: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

type Fields = Readonly<Record<string, unknown>>;
type Entry = { readonly kind: 'task' | 'group'; readonly file: string; readonly fields: Fields };

const GROUP_FIELDS = ['group', 'group_alias', 'task', 'aggregate_metric_list', 'metadata'];

/** What a file's fields define, and by which name. */
export function definition(fields: Fields): ['task' | 'group', unknown] {
  // Before tags there were groups: a task with a group bears its name. A group of one task may list it as a text.
  const isTask = fields.group === undefined || (typeof fields.task === 'string' && fields.dataset_path !== undefined);
  return isTask ? ['task', fields.task] : ['group', fields.group];
}

/** The tasks that files define, to be found by name. */
export class TaskRegistry {
  private readonly entries = new Map<string, Entry>();
  private readonly tags = new Map<string, string[]>();

  /**
   * `problems` are files that could not be used: one of them may be what is asked for. `others` finds what the files do not define:
   * built-in tasks.
   */
  constructor(
    files: readonly TaskFile[],
    readonly problems: InputError[],
    private readonly others: (name: string) => readonly (Task | TaskGroup)[] | undefined,
  ) {
    for (const { file, fields } of files) {
      const [kind, name] = definition(fields);
      const other = typeof name === 'string' ? this.entries.get(name) : undefined;
      if (typeof name !== 'string' || name === '') problems.push(new InputError(`${file}: ${kind} is missing`));
      else if (other) problems.push(new InputError(`${file}: ${kind} "${name}" is in ${other.file} already`));
      if (typeof name !== 'string' || name === '' || other) continue;
      this.entries.set(name, { kind, file, fields });
      if (kind === 'group') continue;
      for (const tag of [fields.tag, fields.group].flat()) {
        if (typeof tag === 'string') this.tags.set(tag, [...(this.tags.get(tag) ?? []), name].sort());
      }
    }
  }

  /** What there is, sorted: tasks and groups with a line about each, and tags. */
  describe(): { name: string; what: string }[] {
    const lines = [...this.entries.keys()].map((name) => {
      try {
        const [item] = this.find(name)!;
        const what = 'group' in item ? `a group of ${item.task.length}` : item.metric_list.map(({ metric }) => metric).join(', ');
        return { name, what };
      } catch (error) {
        return { name, what: `cannot be run here: ${messageOf(error)}` };
      }
    });
    const tags = [...this.tags].filter(([tag]) => !this.entries.has(tag));
    return [...lines, ...tags.map(([name, tasks]) => ({ name, what: `${counted(tasks.length, 'task')} with this tag` }))].sort(
      (a, b) => (a.name < b.name ? -1 : 1),
    );
  }

  /** All names, for "did you mean". */
  names(): string[] {
    return [...this.entries.keys(), ...this.tags.keys()];
  }

  /** A task, a group, or the tasks of a tag; undefined when the files have none of the name. Throws `InputError` that says why not. */
  find(name: string): (Task | TaskGroup)[] | undefined {
    return this.named(name, {}, []);
  }

  private named(name: string, overrides: Fields, way: readonly string[]): (Task | TaskGroup)[] | undefined {
    const entry = this.entries.get(name);
    if (entry?.kind === 'group') return [this.group(name, entry.file, entry.fields, overrides, way)];
    if (entry) return [taskFromObject({ ...entry.fields, ...overrides, task: name }, entry.file)];
    return this.tags.get(name)?.flatMap((task) => this.named(task, overrides, way)!);
  }

  private group(name: string, file: string, fields: Fields, overrides: Fields, way: readonly string[]): TaskGroup {
    if (way.includes(name)) throw new InputError(`${file}: group "${name}" is inside itself (${[...way, name].join(', ')})`);
    const own = Object.fromEntries(Object.entries(fields).filter(([key]) => !GROUP_FIELDS.includes(key) && key !== 'tag'));
    const inherited = { ...own, ...Object.fromEntries(Object.entries(overrides).filter(([key]) => !GROUP_FIELDS.includes(key))) };
    const members = [fields.task ?? []].flat().flatMap((member) => this.member(member, name, file, inherited, [...way, name]));
    if (members.length === 0) throw new InputError(`${file}: group "${name}" lists no tasks`);
    const alias = overrides.group_alias ?? fields.group_alias;
    return {
      group: name,
      ...(typeof alias === 'string' ? { group_alias: alias } : {}),
      task: members,
      aggregate_metric_list: aggregations(fields.aggregate_metric_list, file, name),
      metadata: { ...(fields.metadata as Fields | undefined) },
    };
  }

  private member(member: unknown, group: string, file: string, inherited: Fields, way: readonly string[]): (Task | TaskGroup)[] {
    if (typeof member === 'string') return this.reference(member, inherited, file, group, way);
    if (typeof member !== 'object' || member === null) throw new InputError(`${file}: group "${group}" lists ${shown(member)}`);
    const fields = member as Fields;
    const name = fields.group ?? fields.task;
    if (typeof name !== 'string') throw new InputError(`${file}: an entry of group "${group}" has neither task nor group`);
    const rest = Object.fromEntries(Object.entries(fields).filter(([key]) => key !== 'group' && key !== 'task'));
    if (fields.group !== undefined && !this.entries.has(name)) {
      return [this.group(`${group}::${name}`, file, fields, inherited, way)];
    }
    if (fields.group === undefined && !this.entries.has(name) && !this.tags.has(name) && !this.others(name)) {
      return [taskFromObject({ ...inherited, ...rest, task: `${group}::${name}` }, file)];
    }
    return this.reference(name, { ...inherited, ...rest }, file, group, way);
  }

  private reference(name: string, overrides: Fields, file: string, group: string, way: readonly string[]): (Task | TaskGroup)[] {
    const found = this.named(name, overrides, way);
    if (found) return found;
    const others = this.others(name);
    if (!others) {
      const guess = nearest(name, this.names());
      throw new InputError(
        `${file}: group "${group}" lists "${name}", which is no task${guess ? `; did you mean "${guess}"?` : ''}`,
      );
    }
    return others.map((item) => ('group' in item ? item : { ...item, ...checkedOverrides(overrides, item.output_type, file) }));
  }
}

function aggregations(list: unknown, file: string, group: string): TaskGroup['aggregate_metric_list'] {
  return [list ?? []].flat().map((item) => {
    const { metric, aggregation = 'mean', weight_by_size: weighs = true, filter_list } = (item ?? {}) as Fields;
    if (typeof metric !== 'string')
      throw new InputError(`${file}: aggregate_metric_list of group "${group}" has an entry without metric`);
    if (aggregation !== 'mean')
      throw new InputError(`${file}: group "${group}" aggregates ${metric} by ${named(aggregation)}; only mean is there`);
    const filters = filter_list === undefined || filter_list === null ? undefined : [filter_list].flat();
    if (filters?.some((filter) => typeof filter !== 'string'))
      throw new InputError(`${file}: filter_list of group "${group}" must be names of filter pipelines`);
    return { metric, weight_by_size: weighs !== false, ...(filters ? { filter_list: filters as string[] } : {}) };
  });
}

function named(value: unknown): string {
  const name = (value as { '!function'?: string } | null)?.['!function'];
  return name === undefined ? shown(value) : `the Python function ${name}`;
}
