// Stored tensors into device memory: read in pieces, converted or quantized here, on the JavaScript thread, and written where they
// belong (webgpu-weights.ts). What may be uploaded is checked before, in tensor/transfers.ts.

import { readAffineRows } from '../io/affine.js';
import type { StoredTensor } from '../io/bytes.js';
import { toFloat32 } from '../io/decode.js';
import { encodeBfloat16, encodeFloat16, numberToFloat16 } from '../io/float16.js';
import { groupSize, quantizeWeights } from '../tensor/quantize.js';
import type { UploadPlan } from '../tensor/transfers.js';
import type { Weight, WeightPart } from './webgpu-dispatch.js';
import { isAffine, partsOf, scaleBytesOf, strideOf } from './webgpu-weights.js';

/** Stored bytes that are read at once, and written bytes after which the device is waited for: they lie in memory twice till then. */
const pieceBytes = 4 << 20;
const aheadBytes = 64 << 20;

/** What an upload needs of the device. */
export interface UploadTarget {
  allocate(bytes: number): GPUBuffer;
  /** Rejects when the device is gone. */
  write(buffer: GPUBuffer, offset: number, data: Uint8Array<ArrayBuffer>): void;
  /** All that was written is there. */
  landed(): Promise<unknown>;
}

/** Packed rows: whole words each. */
interface PackedRows {
  readonly codes: Uint8Array<ArrayBuffer>;
  readonly scales?: Uint8Array<ArrayBuffer>;
}

/** @throws InputError when the file is cut. */
export async function uploadRows(tensor: StoredTensor, { rows }: UploadPlan, target: UploadTarget): Promise<void> {
  const buffer = target.allocate(4 * rows);
  const each = tensor.bytes / rows;
  const step = Math.floor(pieceBytes / each);
  for (let row = 0; row < rows; row += step) {
    const bytes = await tensor.source.read(tensor.offset + row * each, Math.min(step, rows - row) * each);
    target.write(buffer, 4 * row, bytesOf(toFloat32(bytes, tensor.dtype)));
  }
}

/** @throws InputError when the file is cut. */
export async function uploadWeight(
  tensor: StoredTensor,
  plan: UploadPlan,
  target: UploadTarget,
  bindingBytes: number,
): Promise<Weight> {
  const { dtype, rows, columns } = plan;
  const stride = strideOf(dtype, columns);
  const group = isAffine(dtype) ? plan.affine!.group : dtype === 'q8' || dtype === 'q4' ? groupSize : 0;
  const scaleBytes = scaleBytesOf(dtype, columns, group);
  const parts: WeightPart[] = [];
  let ahead = 0;
  const storedRow = plan.affine ? columns : tensor.bytes / rows;
  const step = Math.max(16, Math.floor(pieceBytes / storedRow / 16) * 16);
  for (const part of partsOf(rows, 4 * stride, bindingBytes)) {
    const codes = target.allocate(4 * stride * part.rows);
    const scales = scaleBytes > 0 ? target.allocate(scaleBytes * part.rows) : null;
    for (let row = 0; row < part.rows; row += step) {
      const packed = await packedRows(tensor, plan, part.firstRow + row, Math.min(step, part.rows - row), stride);
      target.write(codes, 4 * stride * row, packed.codes);
      if (scales) target.write(scales, scaleBytes * row, packed.scales!);
      ahead += packed.codes.length;
      if (ahead < aheadBytes) continue;
      await target.landed();
      ahead = 0;
    }
    parts.push({ ...part, codes: sliceOf(codes), scales: scales && sliceOf(scales) });
  }
  return { dtype, rows, columns, stride, group, parts };
}

function sliceOf(buffer: GPUBuffer): WeightPart['codes'] {
  return { memory: { kind: 'persistent', buffers: [buffer] }, offset: 0, bytes: buffer.size };
}

async function packedRows(
  tensor: StoredTensor,
  { dtype, rows, columns, affine, blocks }: UploadPlan,
  first: number,
  count: number,
  stride: number,
): Promise<PackedRows> {
  const read = async (piece: { source: StoredTensor['source']; offset: number; bytes: number }): Promise<Uint8Array> => {
    const each = piece.bytes / rows;
    return piece.source.read(piece.offset + first * each, count * each);
  };
  if (affine) {
    const { codes, scales, minimums } = await readAffineRows(affine, columns, first, count);
    const factors = new Uint16Array(2 * scales.length);
    for (let i = 0; i < scales.length; i++) {
      factors[2 * i] = numberToFloat16(scales[i]);
      factors[2 * i + 1] = numberToFloat16(minimums[i]);
    }
    const packed = new Uint8Array(4 * stride * count);
    const bits = dtype === 'affine8' ? 8 : dtype === 'affine4' ? 4 : 3;
    for (let r = 0; r < count; r++) packCodes(codes, r * columns, columns, bits, packed, 4 * stride * r);
    return { codes: packed, scales: bytesOf(factors) };
  }
  if (blocks) return splitBlocks(await read(blocks), count, columns, dtype === 'q8' ? 8 : 4);
  const bytes = await read(tensor);
  if (dtype === 'q8' || dtype === 'q4') {
    return quantizedRows(toFloat32(bytes, tensor.dtype), count, columns, dtype === 'q8' ? 8 : 4);
  }
  const size = dtype === 'f32' ? 4 : 2;
  const same = tensor.dtype === dtype.toUpperCase();
  const values = same ? bytes : toFloat32(bytes, tensor.dtype);
  const converted = values instanceof Uint8Array ? values : bytesOf(encoded(values, dtype));
  if (4 * stride === size * columns) return { codes: converted as Uint8Array<ArrayBuffer> };
  const padded = new Uint8Array(4 * stride * count);
  for (let r = 0; r < count; r++) {
    padded.set(converted.subarray(r * size * columns, (r + 1) * size * columns), 4 * stride * r);
  }
  return { codes: padded };
}

function encoded(values: Float32Array, dtype: UploadPlan['dtype']): Float32Array | Uint16Array {
  return dtype === 'f32' ? values : dtype === 'f16' ? encodeFloat16(values) : encodeBfloat16(values);
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}

/** Quantizes by groups of 32, which pads rows to whole groups. */
function quantizedRows(values: Float32Array, rows: number, columns: number, bits: 8 | 4): PackedRows {
  const groups = Math.ceil(columns / groupSize);
  const rowBytes = (groups * groupSize * bits) / 8;
  const codes = new Uint8Array(rows * rowBytes);
  const scales = new Uint16Array(rows * groups + ((rows * groups) % 2));
  for (let r = 0; r < rows; r++) {
    const row = quantizeWeights(values.subarray(r * columns, (r + 1) * columns), bits);
    for (let g = 0; g < groups; g++) scales[r * groups + g] = numberToFloat16(row.scales[g]);
    if (bits === 8) codes.set(new Uint8Array(row.codes.buffer), r * rowBytes);
    else packCodes(row.codes, 0, groups * groupSize, 4, codes, r * rowBytes, 8);
  }
  return { codes, scales: bytesOf(scales) };
}

/** GGUF's blocks of a scale and 32 codes, taken apart. */
function splitBlocks(blocks: Uint8Array, rows: number, columns: number, bits: 8 | 4): PackedRows {
  const size = groupSize * (bits / 8);
  const count = (rows * columns) / groupSize;
  const codes = new Uint8Array(count * size);
  const scales = new Uint8Array(2 * (count + (count % 2)));
  for (let b = 0; b < count; b++) {
    const at = b * (size + 2);
    scales[2 * b] = blocks[at];
    scales[2 * b + 1] = blocks[at + 1];
    codes.set(blocks.subarray(at + 2, at + 2 + size), b * size);
  }
  return { codes, scales: bytesOf(scales) };
}

/** A row of codes in the order of webgpu-weights.ts; `zero` is added to each. */
function packCodes(
  codes: Int8Array | Uint8Array,
  at: number,
  columns: number,
  bits: 8 | 4 | 3,
  packed: Uint8Array,
  to: number,
  zero = 0,
): void {
  if (bits === 8) {
    packed.set(codes.subarray(at, at + columns), to);
    return;
  }
  for (let g = 0; g < columns; g += groupSize) {
    const target = to + (g * bits) / 8;
    for (let i = 0; i < groupSize; i++) {
      const code = codes[at + g + i] + zero;
      if (bits === 4) packed[target + (i & 15)] |= code << (i < 16 ? 0 : 4);
      else {
        packed[target + (i & 3) + (i < 16 ? 0 : 4)] |= (code & 3) << (2 * ((i & 15) >> 2));
        packed[target + 8 + (i & 3)] |= (code >> 2) << (i >> 2);
      }
    }
  }
}
