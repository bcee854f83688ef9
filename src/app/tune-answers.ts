// Rejection sampling (RSO, Liu et al. 2023): answers of the model to the prompts of the data, several to each, scored by a reward,
// accepted by the published rule and paired. Answers are kept in the run's directory as they come, so that sampling goes on where it was
// ended; the pairs are then tuned on like any others. The rule itself is data/rejection.ts, rewards are reward.ts.

import { setMaxListeners } from 'node:events';
import { appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { limitBadRows } from '../data/bad-rows.js';
import { conversationField, type Message, messagesAt, missing, textAt, withFields } from '../data/examples.js';
import { type FileRow, orBad, readRows } from '../data/readers.js';
import { rankedPairs, rejectionSample } from '../data/rejection.js';
import { counted, InputError } from '../errors.js';
import { Engine } from '../infer/engine.js';
import { TextModel } from '../infer/text.js';
import { isObject, jsonBytes, parseJson } from '../io/json.js';
import { localCorpora } from '../io/node/corpora.js';
import { fileError, readJson, writeWhole } from '../io/node/files.js';
import { sha256 } from '../io/node/fingerprint.js';
import { kindOf, readIfThere } from '../io/node/paths.js';
import type { OpenELM } from '../model/openelm.js';
import { PythonRandom } from '../python-random.js';
import type { Backend } from '../tensor/backend.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { difference } from '../train/checkpoint.js';
import { sentenceOf } from './failure.js';
import { progressBar } from './progress.js';
import type { Answer, Reward } from './reward.js';
import { readTextFile, type Terminal, tell, writeLine } from './terminal.js';
import { onStop } from './training-run.js';
import type { TuneConfig } from './tune-config.js';

/** Sampled so far, a line a prompt. */
const ANSWERS = 'answers.jsonl';
const PAIRS = 'pairs.jsonl';
/** How they were sampled. */
const SAMPLING = 'sampling.json';

/** Settings that say how to sample. */
export type SamplingConfig = TuneConfig & { readonly rso: NonNullable<TuneConfig['rso']> };

interface Sampled {
  readonly document: string;
  readonly messages: readonly Message[];
  readonly answers: readonly { readonly text: string; readonly ended: boolean; readonly reward: number }[];
}

/** The model that answers, what it is talked to with, and what the answers are worth. */
export interface Policy {
  readonly backend: Backend;
  readonly model: OpenELM;
  readonly tokenizer: Tokenizer;
  readonly template: string;
  readonly reward: Reward;
  close(): Promise<void>;
}

/** The pairs of a run, once they were sampled; undefined before. */
export async function sampledPairs(out: string): Promise<string | undefined> {
  return (await kindOf(join(out, PAIRS))) && join(out, PAIRS);
}

/**
 * Samples answers to every prompt that has none yet, and writes the pairs, unless Ctrl-C ends it first. `weights` tells the model from
 * others; `open` is called when there is something to sample. Throws `InputError` when a row has no prompt, a reward is no number, no pair
 * is left, or the answers so far are to other prompts or were sampled otherwise.
 */
export async function samplePairs(
  terminal: Terminal,
  config: SamplingConfig,
  weights: string,
  template: string,
  open: () => Promise<Policy>,
): Promise<void> {
  const { out, data } = config;
  const onBadRow = limitBadRows(data.skip_bad_rows, (error) => tell(terminal, `passed over: ${sentenceOf(error)}`));
  const rows = await promptRows(data, onBadRow);
  const done = (await readSampled(out)).slice(0, rows.length);
  await checkSampled(config, done, rows, await samplingOf(config, weights, template));
  if (done.length < rows.length) {
    await rm(join(out, PAIRS), { force: true });
    const policy = await open();
    const ended = await sample(terminal, config, policy, rows, done).finally(() => policy.close());
    if (!ended) return;
  }
  await writePairs(terminal, config, done);
}

/** What answers depend on besides their prompts. */
async function samplingOf({ seed, rso }: SamplingConfig, weights: string, template: string): Promise<Record<string, unknown>> {
  const { candidates, max_tokens, temperature, top_p, reward } = rso;
  const hashed = (text: string): string => sha256([new TextEncoder().encode(text)]);
  const judge = 'module' in reward ? { module: hashed(await readTextFile(reward.module)) } : reward;
  return {
    weights,
    template: hashed(template),
    seed,
    candidates,
    max_tokens,
    temperature,
    top_p,
    reward: judge,
  };
}

/** Answers of another model or temperature, or to other prompts, must not become pairs with these. */
async function checkSampled(
  { out }: SamplingConfig,
  done: readonly Sampled[],
  rows: readonly FileRow[],
  sampling: Record<string, unknown>,
): Promise<void> {
  const [answers, settings] = [join(out, ANSWERS), join(out, SAMPLING)];
  const advice = 'set it back, or remove the file to sample anew';
  if (done.length > 0 && (await kindOf(settings))) {
    const differs = difference(sampling, await readJson(settings))?.replace('in the checkpoint', 'when they were sampled');
    if (differs) throw new InputError(`${answers}: its answers were sampled otherwise: ${differs}; ${advice}`);
  }
  const other = done.findIndex(({ messages }, i) => JSON.stringify(messages) !== JSON.stringify(promptOf(rows[i])));
  if (other >= 0) {
    const { file, row } = rows[other];
    throw new InputError(
      `${answers}: the answers of line ${other + 1} are to another prompt than ${file}, row ${row}, has now: ${advice}`,
    );
  }
  await writeWhole(settings, jsonBytes(sampling));
}

/** Samples what is missing in `done`, and writes it down as it comes; false when Ctrl-C ended it first. */
async function sample(
  terminal: Terminal,
  { out, rso, seed }: SamplingConfig,
  policy: Policy,
  rows: readonly FileRow[],
  done: Sampled[],
): Promise<boolean> {
  const stop = new AbortController();
  setMaxListeners(0, stop.signal); // every answer under way listens
  const forget = onStop(terminal, () => stop.abort(), 'ending; the answers so far are kept');
  const bar = progressBar(terminal.stderr, { unit: 'prompts' });
  const slots = Math.max(rso.candidates, Math.ceil(rso.slots / rso.candidates) * rso.candidates);
  const engine = new Engine(policy.backend, policy.model, { cacheType: 'f32', slots });
  const writer = new TextModel({ engine, tokenizer: policy.tokenizer, chatTemplate: policy.template });
  const answer = async (row: FileRow, index: number): Promise<Sampled> => {
    const messages = promptOf(row);
    const options = { maxTokens: rso.max_tokens, temperature: rso.temperature, topP: rso.top_p, signal: stop.signal };
    const texts = await Promise.all(
      Array.from({ length: rso.candidates }, (_, k) =>
        writer.complete(messages, { ...options, seed: (seed * 1_000_003 + index * rso.candidates + k) % 2 ** 31 }),
      ),
    );
    const answers = texts.map(({ text, finishReason }): Answer => ({ text, ended: finishReason === 'stop' }));
    const asked = stop.signal.aborted ? [] : policy.reward.of(messages, answers, row, stop.signal);
    const rewards = await Promise.resolve(asked).catch((error: unknown) => {
      if (stop.signal.aborted) return [];
      throw error;
    });
    return {
      document: `${row.file}:${row.row}`,
      messages,
      answers: answers.map((each, k) => ({ ...each, reward: rewards[k] })),
    };
  };
  try {
    // As many prompts at once as keep the slots busy; they are written in the order of the rows.
    const running: Promise<Sampled>[] = [];
    let next = done.length;
    const finish = async (): Promise<void> => {
      const sampled = await running.shift()!;
      if (stop.signal.aborted) return;
      done.push(sampled);
      await appendLine(join(out, ANSWERS), sampled);
      bar.update('sampling answers', done.length, rows.length);
    };
    try {
      while (next < rows.length && !stop.signal.aborted) {
        running.push(answer(rows[next], next));
        running.at(-1)!.catch(() => {}); // heard when its turn comes
        next++;
        if (running.length * rso.candidates > slots) await finish();
      }
      while (running.length > 0 && !stop.signal.aborted) await finish();
    } catch (error) {
      if (!(error instanceof InputError) || done.length === 0) throw error;
      const kept = `the answers to ${counted(done.length, 'prompt')} lie in ${join(out, ANSWERS)}, and the same command goes on from there`;
      throw new InputError(`${error.message}; ${kept}`);
    } finally {
      await Promise.allSettled(running);
    }
  } finally {
    bar.finish();
    forget();
    await engine.dispose();
  }
  return !stop.signal.aborted;
}

async function writePairs(terminal: Terminal, { out, rso, seed }: SamplingConfig, sampled: readonly Sampled[]): Promise<void> {
  const random = new PythonRandom(seed);
  const lines: string[] = [];
  for (const { document, messages, answers } of sampled) {
    const rewards = answers.map((answer) => answer.reward);
    const accepted = rejectionSample(rewards, rso.accepted, rso.beta, random);
    random.shuffle(accepted); // neighbours are paired, and acceptance has an order
    for (const [better, worse] of rankedPairs(accepted, rewards, rso.ranking)) {
      const turn = (i: number): Message[] => [{ role: 'assistant', content: answers[i].text }];
      const scores = { score_chosen: rewards[better], score_rejected: rewards[worse] };
      lines.push(
        `${JSON.stringify({ prompt: messages, chosen: turn(better), rejected: turn(worse), ...scores, source: document })}\n`,
      );
    }
  }
  if (lines.length === 0)
    throw new InputError(`${join(out, ANSWERS)}: every prompt's accepted answers have equal rewards: no pair to learn from`);
  const path = join(out, PAIRS);
  await writeWhole(path, lines.join(''));
  const all = sampled.flatMap(({ answers }) => answers);
  const mean = all.reduce((sum, { reward }) => sum + reward, 0) / all.length;
  writeLine(
    terminal,
    `answers  ${counted(sampled.length, 'prompt')}, ${counted(all.length, 'answer')} of mean reward ${mean.toFixed(3)}: ${counted(lines.length, 'pair')} in ${path}`,
  );
}

async function promptRows(
  { train: files, fields, limit = Number.POSITIVE_INFINITY }: TuneConfig['data'],
  onBadRow: (error: InputError) => void,
): Promise<FileRow[]> {
  const rows: FileRow[] = [];
  for (const file of files) {
    for await (const found of readRows(localCorpora, file, onBadRow)) {
      if (rows.length >= limit) return rows;
      const row = withFields(found, fields);
      if (orBad(onBadRow, () => promptOf(row))) rows.push(row);
    }
  }
  if (rows.length === 0) throw new InputError(`${files.join(', ')}: no rows in them`);
  return rows;
}

/** What the model is asked: a conversation up to its last answer, or a prompt. Throws `InputError` when a row has neither. */
export function promptOf(row: FileRow): Message[] {
  const { prompt, instruction, input } = row.value;
  const chat = conversationField(row);
  if (chat) {
    const turns = messagesAt(row, chat);
    const asked = turns.slice(0, turns.findLastIndex(({ role }) => role === 'user') + 1);
    if (asked.length > 0) return asked;
  }
  if (prompt !== undefined) return messagesAt(row, 'prompt');
  if (instruction !== undefined) {
    const more = typeof input === 'string' && input !== '' ? `\n\n${input}` : '';
    return [{ role: 'user', content: textAt(row, 'instruction') + more }];
  }
  throw missing(row, 'messages (or conversations), prompt or instruction');
}

async function appendLine(path: string, value: unknown): Promise<void> {
  await appendFile(path, `${JSON.stringify(value)}\n`).catch((error: unknown) => {
    throw fileError(error, path, 'write');
  });
}

/** What was sampled before; a last line that a killed run left half written is dropped from the file too. */
async function readSampled(out: string): Promise<Sampled[]> {
  const path = join(out, ANSWERS);
  const bytes = await readIfThere(path, 1 << 30);
  if (!bytes) return [];
  const whole = bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1);
  if (whole.length < bytes.length) await writeWhole(path, whole);
  const lines = new TextDecoder().decode(whole).trimEnd().split('\n');
  return whole.length === 0 ? [] : lines.map((line, i) => sampledIn(line, `${path}: line ${i + 1}`));
}

/** A line of the answers' file. Throws `InputError` when it is none. */
function sampledIn(line: string, where: string): Sampled {
  const value = parseJson(line, where);
  const { document, messages, answers } = (isObject(value) ? value : {}) as Partial<Sampled>;
  const whole = Array.isArray(answers) && answers.every((each) => isObject(each) && typeof each.text === 'string');
  if (
    typeof document !== 'string' ||
    !Array.isArray(messages) ||
    !whole ||
    answers.some(({ reward }) => !Number.isFinite(reward))
  )
    throw new InputError(`${where}: not answers as this program writes them; remove the line, or the file to sample anew`);
  return { document, messages, answers };
}
