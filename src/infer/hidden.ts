// What a model knows of texts, before its output layer: hidden states of every token, and their mean as an embedding of the whole.
// Many sequences lie end to end in one slot's rows of the cache, so that steps are full however short they are. Ids in, numbers
// out; text is `text.ts`.

import { InputError } from '../errors.js';
import type { Cache } from '../model/cache.js';
import type { OpenELM } from '../model/openelm.js';
import type { Backend } from '../tensor/backend.js';
import { NotFiniteError } from './not-finite.js';
import type { Slot } from './slots.js';
import { maxStepRows, type StepItem, Stepper } from './step.js';

/** The rows of one sequence in a step, and what came out of them: for each tap f32 [count, columns]. */
export interface HiddenRows {
  readonly sequence: number;
  /** The first one's position in the sequence. */
  readonly position: number;
  readonly count: number;
  readonly taps: readonly Float32Array[];
}

/**
 * What a `Tap` calls hidden states as transformers numbers `hidden_states`: 0 is the embedding, i what layer i - 1 leaves, the last (the
 * config's number of layers) is the output layer's input, through the last norm.
 */
export function hiddenTap(layer: number, layers: number): string {
  if (layer === 0) return 'transformer.token_embeddings';
  return layer === layers ? 'transformer.norm' : `transformer.layers.${layer - 1}.out`;
}

/**
 * Computes sequences in a slot of `context` rows, none longer than that, and yields what `taps` name of their rows as it comes, in
 * order. The slot's own tokens are lost. Rejects as `Stepper.run` does.
 */
export class HiddenStates {
  private readonly stepper: Stepper;

  constructor(
    backend: Backend,
    model: OpenELM,
    cache: Cache,
    private readonly context: number,
    taps: readonly string[],
  ) {
    const limits = { maxSequences: maxStepRows, maxSegments: maxStepRows };
    this.stepper = new Stepper(backend, model, cache, { ...limits, taps });
  }

  async *run(
    sequences: readonly ArrayLike<number>[],
    { firstRow, adapter }: Slot,
    signal: AbortSignal | undefined,
    steps: Steps,
  ): AsyncGenerator<HiddenRows> {
    for (const places of planned(sequences, this.context, steps.rows)) {
      const items = places.map(({ sequence, position, count, row }): StepItem => {
        const ids = Array.from({ length: count }, (_, i) => sequences[sequence][position + i]);
        return { ids, past: position, segments: [[firstRow + row, position + count]], wanted: [], adapter };
      });
      const { hidden = [] } = await steps.run(() => this.stepper.run(items, 'hidden', signal));
      let row = 0;
      for (const { sequence, position, count } of places) {
        const taps = hidden.map(({ states, columns }) => states.subarray(row * columns, (row + count) * columns));
        yield { sequence, position, count, taps };
        row += count;
      }
    }
  }

  dispose(): void {
    this.stepper.dispose();
  }
}

/** How steps are made room for beside others': their rows at most, and when they run. */
export interface Steps {
  rows(): number;
  run<T>(step: () => Promise<T>): Promise<T>;
}

/** A piece of a sequence in a step; `row` is where the sequence begins in the slot. */
interface Place {
  readonly sequence: number;
  readonly position: number;
  readonly count: number;
  readonly row: number;
}

/** Steps of at most `rows()` tokens. A step ends where the slot's rows start over, as what is in it still reads them. */
function* planned(sequences: readonly ArrayLike<number>[], context: number, rows: () => number): Generator<Place[]> {
  let places: Place[] = [];
  let room = rows();
  let row = 0;
  for (const [sequence, { length }] of sequences.entries()) {
    if (row + length > context) {
      if (places.length > 0) yield places;
      [places, room, row] = [[], rows(), 0];
    }
    for (let position = 0; position < length; ) {
      const count = Math.min(room, length - position);
      places.push({ sequence, position, count, row });
      position += count;
      room -= count;
      if (room > 0) continue;
      yield places;
      [places, room] = [[], rows()];
    }
    row += length;
  }
  if (places.length > 0) yield places;
}

/** Sums the states of each sequence's tokens as they come and makes vectors of length 1 of them. */
export class MeanPool {
  /** The sums that are under way: of sequences whose last tokens are still to come. */
  private sum?: Float64Array;

  /** The embedding f32 [modelDim] that these rows complete. `length`: that of the sequence. Throws `NotFiniteError`. */
  add({ sequence, position, count, taps: [states] }: HiddenRows, length: number): Float32Array | undefined {
    const columns = states.length / count;
    this.sum ??= new Float64Array(columns);
    const { sum } = this;
    for (let at = 0; at < states.length; ) for (let i = 0; i < columns; i++) sum[i] += states[at++];
    if (position + count < length) return undefined;
    this.sum = undefined;
    const norm = Math.sqrt(sum.reduce((total, value) => total + value * value, 0));
    if (!Number.isFinite(norm))
      throw new NotFiniteError(`as the embedding of text ${sequence + 1}`, 'not all of its hidden states are finite numbers');
    return Float32Array.from(sum, (value) => (norm === 0 ? 0 : value / norm));
  }
}

/** Layers as `hidden_states[i]` counts them; below 0 from the end; all when left out. Throws `InputError` on one that is not there. */
export function chosenLayers(layers: readonly number[] | undefined, count: number): number[] {
  const all = Array.from({ length: count + 1 }, (_, i) => i);
  if (layers === undefined) return all;
  return layers.map((layer) => {
    const chosen = Number.isInteger(layer) ? all.at(layer) : undefined;
    if (chosen === undefined || layer < -all.length) {
      throw new InputError(
        `there are no hidden states ${layer}: this model has 0 (the embedding) to ${count}, or -1 to -${count + 1} from the end`,
      );
    }
    return chosen;
  });
}
