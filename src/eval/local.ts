// Our own models behind the scorer's three methods: text becomes ids by the harness's rules (encoding.ts), log-probabilities come
// from infer/scoring.ts, generated text from the engine. It knows no tasks and no files.

import { locating } from '../errors.js';
import { Engine } from '../infer/engine.js';
import { type ScoringRequest, SequenceScorer } from '../infer/scoring.js';
import type { OpenELM } from '../model/openelm.js';
import type { CacheType } from '../model/parameters.js';
import type { Backend } from '../tensor/backend.js';
import { cutAtStops, type EncodingRules, type EvalTokenizer, encodePrompt, PairEncoder, rollingWindows } from './encoding.js';
import type { GenerateRequest, Loglikelihood, Scorer } from './scorer.js';

/** A loaded model to be scored. */
export interface LocalScorerParts {
  /** What the scorer is called, e.g. after the model's hash and precision; BOS and context are added to it. */
  readonly name: string;
  readonly backend: Backend;
  readonly model: OpenELM;
  readonly tokenizer: EvalTokenizer;
}

/** How a model is shown texts, and what it may take for them. */
export interface LocalScorerOptions {
  /** Put a BOS in front of every text, as OpenELM was evaluated; the harness calls it `add_bos_token`. Default true. */
  readonly addBos?: boolean;
  /** Tokens that the model is shown at once; longer requests lose their beginning. Default the config's `maxContextLength`. */
  readonly context?: number;
  /** Tokens computed in one step; default and at most 256. */
  readonly batchTokens?: number;
  /** Keys and values; default f32. */
  readonly cacheType?: CacheType;
  /** Texts generated at once. Default 4. */
  readonly slots?: number;
}

/** A scorer on a model in this process. */
export interface LocalScorer extends Scorer {
  /** Frees what the scorer holds; the model stays. */
  dispose(): Promise<void>;
}

/** Requests encoded and scored together: what they share is computed once, and their ids fit in memory. */
const chunkRequests = 4096;

/** A scorer on a loaded model. Throws `InputError` on options out of range, `ExecutionError` when memory is short. */
export function localScorer(parts: LocalScorerParts, options: LocalScorerOptions = {}): LocalScorer {
  const { backend, model, tokenizer } = parts;
  const { addBos = true, batchTokens, cacheType = 'f32', slots = 4 } = options;
  const sequences = new SequenceScorer(backend, model, { context: options.context, stepRows: batchTokens, cacheType });
  const rules: EncodingRules = { tokenizer, addBos, maxLength: sequences.context };

  const loglikelihood: Scorer['loglikelihood'] = async (requests, { onProgress, signal } = {}) => {
    const answers: Loglikelihood[] = [];
    const pairs = new PairEncoder(rules);
    for (let start = 0; start < requests.length; start += chunkRequests) {
      const chunk = requests.slice(start, start + chunkRequests);
      const encoded = chunk.map(({ context, continuation }, i) =>
        locating(`request ${start + i}`, () => pairs.encode(context, continuation)),
      );
      const progress = (done: number): void => onProgress?.(start + done, requests.length);
      const scores = await sequences.score(encoded.map(compact), { onProgress: progress, signal });
      for (const [i, { logprob, greedy }] of scores.entries()) {
        const { truncated } = encoded[i];
        answers.push(truncated ? { logprob, greedy, truncated } : { logprob, greedy });
      }
    }
    return answers;
  };

  const loglikelihoodRolling: Scorer['loglikelihoodRolling'] = async (texts, { onProgress, signal } = {}) => {
    const sums: number[] = [];
    for (const [i, text] of texts.entries()) {
      const windows = locating(`request ${i}`, () => rollingWindows(rules, text));
      const scores = await sequences.score(windows.map(compact), { signal });
      sums.push(scores.reduce((sum, { logprob }) => sum + logprob, 0));
      onProgress?.(i + 1, texts.length);
    }
    return sums;
  };

  const generateUntil: Scorer['generateUntil'] = async (requests, { onProgress, signal } = {}) => {
    if (requests.length === 0) return [];
    const prompts = requests.map(({ context, maxTokens }, i) =>
      locating(`request ${i}`, () => encodePrompt(rules, context, maxTokens)),
    );
    const longest = prompts.reduce((most, ids, i) => Math.max(most, ids.length + requests[i].maxTokens), 2);
    const workers = Math.min(slots, requests.length);
    const engine = new Engine(backend, model, { context: longest, slots: workers, cacheType });
    const texts: string[] = new Array(requests.length);
    let next = 0;
    let done = 0;
    const work = async (): Promise<void> => {
      for (let i = next++; i < requests.length; i = next++) {
        texts[i] = await generate(engine, tokenizer, prompts[i], requests[i], signal);
        onProgress?.(++done, requests.length);
      }
    };
    try {
      await Promise.all(Array.from({ length: workers }, work));
    } finally {
      await engine.dispose();
    }
    return texts;
  };

  return {
    name: `${parts.name}, ${addBos ? 'bos' : 'no bos'}, context ${rules.maxLength}, ${cacheType} cache`,
    loglikelihood,
    loglikelihoodRolling,
    generateUntil,
    dispose: () => sequences.dispose(),
  };
}

/** Ends at an end-of-sequence token, after `maxTokens`, or when one of the stops has appeared. */
async function generate(
  engine: Engine,
  tokenizer: EvalTokenizer,
  prompt: readonly number[],
  { until, maxTokens, temperature = 0, topP = 1, sample = 0 }: GenerateRequest,
  signal?: AbortSignal,
): Promise<string> {
  const stops = until.filter((stop) => stop !== '');
  const ids: number[] = [];
  let text = '';
  for await (const id of engine.generate(prompt, { temperature, topP, seed: sample, maxTokens, signal })) {
    ids.push(id);
    text = tokenizer.decode(ids);
    if (stops.some((stop) => text.includes(stop))) break;
  }
  signal?.throwIfAborted();
  return cutAtStops(text, stops);
}

/** Ids as 32-bit integers: a chunk of long requests holds millions of them. */
function compact({ ids, scored }: ScoringRequest): ScoringRequest {
  return { ids: Int32Array.from(ids), scored };
}
