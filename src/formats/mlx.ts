// MLX's affine quantization in a folder of Hugging Face's layout: a matrix `x.weight` of uint32 words with `x.scales` and `x.biases`,
// value = scale * code + bias for groups along a row; `quantization` in config.json says the bits and the group. Read: 2, 3, 4, 5, 6 and 8
// bits, groups of 32, 64 and 128. Written: 4 and 8 bits, by the rule of mlx's `affine_quantize`.
// https://github.com/ml-explore/mlx/blob/main/mlx/backend/cpu/quantized.cpp

import { InputError, shown } from '../errors.js';
import { unpackCodes } from '../io/affine.js';
import type { StoredTensor } from '../io/bytes.js';
import { toFloat32 } from '../io/decode.js';
import { isObject } from '../io/json.js';
import { decoded } from '../io/pieces.js';
import type { ModelConfig } from '../model/config.js';
import { codedBytes, parameterShapes } from '../model/parameters.js';

/** How the matrices of a folder are quantized. */
export interface AffineFormat {
  readonly bits: number;
  readonly groupSize: number;
}

const knownBits = [2, 3, 4, 5, 6, 8];
const knownGroups = [32, 64, 128];

/** What config.json's `quantization` says of a module (by its name), of all that it does not name, or that it is not quantized. */
export type AffineFormats = (module: string) => AffineFormat | undefined;

/** Undefined where a parsed config.json says nothing of it. Throws `InputError` naming the key. */
export function affineFormats(config: unknown, file: string): AffineFormats | undefined {
  const quantization = isObject(config) ? config.quantization : undefined;
  if (quantization === undefined || quantization === null) return undefined;
  const wrong = (key: string, value: unknown, wanted: string): never => {
    throw new InputError(`${file}: ${key} is ${shown(value)}; ${wanted} is expected`);
  };
  const format = (value: Record<string, unknown>, key: string): AffineFormat => {
    const { bits, group_size: groupSize, mode = 'affine' } = value;
    if (mode !== 'affine') wrong(`${key}.mode`, mode, '"affine"');
    if (!knownBits.includes(bits as number)) wrong(`${key}.bits`, bits, `one of ${knownBits.join(', ')}`);
    if (!knownGroups.includes(groupSize as number)) wrong(`${key}.group_size`, groupSize, `one of ${knownGroups.join(', ')}`);
    return { bits: bits as number, groupSize: groupSize as number };
  };
  if (!isObject(quantization)) return wrong('quantization', quantization, 'an object');
  const general = format(quantization, 'quantization');
  return (module) => {
    const own = quantization[module] ?? quantization[module.replace(/^transformer\./, '')] ?? true;
    if (own === false) return undefined;
    if (own === true) return general;
    return isObject(own) ? format(own, `quantization.${module}`) : wrong(`quantization.${module}`, own, 'an object');
  };
}

/** Bytes in memory of all weights of a folder, those that are no codes in 16 bits. */
export function affineWeightBytes(config: ModelConfig, formats: AffineFormats): number {
  return parameterShapes(config).reduce((sum, { name, shape }) => {
    const format = shape.length === 2 ? formats(name.replace(/\.weight$/, '')) : undefined;
    if (format) return sum + codedBytes(shape, { bits: format.bits, group: format.groupSize });
    return sum + (shape.length === 2 ? 2 * shape[0] * shape[1] : 4 * shape[0]);
  }, 0);
}

/** The tensors of a folder with the quantized ones as single tensors of their values. Throws `InputError` naming the tensor. */
export function affineTensors(stored: ReadonlyMap<string, StoredTensor>, formats: AffineFormats): Map<string, StoredTensor> {
  const tensors = new Map(stored);
  for (const [name, scales] of stored) {
    const module = /^(.*)\.scales$/.exec(name)?.[1];
    const weight = module === undefined ? undefined : stored.get(`${module}.weight`);
    const format = module === undefined ? undefined : formats(module);
    if (module === undefined || !weight || !format) continue;
    const biases = stored.get(`${module}.biases`);
    if (!biases) throw new InputError(`${weight.source.name}: tensor ${module}.biases is missing beside its scales`);
    tensors.set(weight.name, affineTensor(weight, scales, biases, format));
    tensors.delete(scales.name);
    tensors.delete(biases.name);
  }
  return tensors;
}

/** One matrix. */
export function affineTensor(
  weight: StoredTensor,
  scales: StoredTensor,
  biases: StoredTensor,
  { bits, groupSize }: AffineFormat,
): StoredTensor {
  const { name, source } = weight;
  const label = `${source.name}: tensor ${name}`;
  const [rows, words] = weight.shape;
  const columns = (words * 32) / bits;
  const groups = columns / groupSize;
  const kinds = `${bits} bits, groups of ${groupSize}`;
  if (weight.dtype !== 'U32' || weight.shape.length !== 2) {
    throw new InputError(`${label} is ${weight.dtype} [${weight.shape.join(', ')}]; a matrix of U32 is expected (${kinds})`);
  }
  for (const other of [scales, biases]) {
    const fits = other.shape.length === 2 && other.shape[0] === rows && other.shape[1] === groups;
    if (!Number.isInteger(groups) || !fits || !['F16', 'BF16', 'F32'].includes(other.dtype)) {
      throw new InputError(
        `${source.name}: tensor ${other.name} is ${other.dtype} [${other.shape.join(', ')}], which does not go with ${name} of [${rows}, ${words}] in ${kinds}`,
      );
    }
  }
  const shape = [rows, columns];
  const groupBytes = (groupSize * bits) / 8;
  const numbers = async (of: StoredTensor, first: number, count: number): Promise<Float32Array> => {
    const size = of.bytes / (rows * groups);
    return toFloat32(await of.source.read(of.offset + first * size, count * size), of.dtype);
  };
  const values = decoded(label, rows * groups, groupSize, async (first, count, out) => {
    const [codes, scale, bias] = await Promise.all([
      source.read(weight.offset + first * groupBytes, count * groupBytes),
      numbers(scales, first, count),
      numbers(biases, first, count),
    ]);
    unpackCodes(codes, bits, out);
    for (let group = 0, i = 0; group < count; group++) {
      for (const end = i + groupSize; i < end; i++) out[i] = Math.fround(out[i] * scale[group]) + bias[group];
    }
  });
  const besideBytes = scales.bytes + biases.bytes;
  const packed = { format: kinds, source, offset: weight.offset, bytes: weight.bytes, besideBytes };
  const affine = { bits, group: groupSize, codes: weight, scales, minimums: biases };
  return { name, dtype: 'F32', shape, source: values, offset: 0, bytes: values.size, packed, affine };
}

/** Rows of values quantized: the words' bytes, and scales and biases in f32, to be rounded to what they are stored in. */
export interface AffineGroups {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly biases: Float32Array;
}

/**
 * Quantizes whole groups as mlx's CPU kernel does: the end of the range with the larger magnitude falls on a code exactly, the
 * scale is turned so that zero does too.
 */
export function quantizeAffine(values: Float32Array, { bits, groupSize }: AffineFormat): AffineGroups {
  const groups = values.length / groupSize;
  const each = 8 / bits;
  const codes = new Uint8Array(values.length / each);
  const scales = new Float32Array(groups);
  const biases = new Float32Array(groups);
  const most = (1 << bits) - 1;
  const f32 = Math.fround;
  for (let group = 0; group < groups; group++) {
    const start = group * groupSize;
    let least = Number.POSITIVE_INFINITY;
    let largest = Number.NEGATIVE_INFINITY;
    for (let i = start; i < start + groupSize; i++) {
      const value = values[i];
      if (value < least) least = value;
      if (value > largest) largest = value;
    }
    const bottom = Math.abs(least) > Math.abs(largest);
    let scale = Math.max(f32(f32(largest - least) / most), f32(1e-7));
    if (!bottom) scale = -scale;
    const edge = bottom ? least : largest;
    const steps = roundHalfEven(f32(edge / scale));
    const bias = steps === 0 ? 0 : edge;
    if (steps !== 0) scale = f32(edge / steps);
    scales[group] = scale;
    biases[group] = bias;
    for (let i = start; i < start + groupSize; i++) {
      const code = Math.min(most, Math.max(0, roundHalfEven(f32(f32(values[i] - bias) / scale))));
      codes[Math.floor(i / each)] |= code << ((i % each) * bits);
    }
  }
  return { codes, scales, biases };
}

function roundHalfEven(x: number): number {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
