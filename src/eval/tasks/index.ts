// All built-in tasks and groups, and finding them by name. Each is data; see task.ts for what the fields mean.

import { InputError, nearest } from '../../errors.js';
import { nameOf, type Task, type TaskGroup } from '../task.js';
import { hellaswag, piqa, socialIqa, winogrande } from './commonsense.js';
import { llmAdapters } from './llm-adapters.js';
import { mmlu } from './mmlu.js';
import { boolq, race } from './reading.js';
import { arcChallenge, arcEasy, openbookqa, sciq } from './science.js';
import { crowsPairsEnglish, truthfulqaMc1, truthfulqaMc2 } from './truth-and-bias.js';
import { wikitext } from './wikitext.js';

/** All tasks and groups that need no file. */
export const builtinTasks: readonly (Task | TaskGroup)[] = [
  arcChallenge,
  arcEasy,
  boolq,
  crowsPairsEnglish,
  hellaswag,
  mmlu,
  openbookqa,
  piqa,
  race,
  sciq,
  socialIqa,
  truthfulqaMc1,
  truthfulqaMc2,
  wikitext,
  winogrande,
  ...llmAdapters,
];

/** Tasks and groups, those inside groups included. */
export function everything(items: readonly (Task | TaskGroup)[]): (Task | TaskGroup)[] {
  return items.flatMap((item) => ('group' in item ? [item, ...everything(item.task)] : [item]));
}

/** A user's tasks by name. */
interface OwnTasks {
  /** Undefined for a name that they do not have. */
  find(name: string): readonly (Task | TaskGroup)[] | undefined;
  names(): readonly string[];
  /** Files that could not be used. */
  readonly problems: readonly InputError[];
}

/**
 * Tasks and groups by name, `own` ones (a user's) before built-in ones. `llm_adapters` stands for its eight.
 * Throws `InputError` for an unknown name, with the nearest known one.
 */
export function findTasks(names: readonly string[], own?: OwnTasks): (Task | TaskGroup)[] {
  const known = everything(builtinTasks);
  const found = names.flatMap((name): readonly (Task | TaskGroup)[] => {
    const mine = own?.find(name);
    if (mine) return mine;
    if (name === 'llm_adapters') return llmAdapters;
    const item = known.find((candidate) => nameOf(candidate) === name);
    if (item) return [item];
    if (own && own.problems.length > 0) throw own.problems[0];
    const ownNames = own?.names() ?? [];
    const guess = nearest(name, [...ownNames, ...known.map(nameOf)]);
    const way = guess ? `did you mean "${guess}"?` : `known are ${[...ownNames, ...builtinTasks.map(nameOf)].join(', ')}`;
    throw new InputError(`there is no task "${name}"; ${way}`);
  });
  return found.filter((item, i) => found.indexOf(item) === i);
}
