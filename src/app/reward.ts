// Where the rewards of sampled answers come from: a JavaScript module's function, an HTTP endpoint, or how likely another model finds
// the answer.

import type { Message } from '../data/examples.js';
import type { FileRow } from '../data/readers.js';
import { counted, InputError, messageOf, shown } from '../errors.js';
import { load } from '../index.js';
import { startWorker } from '../io/node/workers.js';
import { type PostOptions, postJson, targetOf } from '../io/post.js';

/** An answer to be scored, and whether it ended by itself. */
export interface Answer {
  readonly text: string;
  readonly ended: boolean;
}

/** What a module's `reward` function is given; it returns a number, the larger the better. */
interface RewardInput extends Answer {
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
interface RewardSource {
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

/** What the thread of a module is asked, and what it says: once that the module is there, then of each call that it begins, and its end. */
export interface RewardCall {
  readonly id: number;
  readonly input: RewardInput;
}
export type RewardAnswer =
  | { readonly ready: boolean }
  | { readonly failed: string }
  | { readonly id: number; readonly begun: true }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };

interface Waiting {
  begun(): void;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** In a thread of its own: a function that never comes back would hold up all else, Ctrl-C too. */
async function moduleReward(path: string, timeout: number): Promise<Reward> {
  const worker = startWorker(import.meta.url, 'reward-worker', path);
  const waiting = new Map<number, Waiting>();
  let ended: Error | undefined;
  const end = (error: Error): void => {
    ended ??= error;
    for (const { reject } of waiting.values()) reject(ended);
  };
  worker.on('error', (error) => end(new Error(messageOf(error))));
  worker.on('exit', (code) => end(new Error(`the module ended its thread (code ${code})`)));
  const ready = await new Promise<boolean>((resolve, reject) => {
    const fail = (why: string): void => reject(new InputError(`${path}: cannot be loaded as a module: ${why}`));
    worker.on('error', (error) => fail(messageOf(error)));
    worker.on('exit', () => fail('it ended its thread'));
    worker.on('message', (answer: RewardAnswer) => {
      if ('ready' in answer) resolve(answer.ready);
      else if ('failed' in answer) fail(answer.failed);
      else if ('begun' in answer) waiting.get(answer.id)?.begun();
      else if ('error' in answer) waiting.get(answer.id)?.reject(new Error(answer.error));
      else waiting.get(answer.id)?.resolve(answer.value);
    });
  }).catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });
  if (!ready) {
    await worker.terminate();
    throw new InputError(`${path}: exports no function "reward"; it is given {messages, text, ended, row}`);
  }
  worker.unref();
  let calls = 0;
  const ask = (input: RewardInput, signal?: AbortSignal): Promise<unknown> => {
    const id = calls++;
    let late: NodeJS.Timeout | undefined;
    const stop = new AbortController();
    return new Promise((resolve, reject) => {
      if (ended) throw ended;
      signal?.throwIfAborted();
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { signal: stop.signal });
      const begun = (): void => {
        late = setTimeout(() => reject(new Error(`no reward within ${timeout / 1000} s`)), timeout);
      };
      waiting.set(id, { begun, resolve, reject });
      worker.ref();
      worker.postMessage({ id, input } satisfies RewardCall);
    }).finally(() => {
      clearTimeout(late);
      stop.abort();
      waiting.delete(id);
      if (waiting.size === 0) worker.unref();
    });
  };
  return {
    of: (messages, answers, row, signal) =>
      Promise.all(
        answers.map(async (answer) => {
          const found = await ask({ ...answer, messages, row: row.value }, signal).catch((error: unknown) => {
            signal?.throwIfAborted();
            throw new InputError(`${path}: reward fails on ${row.file}, row ${row.row}: ${messageOf(error)}`);
          });
          return number(found, path, row);
        }),
      ),
    close: async () => void (await worker.terminate()),
  };
}

/** POSTs `{messages, answers, row}` and expects `{"rewards": [...]}`. */
function httpReward(url: string, options: PostOptions): Reward {
  const target = targetOf(url);
  return {
    async of(messages, answers, row, signal = new AbortController().signal) {
      const { rewards } = await postJson(target, { messages, answers, row: row.value }, options, signal).catch(
        (error: unknown) => {
          if (!(error instanceof InputError)) throw error;
          throw new InputError(`no rewards for ${row.file}, row ${row.row}: ${error.message}`);
        },
      );
      if (!Array.isArray(rewards) || rewards.length !== answers.length) {
        throw new InputError(`${target.shown}: expected {"rewards": [...]} with ${counted(answers.length, 'number')}`);
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
