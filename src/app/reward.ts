// Where the rewards of sampled answers come from: a JavaScript module's function, an HTTP endpoint, or how likely another model finds
// the answer.

import { pathToFileURL } from 'node:url';
import type { Message } from '../data/examples.js';
import type { FileRow } from '../data/readers.js';
import { InputError, messageOf, shown } from '../errors.js';
import { load } from '../index.js';
import { pause } from '../io/pause.js';
import { type PostOptions, postJson, targetOf } from '../io/post.js';

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
  /** One number for each answer. Throws `InputError` when one is no finite number, or does not come; the signal's reason once that is aborted. */
  of(messages: readonly Message[], answers: readonly Answer[], row: FileRow, signal?: AbortSignal): Promise<number[]>;
  close(): Promise<void>;
}

/** `rso.reward` of the settings: one of the three. */
export interface RewardSource {
  readonly module?: string;
  readonly url?: string;
  readonly model?: string;
}

/** How long a reward is waited for, by default. */
const longest = 120_000;

/**
 * Opens a reward; `options` are of requests, and `timeout` of a module's function too. Throws `InputError` when the module has no function
 * `reward`, or the model cannot be loaded.
 */
export async function openReward({ module, url, model }: RewardSource, options: PostOptions = {}): Promise<Reward> {
  const patience = { timeout: longest, ...options };
  if (module !== undefined) return moduleReward(module, patience.timeout);
  return url === undefined ? modelReward(model!) : httpReward(url, patience);
}

const never = new AbortController().signal;

/** What a promise gives, unless it is waited for in vain. */
async function within<T>(promise: Promise<T>, timeout: number, signal: AbortSignal): Promise<T> {
  const settled = new AbortController();
  const late = pause(timeout, AbortSignal.any([signal, settled.signal])).then(() => {
    throw new Error(`no reward within ${timeout / 1000} s`);
  });
  return Promise.race([promise, late]).finally(() => settled.abort());
}

async function moduleReward(path: string, timeout: number): Promise<Reward> {
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
    of: (messages, answers, row, signal = never) =>
      Promise.all(
        answers.map(async (answer) => {
          const input: RewardInput = { ...answer, messages, row: row.value };
          const asked = (async (): Promise<unknown> => score(input))();
          const found = await within(asked, timeout, signal).catch((error: unknown) => {
            signal.throwIfAborted();
            throw new InputError(`${path}: reward fails on ${row.file}, row ${row.row}: ${messageOf(error)}`);
          });
          return number(found, path, row);
        }),
      ),
    async close() {},
  };
}

/** POSTs `{messages, answers, row}` and expects `{"rewards": [...]}`. */
function httpReward(url: string, options: PostOptions): Reward {
  const target = targetOf(url);
  return {
    async of(messages, answers, row, signal = never) {
      const { rewards } = await postJson(target, { messages, answers, row: row.value }, options, signal).catch(
        (error: unknown) => {
          if (!(error instanceof InputError)) throw error;
          throw new InputError(`no rewards for ${row.file}, row ${row.row}: ${error.message}`);
        },
      );
      if (!Array.isArray(rewards) || rewards.length !== answers.length) {
        throw new InputError(`${target.shown}: expected {"rewards": [...]} with ${answers.length} numbers`);
      }
      return rewards.map((value) => number(value, target.shown, row));
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
    `${source}: the reward of an answer to ${file}, row ${row}, is ${typeof value === 'number' ? value : shown(value)}, expected a finite number`,
  );
}
