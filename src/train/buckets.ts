// The flat gradient in buckets: ranges that are summed over processes at once, each as soon as the way back has come past the last
// record that adds to it. Which records those are is read from the program.

import type { Program } from '../tensor/backend.js';
import { opSpec } from '../tensor/optable.js';
import { elementsOf } from '../tensor/plan.js';
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

/**
 * The buckets of a training program, those first that are complete first: neighbours in the flat order together up to
 * `bucketBytes`, those with and without weight decay apart.
 */
export function planBuckets(
  program: Program,
  { all, list, decayed }: Pick<TrainingParameters, 'all' | 'list' | 'decayed'>,
  bucketBytes = defaultBucketBytes,
): Bucket[] {
  const total = elementsOf(all.grad.shape);
  const decayEnd = elementsOf(decayed.grad.shape);
  // A matrix that is larger than a bucket is several: a library's own buffers are as large as what it sums.
  const most = Math.max(1, Math.floor(bucketBytes / 4 / alignedElements)) * alignedElements;
  const places = list.flatMap(({ offset }, i) => {
    const end = list[i + 1]?.offset ?? total;
    const starts = Array.from({ length: Math.ceil((end - offset) / most) }, (_, piece) => offset + piece * most);
    return starts.map((start) => ({ start, end: Math.min(end, start + most), ready: 0 }));
  });
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
