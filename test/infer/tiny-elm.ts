// The small golden model on the best backend of this machine, for tests that need a model but not a particular one.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { bytesInMemory, type StoredTensor } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { openWeights } from '../../src/io/node/weights.js';
import { configFromHuggingFace } from '../../src/model/config.js';
import { type LoadedModel, loadModel } from '../../src/model/load.js';
import { checkWeights } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';

const directory = fileURLToPath(new URL('../golden/models/tiny-elm', import.meta.url));

export interface TinyElm {
  readonly backend: Backend;
  readonly loaded: LoadedModel;
  /** The same model with its weights changed, in f32; the caller frees it. */
  load(change: (name: string, values: Float32Array) => void): Promise<LoadedModel>;
  close(): Promise<void>;
}

export async function openTinyElm(): Promise<TinyElm> {
  const native = nativeBackend({ threads: 2 });
  const backend = 'backend' in native ? native.backend : referenceBackend();
  const config = configFromHuggingFace(JSON.parse(readFileSync(`${directory}/config.json`, 'utf8')), 'config.json');
  const weights = await openWeights(directory);
  const loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, directory));
  await weights.close();
  return {
    backend,
    loaded,
    async load(change) {
      const files = await openWeights(directory);
      const checked = checkWeights(config, files.tensors, directory);
      const tensors = new Map<string, StoredTensor>();
      for (const [name, tensor] of checked.tensors) {
        const values = (await readFloat32(tensor)).slice();
        change(name, values);
        const bytes = new Uint8Array(values.buffer);
        tensors.set(name, { ...tensor, dtype: 'F32', source: bytesInMemory(name, bytes), offset: 0, bytes: bytes.length });
      }
      await files.close();
      return loadModel(backend, config, { ...checked, tensors, dtype: 'f32' });
    },
    async close() {
      loaded.free();
      await backend.dispose();
    },
  };
}
