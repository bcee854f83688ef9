// Whether stored weights are numbers: every element of every tensor, a piece at a time. It reads what is stored, not what a
// precision makes of it; `beyond` tells what would overflow in f16.

import { InputError } from '../errors.js';
import { DTYPE_BYTES, type StoredTensor } from '../io/bytes.js';
import { float16ToNumber } from '../io/float16.js';
import type { WeightType } from './parameters.js';

/** What one tensor holds. */
export interface TensorCheck {
  readonly name: string;
  readonly file: string;
  readonly elements: number;
  readonly nan: number;
  readonly infinite: number;
  /** Where the first element is that is not finite, by dimension. */
  readonly first?: readonly number[];
  /** The largest magnitude of the finite elements. */
  readonly largest: number;
}

const pieceBytes = 4 << 20;

/** How a type's numbers lie in words: the bits of the magnitude, and the smallest magnitude that is not finite. */
const layouts = {
  F32: { words: Uint32Array, magnitude: 0x7fffffff, infinity: 0x7f800000, value: (bits: number) => fromBits(bits) },
  F16: { words: Uint16Array, magnitude: 0x7fff, infinity: 0x7c00, value: float16ToNumber },
  BF16: { words: Uint16Array, magnitude: 0x7fff, infinity: 0x7f80, value: (bits: number) => fromBits(bits * 65536) },
} as const;

function fromBits(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0];
}

/**
 * Looks at all of a tensor's elements. Whole numbers are always finite. Throws `InputError` when the file is cut, and the signal's
 * reason when it aborts.
 */
export async function checkTensor(
  tensor: StoredTensor,
  options: { signal?: AbortSignal; onBytes?: (bytes: number) => void } = {},
): Promise<TensorCheck> {
  const { name, dtype, source, shape } = tensor;
  const elements = tensor.bytes / DTYPE_BYTES[dtype];
  let [nan, infinite, largest] = [0, 0, 0];
  let first: number | undefined;
  for (let done = 0; done < tensor.bytes; ) {
    options.signal?.throwIfAborted();
    const length = Math.min(pieceBytes, tensor.bytes - done);
    if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' || dtype === 'F64') {
      const bytes = await source.read(tensor.offset + done, length);
      const piece = dtype === 'F64' ? checkDoubles(bytes) : checkWords(bytes, layouts[dtype]);
      nan += piece.nan;
      infinite += piece.infinite;
      largest = Math.max(largest, piece.largest);
      if (piece.first >= 0) first ??= done / DTYPE_BYTES[dtype] + piece.first;
    }
    done += length;
    options.onBytes?.(length);
  }
  const place = first === undefined ? {} : { first: indexIn(shape, first) };
  return { name, file: source.name, elements, nan, infinite, ...place, largest };
}

interface PieceCheck {
  nan: number;
  infinite: number;
  /** -1: all are finite. */
  first: number;
  largest: number;
}

function checkWords(
  bytes: Uint8Array,
  { words, magnitude, infinity, value }: (typeof layouts)[keyof typeof layouts],
): PieceCheck {
  const size = words.BYTES_PER_ELEMENT;
  const { buffer, byteOffset, byteLength } = aligned(bytes, size);
  const piece = new words(buffer, byteOffset, byteLength / size);
  const found = { nan: 0, infinite: 0, first: -1, largest: 0 };
  let most = 0;
  for (let i = 0; i < piece.length; i++) {
    const bits = piece[i] & magnitude;
    if (bits < infinity) {
      if (bits > most) most = bits;
      continue;
    }
    if (bits === infinity) found.infinite++;
    else found.nan++;
    if (found.first < 0) found.first = i;
  }
  return { ...found, largest: value(most) };
}

function checkDoubles(bytes: Uint8Array): PieceCheck {
  const { buffer, byteOffset, byteLength } = aligned(bytes, 8);
  const found = { nan: 0, infinite: 0, first: -1, largest: 0 };
  for (const [i, value] of new Float64Array(buffer, byteOffset, byteLength / 8).entries()) {
    if (Number.isFinite(value)) found.largest = Math.max(found.largest, Math.abs(value));
    else {
      if (Number.isNaN(value)) found.nan++;
      else found.infinite++;
      if (found.first < 0) found.first = i;
    }
  }
  return found;
}

function aligned(bytes: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  return bytes.byteOffset % size === 0 && bytes.buffer instanceof ArrayBuffer
    ? (bytes as Uint8Array<ArrayBuffer>)
    : new Uint8Array(bytes);
}

function indexIn(shape: readonly number[], at: number): number[] {
  const index: number[] = [];
  for (const size of [...shape].reverse()) {
    index.unshift(at % size);
    at = Math.floor(at / size);
  }
  return index;
}

/** What is wrong with a tensor, in words; undefined when nothing is. */
export function problemOf({ name, file, nan, infinite, first }: TensorCheck): string | undefined {
  if (!first) return undefined;
  const counts = [...(nan > 0 ? [`${nan} NaN`] : []), ...(infinite > 0 ? [`${infinite} infinite`] : [])].join(' and ');
  return `${file}: tensor ${name} has ${counts}, the first at [${first.join(', ')}]`;
}

const largestHalf = 65504;

/** Which tensor makes a model's outputs bad numbers at a precision: the first that holds some, or one whose numbers are too large for it. */
export async function findBadTensor(tensors: Iterable<StoredTensor>, dtype: WeightType): Promise<string | undefined> {
  let beyond: string | undefined;
  for (const tensor of tensors) {
    const check = await checkTensor(tensor);
    const problem = problemOf(check);
    if (problem) return problem;
    if (dtype === 'f16' && check.largest > largestHalf) {
      beyond ??= `${check.file}: tensor ${check.name} reaches ${check.largest.toPrecision(3)}, more than f16 holds (f32 and bf16 do)`;
    }
  }
  return beyond;
}

/** Throws `InputError` naming every tensor that is bad (the first few). */
export function refuseBad(checks: readonly TensorCheck[]): void {
  const problems = checks.flatMap((check) => problemOf(check) ?? []);
  if (problems.length === 0) return;
  const shown = problems.slice(0, 3).join('; ');
  throw new InputError(problems.length > 3 ? `${shown}; and ${problems.length - 3} more tensors` : shown);
}
