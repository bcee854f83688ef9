// A model small enough for the reference backend to train in a test, random weights for it, and an endless source of tokens.

import { configFromFields } from '../../src/model/config.js';
import { parameterValues } from '../../src/model/initialize.js';
import { PythonRandom, type PythonRandomState } from '../../src/python-random.js';
import type { Backend } from '../../src/tensor/backend.js';
import type { KeepOptions } from '../../src/train/backward.js';
import { languageModelling, type TrainingBatch } from '../../src/train/language-modelling.js';
import { ModelParameters } from '../../src/train/parameters.js';
import { TrainingStep } from '../../src/train/step.js';
import type { BatchSource } from '../../src/train/trainer.js';

export const tinyFields = {
  num_transformer_layers: 2,
  model_dim: 16,
  head_dim: 8,
  num_gqa_groups: 2,
  qkv_multipliers: 1,
  ffn_multipliers: [1, 2],
  ffn_dim_divisor: 8,
  normalize_qk_projections: true,
  share_input_output_layers: true,
  max_context_length: 16,
};
export const tinyConfig = configFromFields({ ...tinyFields, vocab_size: 24 }, 'tiny');

export function tinyParameters(backend: Backend, config = tinyConfig): ModelParameters {
  const parameters = new ModelParameters(backend, config);
  for (const parameter of parameters.list) {
    parameters.write(
      parameter.name,
      Float32Array.from([...parameterValues(config, parameter, 5)].flatMap((chunk) => [...chunk])),
    );
  }
  return parameters;
}

export function tinyStep(backend: Backend, parameters: ModelParameters, keep: KeepOptions = {}): TrainingStep<TrainingBatch> {
  return new TrainingStep(backend, {
    model: parameters.model(),
    parameters,
    objective: languageModelling({ maxRows: 16, maxSequences: 2, maxPositions: 8, zLoss: 1e-4, labelSmoothing: 0 }),
    optimizer: { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 },
    ...keep,
  });
}

/** Two sequences of random tokens a batch; goes on from a state. */
export function randomSource(state?: unknown): BatchSource<TrainingBatch> {
  const random = state ? PythonRandom.restore(state as PythonRandomState) : new PythonRandom(7);
  return {
    async next() {
      const tokens = Int32Array.from({ length: 12 }, () => random.below(24));
      const targets = Int32Array.from(tokens, (_, i) => (i === 4 || i === 11 ? -1 : tokens[i + 1]));
      const sequences = [
        [0, 5],
        [5, 7],
      ] as const;
      return { batch: { tokens, targets, sequences }, documents: ['random'], tokens: 12 };
    },
    state: () => random.state(),
  };
}

/** All that training keeps, by name. */
export async function stateOf(parameters: ModelParameters): Promise<Map<string, Uint8Array>> {
  const all = new Map<string, Uint8Array>();
  for (const { name } of parameters.list) {
    for (const state of ['parameters', 'firstMoment', 'secondMoment'] as const) {
      const values = await parameters.read(name, state);
      all.set(`${state} ${name}`, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
  }
  return all;
}
