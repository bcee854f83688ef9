// Judges the scorer on a model against lm-evaluation-harness's own numbers: loglikelihood.jsonl, rolling.jsonl, wikitext.json and
// generate_until.jsonl of a directory, each without and with a BOS in front. Text is bytes there: id = byte + 3. Requests and
// metrics of tasks are judged elsewhere.

import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { InputError } from '../../src/errors.js';
import {
  cutAtStops,
  type EvalTokenizer,
  encodePrompt,
  encodeText,
  PairEncoder,
  rollingWindows,
} from '../../src/eval/encoding.js';
import { type LocalScorer, localScorer } from '../../src/eval/local.js';
import { readJson } from '../../src/io/node/files.js';
import { openWeights } from '../../src/io/node/weights.js';
import { configFromHuggingFace } from '../../src/model/config.js';
import { loadModel } from '../../src/model/load.js';
import type { OpenELM } from '../../src/model/openelm.js';
import { checkWeights } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { flagDistance, tieBound, tiedBeginnings } from './greedy.js';
import { type Check, type Judgement, mismatches } from './judgement.js';
import { exists } from './models.js';

/** Sums of f32 log-probabilities in another order. */
const logprobBound = 1e-3;

/** The goldens' tokenizer: 0 unknown, 1 BOS, 2 EOS, then the bytes; the text `<s>` is the BOS. */
export const byteTokenizer: EvalTokenizer = {
  bosId: 1,
  eosId: 2,
  encodeTemplate(text) {
    const bytes = (part: string): number[] => Array.from(new TextEncoder().encode(part), (byte) => byte + 3);
    return text.split('<s>').flatMap((part, i) => (i === 0 ? bytes(part) : [1, ...bytes(part)]));
  },
  decode(ids) {
    const bytes = Array.from(ids).filter((id) => id >= 3 && id < 259);
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes, (id) => id - 3));
  },
};

interface PairCase {
  readonly ctx_len: number;
  readonly cont_len: number;
  readonly ctx_ids?: number[] | null;
  readonly cont_ids?: number[] | null;
  readonly input_len?: number;
  readonly ll?: number;
  readonly is_greedy?: boolean;
  readonly error?: string;
}

interface RollingCase {
  readonly n_tokens: number;
  readonly windows: [number, number][];
  readonly first_ctx: number[][];
  readonly ll: number;
}

interface GenerateCase {
  readonly text: string;
  readonly prompt_tokens: number;
  readonly prompt_head: number[];
  readonly new_ids?: number[];
}

type ByBos<T> = { readonly bos0: T; readonly bos1: T };

async function readLines<T>(path: string): Promise<T[]> {
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as T);
}

/** One comparison of many cases: how many are wrong, the first of them by name. */
class Tally {
  private readonly wrong: string[] = [];
  private count = 0;

  constructor(private readonly what: string) {}

  say(good: boolean, name: string): void {
    this.count++;
    if (!good) this.wrong.push(name);
  }

  check(): Check {
    const { length } = this.wrong;
    const examples = this.wrong.slice(0, 3).map((name) => `case ${name}`);
    const said = length ? `${length} of ${this.count} cases wrong, ${examples.join('; ')}` : `${this.count} cases`;
    return { name: `${this.what}: ${said}`, error: length, bound: 0 };
  }
}

interface Judged {
  readonly backend: Backend;
  readonly model: OpenELM;
  readonly scorer: LocalScorer;
  readonly addBos: boolean;
  readonly maxLength: number;
  readonly bos: 'bos0' | 'bos1';
}

async function judgeLoglikelihood(path: string, { backend, model, scorer, addBos, maxLength, bos }: Judged): Promise<Check[]> {
  const cases = await readLines<{ i: number; context: string; continuation: string } & ByBos<PairCase>>(path);
  const rules = { tokenizer: byteTokenizer, addBos, maxLength };
  const ids = new Tally(`loglikelihood ${bos} ids`);
  const errors = new Tally(`loglikelihood ${bos} errors`);
  for (const { i, context, continuation, [bos]: golden } of cases) {
    const pairs = new PairEncoder(rules);
    const refused = inputErrorOf(() => pairs.encode(context, continuation));
    errors.say((golden.error !== undefined) === (refused !== undefined), `${i}: ${refused ?? 'no error'}`);
    if (golden.error !== undefined || refused !== undefined) continue;
    const pair = pairs.encodePair(context, continuation);
    const { ids: shown } = pairs.encode(context, continuation);
    const same = (found: readonly number[], length: number, expected?: number[] | null): boolean =>
      found.length === length && (!expected || mismatches(found, expected) === 0);
    ids.say(
      same(pair.context, golden.ctx_len, golden.ctx_ids) &&
        same(pair.continuation, golden.cont_len, golden.cont_ids) &&
        shown.length - 1 === golden.input_len,
      `${i}: ${pair.context.length} + ${pair.continuation.length} ids, ${shown.length - 1} shown`,
    );
  }
  const valid = cases.filter(({ [bos]: golden }) => golden.error === undefined);
  const found = await scorer.loglikelihood(valid);
  const greedy = new Tally(`loglikelihood ${bos} greedy flags`);
  const checks = valid.map(({ i, [bos]: golden }, k): Check => {
    return { name: `loglikelihood ${bos} ${i}`, error: Math.abs(found[k].logprob - golden.ll!), bound: logprobBound };
  });
  for (const [k, { i, context, continuation, [bos]: golden }] of valid.entries()) {
    const same = found[k].greedy === golden.is_greedy;
    const { ids: shown, scored } = new PairEncoder(rules).encode(context, continuation);
    const off = same ? 0 : await flagDistance(backend, model, shown, scored, golden.is_greedy!);
    greedy.say(off <= tieBound, `${i}: ${found[k].greedy}, ${off.toExponential(1)} from the other answer`);
  }
  for (const { i, context, continuation } of cases.filter(({ [bos]: golden }) => golden.error !== undefined)) {
    const refused = await scorer.loglikelihood([{ context, continuation }]).then(
      () => false,
      (error: unknown) => error instanceof InputError,
    );
    errors.say(refused, `${i}: scored`);
  }
  return [errors.check(), ids.check(), greedy.check(), ...checks];
}

function inputErrorOf(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

async function judgeRolling(path: string, { scorer, addBos, maxLength, bos }: Judged): Promise<Check[]> {
  const cases = await readLines<{ text: string } & ByBos<RollingCase>>(path);
  const rules = { tokenizer: byteTokenizer, addBos, maxLength };
  const windows = new Tally(`rolling ${bos} windows`);
  for (const [i, { text, [bos]: golden }] of cases.entries()) {
    const found = rollingWindows(rules, text);
    const lengths = found.flatMap(({ ids, scored }) => [ids.length - scored, scored]);
    const heads = found.flatMap(({ ids, scored }) => ids.slice(0, Math.min(4, ids.length - scored)));
    windows.say(
      encodeText(rules, text).length === golden.n_tokens &&
        mismatches(lengths, golden.windows.flat()) === 0 &&
        mismatches(
          heads,
          golden.first_ctx.flatMap((ids) => ids.slice(0, 4)),
        ) === 0,
      `${i}: ${lengths}`,
    );
  }
  const found = await scorer.loglikelihoodRolling(cases.map(({ text }) => text));
  const checks = cases.map(({ [bos]: golden }, i): Check => {
    return { name: `rolling ${bos} ${i}`, error: Math.abs(found[i] - golden.ll), bound: logprobBound };
  });
  return [windows.check(), ...checks];
}

async function judgeWikitext(path: string, { scorer, bos }: Judged): Promise<Check[]> {
  const golden = (await readJson(path)) as ByBos<{ samples: { detokenized: string; ll: number }[] }>;
  const { samples } = golden[bos];
  const found = await scorer.loglikelihoodRolling(samples.map(({ detokenized }) => detokenized));
  return samples.map(({ ll }, i) => ({ name: `wikitext ${bos} ${i}`, error: Math.abs(found[i] - ll), bound: logprobBound }));
}

async function judgeGenerate(path: string, { backend, model, scorer, addBos, maxLength, bos }: Judged): Promise<Check[]> {
  type Given = { i: number; context: string; gen_kwargs: { until: string | string[]; max_gen_toks: number } };
  const cases = await readLines<Given & ByBos<GenerateCase>>(path);
  const rules = { tokenizer: byteTokenizer, addBos, maxLength };
  const prompts = new Tally(`generate ${bos} prompts`);
  const texts = new Tally(`generate ${bos} texts`);
  const stopsOf = ({ until }: Given['gen_kwargs']): string[] => (typeof until === 'string' ? [until] : until);
  const found = await scorer.generateUntil(
    cases.map(({ context, gen_kwargs }) => ({ context, until: stopsOf(gen_kwargs), maxTokens: gen_kwargs.max_gen_toks })),
  );
  for (const [k, { i, context, gen_kwargs, [bos]: golden }] of cases.entries()) {
    const ids = encodePrompt(rules, context, gen_kwargs.max_gen_toks);
    const head = ids.slice(0, golden.prompt_head.length);
    prompts.say(ids.length === golden.prompt_tokens && mismatches(head, golden.prompt_head) === 0, `${i}: ${ids.length} tokens`);
    let good = found[k] === golden.text;
    if (!good && golden.new_ids) {
      const { error, ties } = await tiedBeginnings(backend, model, ids, golden.new_ids);
      // A beginning may end within a character.
      const texts = ties.map((begun) => cutAtStops(byteTokenizer.decode(begun), stopsOf(gen_kwargs)).replace(/\ufffd+$/, ''));
      good = error <= tieBound && texts.some((text) => found[k].startsWith(text));
    }
    texts.say(good, `${i}: ${JSON.stringify(found[k])}`);
  }
  return [prompts.check(), texts.check()];
}

const parts = [
  ['loglikelihood.jsonl', judgeLoglikelihood],
  ['rolling.jsonl', judgeRolling],
  ['wikitext.json', judgeWikitext],
  ['generate_until.jsonl', judgeGenerate],
] as const;

/**
 * Judges `dir` with the model in its `model/` folder, else that of `modelDir`, else the model of the directory's name in a
 * `models` folder beside the directory's parent; without any, everything is skipped.
 */
export async function judgeEvalModel(backend: Backend, dir: string, modelDir?: string): Promise<Judgement> {
  const candidates = [join(dir, 'model'), ...(modelDir ? [modelDir] : []), join(dirname(dirname(dir)), 'models', basename(dir))];
  const places = await Promise.all(candidates.map(async (place) => ((await exists(join(place, 'config.json'))) ? [place] : [])));
  const place = places.flat()[0];
  if (place === undefined) return { item: dir, checks: [], skipped: [`${dir}: it has no model/; name one with --model DIR`] };
  const file = join(place, 'config.json');
  const config = configFromHuggingFace(await readJson(file), file);
  const weights = await openWeights(place);
  const loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, place), { dtype: 'f32' });
  await weights.close();
  const checks: Check[] = [];
  const skipped: string[] = [];
  try {
    for (const bos of ['bos0', 'bos1'] as const) {
      const addBos = bos === 'bos1';
      const scorer = localScorer({ name: basename(place), backend, model: loaded.model, tokenizer: byteTokenizer }, { addBos });
      const judged = { backend, model: loaded.model, scorer, addBos, maxLength: config.maxContextLength, bos };
      for (const [name, judge] of parts) {
        const path = join(dir, name);
        if (await exists(path)) checks.push(...(await judge(path, judged)));
        else if (bos === 'bos0') skipped.push(`${path}: not there`);
      }
      await scorer.dispose();
    }
  } finally {
    loaded.free();
  }
  return { item: dir, checks, skipped };
}
