// Products of f32 matrices for training: which tiles of product.wgsl make them, and in how many parts of the inner dimension, so that
// a small product keeps a large device busy. The choice depends on sizes only, and with it the order of every sum. Products with
// weights as they were uploaded, for running a model, are linear.ts.

import type { Dim } from '../../tensor/backend.js';
import { maxOf } from '../../tensor/plan.js';
import type { Binding, DeviceTraits, Dispatch, OpCall, SizeNow, Slice } from './dispatch.js';
import { isAligned } from './layout.js';
import { read, updated, written } from './planning.js';

/** Lines of f32 elements, `stride` from one to the next. */
export interface Lines {
  readonly slice: Slice;
  readonly stride: number;
}

/** Rows [first, first + most) of a size, as far as it goes. */
export interface Extent {
  readonly size: Dim;
  readonly first: number;
  readonly most: number;
}

/** c [m, n] = a b^T (+ c) (+ residual), summed over k. */
export interface Product {
  /** [m, k] where `inner` (k runs along its lines), else [k, m]; `padded` with zeros to whole fours. */
  readonly a: Lines & { readonly inner: boolean; readonly padded?: boolean };
  /** [n, k] where `inner`, else [k, n]. */
  readonly b: Lines & { readonly inner: boolean };
  readonly c: Lines;
  /** Lines as those of c. */
  readonly residual?: Slice | null;
  /** Adds to what c holds. */
  readonly accumulate?: boolean;
  readonly m: Extent;
  readonly n: number;
  readonly k: Extent;
}

export const whole = (size: Dim): Extent => ({ size, first: 0, most: maxOf(size) });

/** How much of an extent there is in this run. */
export const extentNow = ({ size, first, most }: Extent, now: SizeNow): number => Math.max(0, Math.min(now(size) - first, most));

const extentUniforms = (name: 'm' | 'k', { size, first, most }: Extent): Record<string, Dim> => ({
  ...{ [name]: size, [`${name}_first`]: first, [`${name}_most`]: most },
});

/**
 * So many tiles keep the largest devices busy: of 256 invocations, at least and better (132 processors that have two each end together),
 * and of 64.
 */
const enough = { large: 160, better: 240, small: 512 };
/** Of large tiles at least so much is to be filled: they read half as much for a product as small ones. */
const leastFilled = 0.75;
/** What a part of the inner dimension is worth a pass over its sums. */
const leastPart = 128;
const mostParts = 16;

export function tilesOf(m: number, n: number, k: number): { tile: 64 | 128; splits: number } {
  const tiles = (size: number): number => Math.ceil(m / size) * Math.ceil(n / size);
  const most = Math.max(1, Math.min(mostParts, Math.floor(k / leastPart)));
  const splits = Math.min(Math.ceil(enough.better / tiles(128)), most);
  const filled = tiles(128) >= enough.large || m * n >= leastFilled * tiles(128) * 128 ** 2;
  if (tiles(128) * splits >= enough.large && filled) return { tile: 128, splits };
  return { tile: 64, splits: Math.min(Math.ceil(enough.small / tiles(64)), most) };
}

export function product(call: Pick<OpCall, 'scratch'>, { a, b, c, residual, accumulate = false, m, n, k }: Product): Dispatch[] {
  const chosen = tilesOf(m.most, n, k.most);
  const { tile } = chosen;
  const splits = c.stride === n ? chosen.splits : 1;
  const parts = splits > 1 ? { slice: call.scratch(4 * splits * m.most * n), stride: n } : undefined;
  const into = parts ?? c;
  const residualHere = parts ? null : (residual ?? null);
  // Lines are read in fours: past the end of one lies another, unless k has none left there.
  const fours = ({ slice, stride, inner, padded }: Product['a']): boolean =>
    isAligned(slice, 'vec4f', 4 * stride) && (!inner || padded === true || k.most % 4 === 0);
  const fourInto =
    isAligned(into.slice, 'vec4f', 4 * into.stride) &&
    into.stride >= 4 * Math.ceil(n / 4) &&
    (!residualHere || isAligned(residualHere, 'vec4f'));
  const bindings = {
    ...inFoursOrOnes('a', a.slice, 'read', fours(a)),
    ...inFoursOrOnes('b', b.slice, 'read', fours(b)),
    ...inFoursOrOnes('c', into.slice, accumulate && !parts ? 'readwrite' : 'write', fourInto),
    ...inFoursOrOnes('r', residualHere, 'read', fourInto),
  };
  const dispatches: Dispatch[] = [
    {
      shader: 'product',
      constants: { tile, splits, a_inner: a.inner, b_inner: b.inner, accumulate: accumulate && !parts },
      bindings,
      uniforms: {
        ...extentUniforms('m', m),
        ...extentUniforms('k', k),
        ...{ n, a_stride: a.stride, b_stride: b.stride, c_stride: into.stride, r_stride: c.stride },
      },
      workgroups: (now) => [Math.ceil(n / tile), Math.ceil(extentNow(m, now) / tile), splits],
    },
  ];
  if (parts) {
    dispatches.push(sumOf({ parts: parts.slice, splits, c: c.slice, residual, accumulate, m, n }));
  }
  return dispatches;
}

/** c [m, n] = the sum of parts [splits, m, n] (+ c) (+ residual). */
export function sumOf(sum: {
  parts: Slice;
  splits: number;
  c: Slice;
  residual?: Slice | null;
  accumulate?: boolean;
  m: Extent;
  n: number;
}): Dispatch {
  const { parts, splits, c, residual, accumulate = false, m, n } = sum;
  return {
    shader: 'productSum',
    constants: { splits, accumulate },
    bindings: {
      parts: read(parts),
      c: (accumulate ? updated : written)(c),
      r: read(residual ?? null),
    },
    uniforms: { ...extentUniforms('m', m), n },
    workgroups: (now) => [Math.ceil((extentNow(m, now) * n) / 256), 1, 1],
  };
}

function inFoursOrOnes(name: string, slice: Slice | null, access: Binding['access'], fours: boolean): Record<string, Binding> {
  return {
    [`${name}4`]: { slice: fours ? slice : null, element: 'vec4f', access },
    [`${name}1`]: { slice: fours ? null : slice, element: 'f32', access },
  };
}

/** Ranges of vectors of `count` f32 that the device can bind, and that lie in one of its buffers each: elements [first, first + count). */
export function rangesOf(
  count: number,
  slices: readonly Slice[],
  { bindingBytes, bufferBytes }: Pick<DeviceTraits, 'bindingBytes' | 'bufferBytes'>,
): { first: number; count: number }[] {
  const ranges: { first: number; count: number }[] = [];
  const most = Math.floor(bindingBytes / 256) * 64 - 64; // a binding begins up to 255 bytes before its slice
  for (let first = 0; first < count; first += ranges[ranges.length - 1].count) {
    const left = slices.map(({ offset }) => (bufferBytes - ((offset + 4 * first) % bufferBytes)) / 4);
    ranges.push({ first, count: Math.min(count - first, most, ...left) });
  }
  return ranges;
}

/** Bytes [4 first, 4 (first + count)) of a slice of f32 elements. */
export const partOf = ({ memory, offset }: Slice, first: number, count: number): Slice => ({
  ...{ memory, offset: offset + 4 * first, bytes: 4 * count },
});
