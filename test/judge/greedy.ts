// Judges what is greedy, up to ties: two logits that lie nearer to one another than the arithmetic is exact may change places on
// another machine, and in a random model they do. Where an id differs, both must be that near to the best of the step, and the
// rest is judged on the golden's own ids. What the ids mean is not known here.

import { Engine } from '../../src/infer/engine.js';
import { maxStepRows, Stepper } from '../../src/infer/step.js';
import { createCache } from '../../src/model/cache.js';
import type { OpenELM } from '../../src/model/openelm.js';
import type { Backend } from '../../src/tensor/backend.js';
import { type Check, floatBound } from './judgement.js';

/** Two logits, each off by the bound, the other way; as a share of the step's largest. */
export const tieBound = 2 * floatBound;

/** How far an id is from the best of a step, as a share of the largest logit. */
function distance(logits: Float32Array, id: number): number {
  const largest = logits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (logits.reduce((a, b) => Math.max(a, b)) - logits[id]) / largest;
}

/** How far the second of a step is from the best. */
function lead(logits: Float32Array): number {
  const best = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
  let nearest = Number.POSITIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) if (id !== best) nearest = Math.min(nearest, distance(logits, id));
  return nearest;
}

/** Logits after each of `ids` from `first` on. */
async function logitsFrom(backend: Backend, model: OpenELM, ids: readonly number[], first: number): Promise<Float32Array[]> {
  const { vocabSize } = model.config;
  const cache = createCache(backend, model.config, ids.length, ids.length, 'f32');
  const stepper = new Stepper(backend, model, cache, { maxSequences: maxStepRows, maxSegments: 1 });
  const rows: Float32Array[] = [];
  for (let past = 0; past < ids.length; past += maxStepRows) {
    const piece = ids.slice(past, past + maxStepRows);
    const wanted = piece.map((_, i) => i).filter((i) => past + i >= first);
    const item = { ids: piece, past, segments: [[0, past + piece.length]] as const, wanted };
    const { logits } = await stepper.run([item], wanted.length ? 'logits' : 'none');
    for (const i of wanted.keys()) rows.push(logits!.slice(i * vocabSize, (i + 1) * vocabSize));
  }
  stepper.dispose();
  cache.free();
  return rows;
}

/** One row of logits for each of the last `scored` ids, made from those before it. */
function logitsBefore(backend: Backend, model: OpenELM, ids: readonly number[], scored: number): Promise<Float32Array[]> {
  return logitsFrom(backend, model, ids.slice(0, -1), ids.length - 1 - scored);
}

/** The greedy continuation of a prompt against a golden one. */
export async function judgeContinuation(
  backend: Backend,
  model: OpenELM,
  name: string,
  prompt: readonly number[],
  golden: readonly number[],
): Promise<Check> {
  const context = Math.min(model.config.ropeMaxLength, prompt.length + golden.length + 1);
  const engine = new Engine(backend, model, { context, cacheType: 'f32' });
  const found: number[] = [];
  const options = { temperature: 0, maxTokens: golden.length, ignoreEos: true };
  for await (const id of engine.generate(prompt, options)) found.push(id);
  await engine.dispose();
  const step = golden.findIndex((id, i) => id !== found[i]);
  if (step < 0) return { name, error: 0, bound: tieBound };
  if (step >= found.length) {
    return { name: `${name}: ${found.length} of ${golden.length} ids`, error: Number.POSITIVE_INFINITY, bound: tieBound };
  }
  const rows = await logitsBefore(backend, model, [...prompt, ...golden], golden.length);
  const off = golden.map((id, i) => distance(rows[i], id));
  const error = Math.max(distance(rows[step], found[step]), ...off.slice(step));
  const past = off.findIndex((value, i) => i > step && value > tieBound);
  const said =
    past < 0 || off[step] > tieBound ? `id ${step}: ${found[step]} for ${golden[step]}` : `id ${past}: ${golden[past]}`;
  return { name: `${name}, ${said}`, error, bound: tieBound };
}

export interface Beginnings {
  /** How far the golden's ids are from the best of their steps, at most. */
  readonly error: number;
  /** The ways to leave the golden's ids: its beginnings, each with another id that is as good. */
  readonly ties: readonly (readonly number[])[];
}

/** For what is no ids any more: where a greedy continuation may leave the golden one. */
export async function tiedBeginnings(
  backend: Backend,
  model: OpenELM,
  prompt: readonly number[],
  golden: readonly number[],
): Promise<Beginnings> {
  const rows = await logitsBefore(backend, model, [...prompt, ...golden], golden.length);
  const ties = rows.flatMap((logits, step) =>
    Array.from(logits.keys())
      .filter((id) => id !== golden[step] && distance(logits, id) <= tieBound)
      .map((id) => [...golden.slice(0, step), id]),
  );
  return { error: Math.max(...golden.map((id, i) => distance(rows[i], id))), ties };
}

/**
 * How far a flag "the last `scored` of `ids` are the most probable" is from its contrary: to deny it, the distance of the nearest
 * rival; to claim it, that of the worst of the ids.
 */
export async function flagDistance(
  backend: Backend,
  model: OpenELM,
  ids: readonly number[],
  scored: number,
  golden: boolean,
): Promise<number> {
  const rows = await logitsBefore(backend, model, ids, scored);
  return golden ? Math.max(...rows.map((logits, i) => distance(logits, ids.at(i - scored)!))) : Math.min(...rows.map(lead));
}
