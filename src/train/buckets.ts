// The flat gradient in buckets: ranges that are summed over processes at once, each as soon as the way back has come past the last
// record that adds to it. Which records those are is read from the program.

import { elementsOf } from '../io/bytes.js';
import type { Program } from '../tensor/backend.js';
import { opSpec } from '../tensor/optable.js';
import { alignedElements, type TrainingParameters } from './parameters.js';

/** A range of the flat buffers whose gradient is summed at once. */
export interface Bucket {
  readonly start: number;
  readonly end: number;
  /** The records after which it is complete: their number. */
  readonly ready: number;
}

/** Bytes of a bucket: enough that a message's own cost does not count, and few enough that the last one is soon there. */
export const defaultBucketBytes = 16 << 20;

/** Elements in the largest pages that systems give memory in, 2 MiB: who has a part of a bucket has whole pages, and no more. */
export const pageElements = (2 << 20) / 4;

/**
 * The buckets of a training program, those first that are complete first: neighbours in the flat order together up to
 * `bucketBytes`, cut where pages end, those with and without weight decay apart.
 */
export function planBuckets(
  program: Program,
  { all, decayed }: Pick<TrainingParameters, 'all' | 'decayed'>,
  bucketBytes = defaultBucketBytes,
): Bucket[] {
  const total = elementsOf(all.grad.shape);
  const decayEnd = elementsOf(decayed.grad.shape);
  const most = Math.max(1, Math.floor(bucketBytes / 4 / alignedElements)) * alignedElements;
  const tile = Math.min(pageElements, most);
  const tilesOf = (from: number, to: number) =>
    Array.from({ length: Math.ceil(to / tile) - Math.floor(from / tile) }, (_, i) => {
      const start = (Math.floor(from / tile) + i) * tile;
      return { start: Math.max(from, start), end: Math.min(to, start + tile), ready: 0 };
    });
  const places = [...tilesOf(0, decayEnd), ...(decayEnd < total ? tilesOf(decayEnd, total) : [])];
  for (const [index, { op, operands }] of program.records.entries()) {
    for (const [i, { access }] of opSpec(op).operands.entries()) {
      const buffer = operands[i];
      if (access === 'read' || buffer?.kind !== 'persistent' || buffer.id !== all.grad.id) continue;
      for (const place of places) {
        if (place.start < buffer.offset + elementsOf(buffer.shape) && buffer.offset < place.end) place.ready = index + 1;
      }
    }
  }
  const buckets: Bucket[] = [];
  for (const place of places) {
    const last = buckets.at(-1);
    const joins = last && last.end !== decayEnd && 4 * (place.end - last.start) <= bucketBytes;
    if (joins) buckets[buckets.length - 1] = { ...last, end: place.end, ready: Math.max(last.ready, place.ready) };
    else buckets.push(place);
  }
  return buckets.sort((a, b) => a.ready - b.ready || a.start - b.start);
}
