// What the host may put into buffers and take out of them: the checks that every backend makes before its queue. Nothing is
// copied here.

import { InputError } from '../errors.js';
import { type AffineParts, elementsOf, type PackedTensor, type StoredDType, type StoredTensor } from '../io/bytes.js';
import type { DeviceBuffer, DType, HostArray, HostType, Program } from './backend.js';

const arrays = { f32: Float32Array, f16: Uint16Array, i32: Int32Array } as const;

/** A new array of what the host sees of a buffer's elements. */
export function hostArray(dtype: HostType, elements: number): HostArray {
  return new arrays[dtype](elements);
}

/** @throws Error unless a buffer may have this shape. */
export function checkShape(shape: readonly number[]): void {
  if (!shape.every((size) => Number.isInteger(size) && size >= 0)) throw new Error(`a buffer of shape [${shape}]`);
}

/** @throws Error, after `where`, when a view ends past the `length` elements that it is of. */
export function checkView(buffer: DeviceBuffer, length: number, where = ''): void {
  if (buffer.offset < 0 || buffer.offset + elementsOf(buffer.shape) > length) {
    throw new Error(`${where}a view past the end of its buffer`);
  }
}

/**
 * The element type of a buffer whose elements [offset, offset + length) are to be read or written.
 * @throws Error when they do not lie inside, or the host cannot reach the buffer.
 */
export function checkTransfer(buffer: DeviceBuffer, offset: number, length: number): HostType {
  if (buffer.kind !== 'persistent' || buffer.layout !== 'rows') {
    throw new Error('only a persistent rows buffer can be read or written');
  }
  const elements = elementsOf(buffer.shape);
  if (!(Number.isInteger(offset) && Number.isInteger(length) && offset >= 0 && length >= 0 && offset + length <= elements)) {
    throw new Error(`elements ${offset} to ${offset + length} of a buffer of ${elements}`);
  }
  return buffer.dtype as HostType;
}

/** @throws Error unless this data can be written to a buffer from `offset` on. */
export function checkWrite(buffer: DeviceBuffer, data: HostArray, offset: number): void {
  const fits = arrays[checkTransfer(buffer, offset, data.length)];
  if (!(data instanceof fits)) throw new Error(`a ${buffer.dtype} buffer takes a ${fits.name}`);
}

/** @throws Error unless a run of this program takes so many params. */
export function checkParams({ paramsLength }: Program, params: Int32Array): void {
  if (params.length !== paramsLength) throw new Error(`the program takes ${paramsLength} params, not ${params.length}`);
}

/** Bytes of an element in the types that can be uploaded. */
const storedBytes: Partial<Record<StoredDType, number>> = { F32: 4, F16: 2, BF16: 2 };

/** GGUF's types of the same numbers, and the bytes of their blocks of 32. */
const blockFormats: Partial<Record<DType, string>> = { q8: 'Q8_0', q4: 'Q4_0' };
const blockBytes: Partial<Record<DType, number>> = { q8: 34, q4: 18 };

const codeBits = { affine8: 8, affine4: 4, affine3: 3 } as const;

/** What `upload` makes of a stored tensor: a matrix of the wanted type, or f32 elements, of as many rows of one column. */
export interface UploadPlan {
  readonly layout: 'weight' | 'rows';
  readonly dtype: Exclude<DType, 'i32'>;
  readonly rows: number;
  readonly columns: number;
  /** The parts of a matrix that stays as it is stored. */
  readonly affine?: AffineParts;
  /** The blocks of a matrix that is stored as GGUF's Q8_0 or Q4_0 and wanted so. */
  readonly blocks?: PackedTensor;
}

/** @throws InputError naming the file and the tensor when it cannot be uploaded. */
export function planUpload(tensor: StoredTensor, dtype: Exclude<DType, 'i32'>): UploadPlan {
  const { name, shape, source, offset, bytes } = tensor;
  const where = `${source.name}: tensor '${name}'`;
  const elementBytes = storedBytes[tensor.dtype];
  if (!elementBytes) throw new InputError(`${where} is ${tensor.dtype}, F32, F16 or BF16 expected`);
  if (shape.length < 1 || shape.length > 2 || !shape.every((size) => Number.isInteger(size) && size >= 1)) {
    throw new InputError(`${where} has shape [${shape}], one or two dimensions expected`);
  }
  const expected = elementsOf(shape) * elementBytes;
  if (bytes !== expected) throw new InputError(`${where} has ${bytes} bytes, [${shape}] in ${tensor.dtype} takes ${expected}`);
  if (!(offset >= 0 && offset + bytes <= source.size)) {
    throw new InputError(`${where} ends at byte ${offset + bytes}, but the file has ${source.size}: it was cut`);
  }
  const [rows, columns] = shape;
  const { affine } = tensor;
  if (dtype === 'affine8' || dtype === 'affine4' || dtype === 'affine3') {
    if (!affine) throw new Error(`${where} is not stored as codes, so it cannot become ${dtype}`);
    if (affine.bits > codeBits[dtype]) throw new Error(`${where} has codes of ${affine.bits} bits, too many for ${dtype}`);
    return { layout: 'weight', dtype, rows, columns, affine };
  }
  const blocks = tensor.packed?.format === blockFormats[dtype] ? tensor.packed : undefined;
  if (blocks && (blocks.bytes !== (rows * columns * blockBytes[dtype]!) / 32 || columns % 32 !== 0)) {
    throw new InputError(`${where} has ${blocks.bytes} bytes of ${blocks.format}, too many or few for [${shape}]`);
  }
  if (shape.length === 2) return { layout: 'weight', dtype, rows, columns, blocks };
  return { layout: 'rows', dtype: 'f32', rows, columns: 1 };
}
