// Which tasks a call of `openelm eval` means: a suite, or names of tasks and groups, the user's own (YAML or JSON files, in a folder or by
// path) among them. No data and no models.

import { counted, InputError, visible } from '../errors.js';
import type { EvaluateOptions } from '../eval/harness.js';
import { findSuite, type Suite } from '../eval/suites.js';
import { leafTasks, nameOf, type Task, type TaskGroup } from '../eval/task.js';
import { builtinTasks, findTasks } from '../eval/tasks/index.js';
import { isTaskFile, readTaskFile, readTasks } from '../io/node/task-files.js';
import { UsageError } from './terminal.js';

export interface SelectionOptions {
  readonly suite?: string;
  /** Names, or paths of task files, with commas between them. */
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
  const own = tasksDir === undefined ? undefined : await readTasks(tasksDir);
  if (tasks !== undefined) {
    const found = new Set<Task | TaskGroup>();
    for (const name of new Set(namesIn(tasks))) {
      for (const item of isTaskFile(name) ? await readTaskFile(name, tasksDir) : findTasks([name], own)) found.add(item);
    }
    const chosen = [...found];
    const twice = chosen.find((item, i) => chosen.findIndex((other) => nameOf(other) === nameOf(item)) < i);
    if (twice) throw new InputError(`two of --tasks are called "${nameOf(twice)}": give one of them`);
    return { tasks: chosen, numFewshot };
  }
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

/** What `--tasks list` prints: a line each. */
export async function describeTasks(tasksDir: string | undefined): Promise<string> {
  const own = tasksDir === undefined ? [] : (await readTasks(tasksDir)).describe();
  const builtin = builtinTasks.map((item) => {
    const what =
      'group' in item
        ? `a group of ${counted(leafTasks([item]).length, 'task')}`
        : (item.metric_list ?? []).map(({ metric }) => metric).join(', ');
    return { name: nameOf(item), what };
  });
  const all = [...own, ...builtin, { name: 'llm_adapters', what: 'the eight llm_adapters_* tasks' }];
  return all.map(({ name, what }) => `${visible(`${name.padEnd(28)}${what}`)}\n`).join('');
}
