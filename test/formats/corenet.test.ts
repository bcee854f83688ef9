// The optimizer's state of a training checkpoint. Files as CoreNet's recipes make them are judged in test/golden/train;
// one-group.pt was written by its save_checkpoint with `no_decay_bn_filter_bias: false`, which is CoreNet's default: all parameters in
// one group. Each first moment there was filled with its parameter's place.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { readCoreNetModel, readCoreNetTraining } from '../../src/formats/corenet.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';

it('finds moments of parameters that are in one group', async () => {
  const source = bytesInMemory('one-group.pt', readFileSync(new URL('one-group.pt', import.meta.url)));
  const { config } = await readCoreNetModel(source);
  const { step, moments } = await readCoreNetTraining(source, config);
  expect(step).toBe(1);
  const first: Record<string, number[]> = {};
  for (const [name, moment] of moments) {
    const values = await readFloat32({ ...moment.first, source });
    first[name.replace('transformer.', '').replace('.weight', '')] = [...new Set(values)];
  }
  expect(first).toEqual({
    token_embeddings: [0],
    'layers.0.attn.qkv_proj': [1],
    'layers.0.attn.q_norm': [2],
    'layers.0.attn.k_norm': [3],
    'layers.0.attn.out_proj': [4],
    'layers.0.ffn.proj_1': [5],
    'layers.0.ffn.proj_2': [6],
    'layers.0.ffn_norm': [7],
    'layers.0.attn_norm': [8],
    norm: [9],
  });
});
