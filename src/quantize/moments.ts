// Second moments of what each linear layer is multiplied with, over calibrating text: x^T x, summed by the backend in the program
// that computes the model. A probe takes the place of every Linear; the model does not notice.

import { createCache } from '../model/cache.js';
import type { ModelConfig } from '../model/config.js';
import { loadModel } from '../model/load.js';
import type { CheckedWeights } from '../model/parameters.js';
import { RaggedParams } from '../model/ragged.js';
import type { Backend, DeviceBuffer } from '../tensor/backend.js';
import { Ops, type Tensor } from '../tensor/ops.js';

/** Rows that one program takes. */
const stepRows = 1024;

/** The moments [inputs, inputs] by module name. `layers`: those that are wanted; the head's come with the last. */
export async function inputMoments(
  backend: Backend,
  config: ModelConfig,
  weights: CheckedWeights,
  sequences: readonly Int32Array[],
  layers: { readonly first: number; readonly last: number },
  signal?: AbortSignal,
): Promise<Map<string, Float32Array>> {
  const sums = new Map<string, DeviceBuffer<'f32'>>();
  const wanted = (name: string): boolean => {
    const layer = /\.layers\.(\d+)\./.exec(name)?.[1];
    return layer === undefined
      ? layers.last === config.layers.length - 1
      : Number(layer) >= layers.first && Number(layer) <= layers.last;
  };
  const accumulate = (ops: Ops, name: string, { buffer, rows }: Tensor, inputs: number): void => {
    const sum = sums.get(name) ?? backend.create('f32', [inputs, inputs]);
    sums.set(name, sum);
    ops.derivative('linearWeightGrad', [buffer, buffer, sum], [rows, inputs, inputs]);
  };
  const loaded = await loadModel(backend, config, weights, {
    dtype: 'f32',
    wrapLinear: (name, base) => ({
      ...base,
      forward: (ops, x, options) => {
        if (wanted(name)) accumulate(ops, name, x, base.inputs);
        return base.forward(ops, x, options);
      },
    }),
  });
  const longest = sequences.reduce((most, { length }) => Math.max(most, length), 0);
  const maxRows = Math.max(stepRows, longest);
  const cache = createCache(backend, config, maxRows, longest, 'f32');
  try {
    const ops = new Ops();
    const inputs = new RaggedParams(ops, { maxRows, maxSequences: maxRows, maxSegments: maxRows });
    const { rows, ids, positions, kvRows, ragged } = inputs;
    let layer = 0;
    const hidden = loaded.model.forward(
      ops,
      { rows, ids, positions, kvRows, ragged, rope: cache.rope, cacheOf: (index) => cache.layers[index] },
      undefined,
      (forward, x) => (layer++ <= layers.last ? forward(x) : x),
    );
    const head = config.tieEmbeddings ? 'transformer.token_embeddings' : 'transformer.classifier';
    if (wanted(head)) {
      const normed = loaded.model.normalize(ops, hidden);
      accumulate(ops, head, normed, config.modelDim);
    }
    const executable = backend.compile(ops.finish());
    for (let at = 0; at < sequences.length; ) {
      signal?.throwIfAborted();
      let row = 0;
      const step = [];
      for (; at < sequences.length && row + sequences[at].length <= maxRows; row += sequences[at++].length) {
        step.push({ ids: sequences[at], past: 0, segments: [[row, sequences[at].length] as const] });
      }
      const params = new Int32Array(executable.program.paramsLength);
      inputs.fill(params, step);
      await backend.submit(executable, params).done;
    }
    executable.dispose();
    const count = sequences.reduce((sum, { length }) => sum + length, 0);
    const moments = new Map<string, Float32Array>();
    for (const [name, sum] of sums)
      moments.set(
        name,
        (await backend.read(sum)).map((value) => value / count),
      );
    return moments;
  } finally {
    for (const sum of sums.values()) backend.free(sum);
    cache.free();
    loaded.free();
  }
}
