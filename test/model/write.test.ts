import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readFloat32 } from '../../src/io/decode.js';
import { writeDirectory } from '../../src/io/node/checkpoints.js';
import { openWeights } from '../../src/io/node/weights.js';
import { configFromFields } from '../../src/model/config.js';
import { parameterValues } from '../../src/model/initialize.js';
import { checkWeights } from '../../src/model/parameters.js';
import { writeModel } from '../../src/model/write.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'openelm-write-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

it('writes the same values in one file and in shards', async () => {
  const fields = { num_transformer_layers: 2, model_dim: 64, head_dim: 16, vocab_size: 1200, ffn_dim_divisor: 16 };
  const config = configFromFields({ ...fields, share_input_output_layers: true }, 'config');
  const [one, sharded] = [join(folder, 'one'), join(folder, 'sharded')];
  for (const [out, shardBytes] of [[one], [sharded, 100_000]] as [string, number?][]) {
    await writeDirectory(out, (file) => writeModel(file, config, 'f16', (of) => parameterValues(config, of, 5), { shardBytes }));
  }
  const files = (await readdir(sharded)).sort();
  expect(files).toContain('model.safetensors.index.json');
  expect(files[1]).toMatch(/^model-00001-of-0000\d\.safetensors$/);
  const [a, b] = [await openWeights(one), await openWeights(sharded)];
  try {
    checkWeights(config, b.tensors, sharded);
    for (const [name, tensor] of a.tensors) expect(await readFloat32(b.tensors.get(name)!)).toEqual(await readFloat32(tensor));
  } finally {
    await Promise.all([a.close(), b.close()]);
  }
});
