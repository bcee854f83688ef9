// What the processes of one training or evaluation do together: sums, gathers, broadcasts. Types, and the collective of one process
// alone. MPI's is `io/node/mpi.ts`; what is summed, and when, is the trainer's (data-parallel.ts) and the verbs'.

import type { MappedMemory } from '../tensor/shared-memory.js';

/** What collectives work on, in place: arrays, or a backend's own memory. Nothing else may touch it until the promise resolves. */
export type Elements = Float32Array | Float64Array | Uint16Array | Uint8Array | MappedMemory;

/** A part of some elements, from `start` to before `end`. */
export function part<Kind extends Elements>(elements: Kind, start: number, end: number): Kind {
  if (!('address' in elements)) return elements.subarray(start, end) as Kind;
  return { ...elements, address: elements.address + BigInt(4 * start), length: end - start };
}

/**
 * The processes that work together, each a rank. All ranks make the same calls in the same order; a call waits for the calls made
 * before it, never for the event loop, and holds up neither. Sums of one size on as many ranks have the same bits each time and
 * on every rank. Rejects with `CollectiveError` when the others cannot be reached any more.
 */
export interface Collective {
  readonly rank: number;
  readonly size: number;
  /** Seconds during which anything was waited for or under way, and bytes that this rank sent, of what the best algorithm sends. */
  readonly traffic: { readonly seconds: number; readonly bytes: number };
  /** Every rank's numbers, by rank; as many on each. For a few: they take no part in `traffic`. */
  gather(values: ArrayLike<number>): Promise<Float64Array[]>;
  /** Every rank's text, by rank. Small ones. */
  gatherTexts(text: string): Promise<string[]>;
  /** The sum over all ranks, on all of them. */
  allReduce(elements: Elements): Promise<void>;
  /** The sum over all ranks, cut into as many parts of those lengths: a rank's own comes to lie at the beginning, the rest is lost. */
  reduceScatter(elements: Elements, lengths: readonly number[]): Promise<void>;
  /** Every rank's part, at its place, on all of them. */
  allGather(elements: Elements, lengths: readonly number[]): Promise<void>;
  /** A part for each rank, of those lengths; from each rank the part for this one, one behind the other. */
  allToAll(sent: Elements, received: Elements, lengths: readonly number[]): Promise<void>;
  /** What rank `from` has, on all of them. */
  broadcast(elements: Elements, from?: number): Promise<void>;
  barrier(): Promise<void>;
}

/** The others cannot be reached. */
export class CollectiveError extends Error {
  override readonly name = 'CollectiveError';
}

/** One process alone: everything is there already. */
export const alone: Collective = {
  rank: 0,
  size: 1,
  traffic: { seconds: 0, bytes: 0 },
  gather: async (values) => [Float64Array.from(values)],
  gatherTexts: async (text) => [text],
  allReduce: async () => {},
  reduceScatter: async () => {},
  allGather: async () => {},
  allToAll: async () => {
    throw new Error('one process alone has nobody to send to');
  },
  broadcast: async () => {},
  barrier: async () => {},
};

/** As even as can be: the lengths of `parts` parts of so many elements, in whole units but for the last. */
export function evenParts(length: number, parts: number, unit = 1): number[] {
  const units = Math.ceil(length / unit);
  const edge = (i: number): number => Math.min(length, Math.floor((i * units) / parts) * unit);
  return Array.from({ length: parts }, (_, i) => edge(i + 1) - edge(i));
}
