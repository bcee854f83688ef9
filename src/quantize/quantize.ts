// A model's matrices to codes of few bits: round to nearest, or calibrated on text, with one format for all or by a budget of bits. The
// numbers are compensate.ts's, the moments moments.ts's, the budget allocate.ts's; files, texts and perplexities are the caller's.

import { InputError } from '../errors.js';
import type { StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import type { ModelConfig } from '../model/config.js';
import type { CheckedWeights } from '../model/parameters.js';
import type { Backend } from '../tensor/backend.js';
import { allocate, bitsPerWeight, probeFormat } from './allocate.js';
import {
  dequantize,
  type Format,
  type Matrix,
  type Quantized,
  quantizeCompensated,
  quantizeGroups,
  squaredError,
} from './compensate.js';
import { inputMoments } from './moments.js';
import { sensitivities } from './sensitivity.js';

export interface QuantizeOptions {
  readonly bits: number;
  /** Inputs that share a scale; smaller where a matrix has no whole groups of that. */
  readonly group: number;
  /** Token ids of calibrating text; without any, matrices are rounded to nearest. */
  readonly calibration?: readonly Int32Array[];
  /** Bits a weight of the whole model: matrices get formats by how much they matter, instead of `bits` and `group`. */
  readonly targetBits?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

/** A matrix and how far its products are off. */
export interface QuantizedMatrix {
  readonly name: string;
  readonly quantized: Quantized;
  /** Mean squared error of the products over their mean square (without calibration: of the weights). */
  readonly error: number;
}

/** Sequences that sensitivities are measured on. */
const probeSequences = 12;

/** Of the mean by element: what a matrix is taken to lose at least, as small rises on few tokens are noise. */
const leastShare = 0.02;

/** Quantizes every matrix, one after another; what it returned is not kept. Throws `InputError` where no format fits. */
export async function quantizeModel(
  backend: Backend,
  config: ModelConfig,
  weights: CheckedWeights,
  options: QuantizeOptions,
): Promise<QuantizedMatrix[]> {
  const { calibration = [], signal, onProgress } = options;
  const all = [...weights.tensors].filter(([, { shape }]) => shape.length === 2);
  // Layers in their order, then the tables.
  const matrices = [
    ...all.filter(([name]) => layerOf(name) !== undefined),
    ...all.filter(([name]) => layerOf(name) === undefined),
  ];
  const formats =
    options.targetBits === undefined
      ? undefined
      : await byBudget(backend, config, weights, matrices, options.targetBits, options);
  const made: QuantizedMatrix[] = [];
  let moments = new Map<string, Float32Array>();
  let upTo = -1;
  for (const [name, tensor] of matrices) {
    signal?.throwIfAborted();
    onProgress?.('quantizing', made.length, matrices.length);
    const module = name.replace(/\.weight$/, '');
    const layer =
      layerOf(name) ?? (config.tieEmbeddings || module.endsWith('.classifier') ? config.layers.length - 1 : undefined);
    if (calibration.length > 0 && layer !== undefined && (layer > upTo || !moments.has(module))) {
      // As many layers at once as their moments fit into some hundred megabytes.
      const last = lastFitting(config, layer);
      moments = await inputMoments(backend, config, weights, calibration, { first: layer, last }, signal);
      upTo = last;
    }
    const format = formats?.get(name) ?? { bits: options.bits, group: fittingGroup(tensor.shape[1], options.group, name) };
    const matrix = await matrixOf(name, tensor);
    const own = moments.get(module);
    const quantized = own
      ? quantizeCompensated(matrix, format, own, { sweeps: 1 })
      : quantizeGroups(matrix, format, calibration.length > 0);
    made.push({ name, quantized, error: squaredError(matrix, dequantize(quantized), own) });
    await new Promise((resolve) => setTimeout(resolve, 0)); // lets Ctrl-C and the bar through
  }
  onProgress?.('quantizing', made.length, matrices.length);
  return made;
}

async function matrixOf(name: string, tensor: StoredTensor): Promise<Matrix> {
  const values = await readFloat32(tensor);
  if (!values.every(Number.isFinite))
    throw new InputError(`${tensor.source.name}: tensor ${name} holds numbers that are not finite`);
  return { rows: tensor.shape[0], columns: tensor.shape[1], values };
}

/** A format for each matrix, by how much the model loses when that one alone is in few bits: all together have `target` bits a weight. */
async function byBudget(
  backend: Backend,
  config: ModelConfig,
  weights: CheckedWeights,
  matrices: readonly (readonly [name: string, tensor: StoredTensor])[],
  target: number,
  { calibration = [], signal, onProgress }: QuantizeOptions,
): Promise<Map<string, Format>> {
  if (calibration.length === 0) throw new InputError('a target in bits a weight needs calibrating text');
  const changed = new Map(
    await Promise.all(
      matrices.map(async ([name, tensor]) => {
        const matrix = await matrixOf(name, tensor);
        const format = { ...probeFormat, group: fittingGroup(matrix.columns, probeFormat.group, name) };
        return [name, () => dequantize(quantizeGroups(matrix, format, false))] as const;
      }),
    ),
  );
  const rises = await sensitivities(
    backend,
    config,
    async (name) => readFloat32(weights.tensors.get(name)!),
    changed,
    calibration.slice(0, probeSequences),
    { signal, onProgress: (done, total) => onProgress?.('weighing', done, total) },
  );
  const vectors = [...weights.tensors.values()].filter(({ shape }) => shape.length === 1);
  const fixed = vectors.reduce((sum, { shape }) => sum + 16 * shape[0], 0);
  const elementsOf = ({ shape }: { shape: readonly number[] }): number => shape[0] * shape[1];
  const inMatrices = matrices.reduce((sum, [, tensor]) => sum + elementsOf(tensor), 0);
  const mean = [...rises.values()].reduce((sum, rise) => sum + Math.max(rise, 0), 0) / inMatrices;
  const shares = matrices.map(([name, tensor]) => {
    const elements = elementsOf(tensor);
    return { name, elements, columns: tensor.shape[1], loss: Math.max(rises.get(name)!, leastShare * mean * elements) };
  });
  const count = inMatrices + fixed / 16;
  const found = allocate(shares, target * count, fixed);
  if (!found)
    throw new InputError(`${target} bits a weight are too few: the least is about ${bitsPerWeight({ bits: 2, group: 128 })}`);
  return found;
}

function layerOf(name: string): number | undefined {
  const layer = /\.layers\.(\d+)\./.exec(name)?.[1];
  return layer === undefined ? undefined : Number(layer);
}

const momentBytes = 512 << 20;

function lastFitting({ layers, modelDim, headDim }: ModelConfig, first: number): number {
  let bytes = 0;
  let last = first - 1;
  do {
    last++;
    const { queryHeads, ffnDim } = layers[last];
    bytes += 4 * (2 * modelDim ** 2 + (queryHeads * headDim) ** 2 + ffnDim ** 2);
  } while (last + 1 < layers.length && bytes < momentBytes);
  return last;
}

/** The group that is asked for, or a smaller one. Throws `InputError` when none of 32 fits. */
function fittingGroup(columns: number, group: number, name: string): number {
  for (let size = group; size >= 32; size /= 2) if (columns % size === 0) return size;
  throw new InputError(`${name} has rows of ${columns}, no whole groups of 32`);
}
