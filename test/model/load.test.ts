// What a checkpoint's tensors are kept in on a backend.

import { expect, it } from 'vitest';
import { referenceBackend } from '../../src/backends/reference.js';
import { bytesInMemory, DTYPE_BYTES, elementsOf, type StoredTensor } from '../../src/io/bytes.js';
import { configFromFields } from '../../src/model/config.js';
import { loadModel } from '../../src/model/load.js';
import { checkWeights, memoryBytes, parameterShapes } from '../../src/model/parameters.js';

it('each tensor in what it is stored in, where a file has several types, unless one is asked for', async () => {
  const shape = { num_transformer_layers: 1, model_dim: 32, head_dim: 16, vocab_size: 9, share_input_output_layers: true };
  const config = configFromFields(shape, 'config.json');
  const typeOf = (name: string): 'F32' | 'F16' | 'BF16' =>
    name.includes('ffn.') ? 'BF16' : name.includes('token_embeddings') ? 'F32' : 'F16';
  const stored = parameterShapes(config).map(({ name, shape: sizes }): StoredTensor => {
    const dtype = typeOf(name);
    const bytes = elementsOf(sizes) * DTYPE_BYTES[dtype];
    return { name, dtype, shape: sizes, offset: 0, bytes, source: bytesInMemory('model.safetensors', new Uint8Array(bytes)) };
  });
  const checked = checkWeights(config, new Map(stored.map((tensor) => [tensor.name, tensor])), 'dir');
  const backend = referenceBackend();
  const types = async (dtype?: 'f16'): Promise<string[]> => {
    const kept: string[] = [];
    const upload: typeof backend.upload = (tensor, type) => {
      kept.push(type);
      return backend.upload(tensor, type);
    };
    const loaded = await loadModel({ ...backend, free: (buffer) => backend.free(buffer), upload }, config, checked, { dtype });
    loaded.free();
    return [...new Set(kept)].sort();
  };
  expect(await types()).toEqual(['bf16', 'f16', 'f32']);
  expect(await types('f16')).toEqual(['f16']);
  const sizes = stored.map(({ shape: { length }, bytes }) => (length === 1 ? 2 * bytes : bytes)); // norms are f32 there
  expect(memoryBytes(checked)).toBe(sizes.reduce((a, b) => a + b));
  await backend.dispose();
});
