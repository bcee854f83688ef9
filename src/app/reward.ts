// Where the rewards of sampled answers come from: a JavaScript module's function, an HTTP endpoint, or how likely another model finds
// the answer.

import { pathToFileURL } from 'node:url';
import type { Message } from '../data/examples.js';
import type { FileRow } from '../data/readers.js';
import { InputError, messageOf } from '../errors.js';
import { load } from '../index.js';
import { shownAddress } from '../io/address.js';

/** An answer to be scored, and whether it ended by itself. */
export interface Answer {
  readonly text: string;
  readonly ended: boolean;
}

/** What a module's `reward` function is given; it returns a number, the larger the better. */
export interface RewardInput extends Answer {
  readonly messages: readonly Message[];
  /** All fields of the prompt's row. */
  readonly row: Readonly<Record<string, unknown>>;
}

export interface Reward {
  /** One number for each answer. Throws `InputError` when one is no finite number. */
  of(messages: readonly Message[], answers: readonly Answer[], row: FileRow): Promise<number[]>;
  close(): Promise<void>;
}

/** `rso.reward` of the settings: one of the three. */
export interface RewardSource {
  readonly module?: string;
  readonly url?: string;
  readonly model?: string;
}

const requestMs = 120_000;

/** Opens a reward. Throws `InputError` when the module has no function `reward`, or the model cannot be loaded. */
export async function openReward({ module, url, model }: RewardSource): Promise<Reward> {
  if (module !== undefined) return moduleReward(module);
  return url === undefined ? modelReward(model!) : httpReward(url);
}

async function moduleReward(path: string): Promise<Reward> {
  let loaded: Record<string, unknown>;
  try {
    loaded = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    throw new InputError(`${path}: cannot be loaded as a module: ${messageOf(error)}`);
  }
  const score = loaded.reward;
  if (typeof score !== 'function')
    throw new InputError(`${path}: exports no function "reward"; it is given {messages, text, ended, row}`);
  return {
    of: (messages, answers, row) =>
      Promise.all(
        answers.map(async (answer) => {
          const input: RewardInput = { ...answer, messages, row: row.value };
          const found: unknown = await Promise.resolve(score(input)).catch((error: unknown) => {
            throw new InputError(`${path}: reward fails on ${row.file}, row ${row.row}: ${messageOf(error)}`);
          });
          return number(found, path, row);
        }),
      ),
    async close() {},
  };
}

/** POSTs `{messages, answers, row}` and expects `{"rewards": [...]}`. */
function httpReward(url: string): Reward {
  const shown = shownAddress(url);
  return {
    async of(messages, answers, row) {
      const body = JSON.stringify({ messages, answers, row: row.value });
      let found: unknown;
      try {
        const signal = AbortSignal.timeout(requestMs);
        const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body, signal });
        if (!response.ok) throw new Error(`status ${response.status}`);
        found = await response.json();
      } catch (error) {
        throw new InputError(`${shown}: no rewards for ${row.file}, row ${row.row}: ${messageOf(error)}`);
      }
      const rewards = (found as { rewards?: unknown } | null)?.rewards;
      if (!Array.isArray(rewards) || rewards.length !== answers.length) {
        throw new InputError(`${shown}: expected {"rewards": [...]} with ${answers.length} numbers`);
      }
      return rewards.map((value) => number(value, shown, row));
    },
    async close() {},
  };
}

/** The mean log-probability of an answer's tokens under a model, given the prompt. */
async function modelReward(name: string): Promise<Reward> {
  const model = await load(name);
  return {
    async of(messages, answers, row) {
      const prompt = await model.encodePrompt(messages);
      const rewards: number[] = [];
      for (const { text } of answers) {
        const ids = [...prompt, ...model.tokenizer.encode(text)];
        const { logprobs } = await model.score(ids);
        const own = logprobs.slice(prompt.length).map((value) => value ?? 0);
        rewards.push(number(own.length > 0 ? own.reduce((a, b) => a + b, 0) / own.length : -1e3, name, row));
      }
      return rewards;
    },
    close: () => model.dispose(),
  };
}

function number(value: unknown, source: string, { file, row }: FileRow): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new InputError(
    `${source}: the reward of an answer to ${file}, row ${row}, is ${String(value)}, expected a finite number`,
  );
}
