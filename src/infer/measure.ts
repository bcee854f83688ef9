// How fast a model answers: the paper's protocol (a prompt of 39 tokens and 985 generated, batch 1, cache on, after a warm-up) and
// llama-bench's (pp512, tg128), as medians of some rounds. Whose model it is, and how the numbers are shown, is the caller's.

import { counted, InputError } from '../errors.js';
import type { TextOptions, Timings } from './text.js';

/** Of a model, what is measured: `context` tokens fit into it. */
export interface Measured {
  readonly vocabSize: number;
  readonly context: number;
  complete(prompt: readonly number[], options: TextOptions): Promise<{ readonly timings: Timings }>;
}

/** Medians, in tokens a second. */
export interface Speeds {
  readonly promptTokens: number;
  readonly generatedTokens: number;
  readonly prompt: number;
  readonly generation: number;
  /** Prompt and generation together. */
  readonly total: number;
  readonly firstTokenMs: number;
  /** Undefined where the context has no room for it. */
  readonly pp512?: number;
  readonly tg128?: number;
}

interface MeasureOptions {
  readonly rounds: number;
  readonly signal?: AbortSignal;
  /** Told before each measurement how many are done. */
  readonly onProgress?: (done: number, total: number, next: string) => void;
}

const paperPrompt = 39;
const paperTotal = 1024;

/** Throws `InputError` when the context is too short, and the signal's reason when it aborts. */
export async function measureSpeed(model: Measured, { rounds, signal, onProgress }: MeasureOptions): Promise<Speeds> {
  const { context, vocabSize } = model;
  const total = Math.min(paperTotal, context);
  if (total <= paperPrompt + 1)
    throw new InputError(`a context of ${counted(context, 'token')} is too short to measure: at least ${paperPrompt + 2}`);
  const generated = total - paperPrompt;
  let count = 0;
  /** Ids that have nothing in common with those before, so that nothing is found in the cache. */
  const ids = (length: number): number[] => {
    const first = ++count * 7919;
    return Array.from({ length }, (_, i) => (first + i * 31) % vocabSize);
  };
  const answer = async (prompt: number, tokens: number): Promise<Timings> => {
    const { timings } = await model.complete(ids(prompt), { maxTokens: tokens, temperature: 0, ignoreEos: true, signal });
    signal?.throwIfAborted();
    return timings;
  };
  const measured: Record<'first' | 'prompt' | 'generation' | 'total' | 'pp512' | 'tg128', number[]> = {
    ...{ first: [], prompt: [], generation: [], total: [], pp512: [], tg128: [] },
  };
  const paper = async (): Promise<void> => {
    const { promptMs, generateMs } = await answer(paperPrompt, generated);
    measured.first.push(promptMs);
    measured.prompt.push((1000 * paperPrompt) / promptMs);
    measured.generation.push((1000 * (generated - 1)) / generateMs);
    measured.total.push((1000 * total) / (promptMs + generateMs));
  };
  const round: [name: string, measure: () => Promise<unknown>][] = [[`${paperPrompt} + ${counted(generated, 'token')}`, paper]];
  if (context >= 512)
    round.push(['a prompt of 512', async () => measured.pp512.push((1000 * 512) / (await answer(512, 1)).promptMs)]);
  if (context >= 130)
    round.push(['128 tokens', async () => measured.tg128.push((1000 * 128) / (await answer(1, 129)).generateMs)]);
  const work: typeof round = [['the warm-up', () => answer(paperPrompt, 16)]]; // programs are encoded, pages touched
  for (let i = 0; i < rounds; i++) work.push(...round);
  for (const [i, [name, measure]] of work.entries()) {
    onProgress?.(i, work.length, name);
    await measure();
  }
  return {
    ...{ promptTokens: paperPrompt, generatedTokens: generated },
    prompt: median(measured.prompt)!,
    generation: median(measured.generation)!,
    total: median(measured.total)!,
    firstTokenMs: median(measured.first)!,
    pp512: median(measured.pp512),
    tg128: median(measured.tg128),
  };
}

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : sorted.length === 0 ? undefined : (sorted[middle - 1] + sorted[middle]) / 2;
}
