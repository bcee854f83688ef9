// Stored tensors into device memory: read in pieces, converted here or quantized there (quantizeWeight.wgsl), and written where they
// belong (weights.ts). What may be uploaded is checked before, in tensor/transfers.ts.

import { readAffineRows } from '../../io/affine.js';
import type { Piece, StoredTensor } from '../../io/bytes.js';
import { toFloat32 } from '../../io/decode.js';
import { encodeBfloat16, encodeFloat16, numberToFloat16 } from '../../io/float16.js';
import { groupSize } from '../../tensor/quantize.js';
import type { UploadPlan } from '../../tensor/transfers.js';
import type { Dispatch, Slice, Weight, WeightPart } from './dispatch.js';
import { read, written } from './planning.js';
import { isAffine, partsOf, scaleBytesOf, strideOf } from './weights.js';

/** Stored bytes that are read at once, and written bytes after which the device is waited for: they lie in memory twice till then. */
const pieceBytes = 4 << 20;
const aheadBytes = 64 << 20;

/** What an upload needs of the device. */
export interface UploadTarget {
  allocate(bytes: number): Promise<GPUBuffer>;
  /** Rejects when the device is gone. */
  write(buffer: GPUBuffer, offset: number, data: Uint8Array<ArrayBuffer>): void;
  /** Runs a dispatch over what was written. */
  run(dispatch: Dispatch): Promise<void>;
  /** Gives back what was allocated and is no part of the weight. */
  release(buffer: GPUBuffer): void;
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
  const buffer = await target.allocate(4 * rows);
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
  const step = Math.max(16, Math.floor(Math.min(pieceBytes, bindingBytes - 512) / storedRow / 16) * 16);
  const quantizes = (dtype === 'q8' || dtype === 'q4') && !plan.blocks;
  const source = quantizes ? await target.allocate(Math.min(step, rows) * storedRow + 4) : undefined;
  for (const part of partsOf(rows, 4 * stride, bindingBytes)) {
    const codes = await target.allocate(4 * stride * part.rows);
    const scales = scaleBytes > 0 ? await target.allocate(scaleBytes * part.rows) : null;
    for (let row = 0; row < part.rows; row += step) {
      const [first, count] = [part.firstRow + row, Math.min(step, part.rows - row)];
      if (source) {
        const data = await readRows(tensor, rows, first, count);
        target.write(source, 0, wholeWords(data));
        await target.run(quantization(tensor, plan, source, { codes, scales: scales! }, row, count));
        ahead += data.length;
      } else {
        const packed = await packedRows(tensor, plan, first, count, stride);
        target.write(codes, 4 * stride * row, packed.codes);
        if (scales) target.write(scales, scaleBytes * row, packed.scales!);
        ahead += packed.codes.length;
      }
      if (ahead < aheadBytes) continue;
      await target.landed();
      ahead = 0;
    }
    parts.push({ ...part, codes: sliceOf(codes), scales: scales && sliceOf(scales) });
  }
  if (source) target.release(source);
  return { dtype, rows, columns, stride, group, parts };
}

function sliceOf(buffer: GPUBuffer): WeightPart['codes'] {
  return { memory: { kind: 'persistent', buffers: [buffer] }, offset: 0, bytes: buffer.size };
}

async function readRows({ source, offset, bytes }: Piece, rows: number, first: number, count: number): Promise<Uint8Array> {
  const each = bytes / rows;
  return source.read(offset + first * each, count * each);
}

/** The same bytes, and zeros to the end of a word. */
function wholeWords(data: Uint8Array): Uint8Array<ArrayBuffer> {
  if (data.length % 4 === 0) return data as Uint8Array<ArrayBuffer>;
  const padded = new Uint8Array(Math.ceil(data.length / 4) * 4);
  padded.set(data);
  return padded;
}

/** Makes codes and scales of `count` rows of a part, from `row` on, of what lies in `source`. */
function quantization(
  tensor: StoredTensor,
  { dtype, columns }: UploadPlan,
  source: GPUBuffer,
  { codes, scales }: { codes: GPUBuffer; scales: GPUBuffer },
  row: number,
  count: number,
): Dispatch {
  const groups = Math.ceil(columns / groupSize);
  const stride = strideOf(dtype, columns);
  const whole = (buffer: GPUBuffer): Slice => ({
    memory: { kind: 'persistent', buffers: [buffer] },
    offset: 0,
    bytes: buffer.size,
  });
  const rowsOf = (buffer: GPUBuffer, rowBytes: number): Slice => ({
    ...whole(buffer),
    offset: row * rowBytes,
    bytes: Math.ceil((count * rowBytes) / 4) * 4,
  });
  return {
    shader: 'quantizeWeight',
    constants: { source_type: ['F32', 'F16', 'BF16'].indexOf(tensor.dtype) },
    bindings: {
      source: read(whole(source), 'u32'),
      codes: written(rowsOf(codes, 4 * stride), 'u32'),
      scales: written(rowsOf(scales, 2 * groups), 'u32'),
    },
    uniforms: { rows: count, columns, groups, stride, code_bits: dtype === 'q8' ? 8 : 4, levels: 16, quotient_bits: 25 },
    workgroups: () => [Math.ceil((count * groups) / 128), 1, 1],
  };
}

async function packedRows(
  tensor: StoredTensor,
  { dtype, rows, columns, affine, blocks }: UploadPlan,
  first: number,
  count: number,
  stride: number,
): Promise<PackedRows> {
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
  if (blocks) return splitBlocks(await readRows(blocks, rows, first, count), count, columns, dtype === 'q8' ? 8 : 4);
  const bytes = await readRows(tensor, rows, first, count);
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

/** A row of codes in the order of weights.ts. */
function packCodes(codes: Uint8Array, at: number, columns: number, bits: 8 | 4 | 3, packed: Uint8Array, to: number): void {
  if (bits === 8) {
    packed.set(codes.subarray(at, at + columns), to);
    return;
  }
  for (let g = 0; g < columns; g += groupSize) {
    const target = to + (g * bits) / 8;
    for (let i = 0; i < groupSize; i++) {
      const code = codes[at + g + i];
      if (bits === 4) packed[target + (i & 15)] |= code << (i < 16 ? 0 : 4);
      else {
        packed[target + (i & 3) + (i < 16 ? 0 : 4)] |= (code & 3) << (2 * ((i & 15) >> 2));
        packed[target + 8 + (i & 3)] |= (code >> 2) << (i >> 2);
      }
    }
  }
}
