// A model of random weights small enough to be converted in milliseconds, with the embedded model's tokenizer and a chat template.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packagePath } from '../../src/io/node/paths.js';
import { type ConfigFields, configFromFields } from '../../src/model/config.js';
import { parameterValues } from '../../src/model/initialize.js';
import type { CheckpointType } from '../../src/model/parameters.js';
import { writeModel } from '../../src/model/write.js';

export const smallFields: ConfigFields = {
  ...{ num_transformer_layers: 3, model_dim: 64, head_dim: 16, vocab_size: 4096 },
  ...{ max_context_length: 128, num_gqa_groups: 2, qkv_multipliers: [0.5, 1], ffn_multipliers: [0.5, 2], ffn_dim_divisor: 32 },
  ...{ normalize_qk_projections: true, share_input_output_layers: true, rope_freq_constant: 20_000 },
};
export const template = "{% for message in messages %}{{ message['content'] }}</s>{% endfor %}";

/** Writes it as Hugging Face's folder. */
export async function writeSmall(
  directory: string,
  dtype: CheckpointType = 'f32',
  fields: Partial<ConfigFields> = {},
  texts: readonly string[] = ['tokenizer.model', 'chat_template.jinja'],
): Promise<void> {
  await mkdir(directory, { recursive: true });
  const config = configFromFields({ ...smallFields, ...fields }, 'small');
  const write = async (name: string, fill: (sink: { write(chunk: Uint8Array): Promise<void> }) => Promise<void>) => {
    const chunks: Uint8Array[] = [];
    await fill({ write: async (chunk) => void chunks.push(chunk.slice()) });
    await writeFile(join(directory, name), Buffer.concat(chunks));
  };
  await writeModel(write, config, dtype, (parameter) => parameterValues(config, parameter, 5));
  if (texts.includes('tokenizer.model')) {
    await writeFile(join(directory, 'tokenizer.model'), await readFile(packagePath('models/tales-6m/tokenizer.model')));
  }
  if (texts.includes('chat_template.jinja')) await writeFile(join(directory, 'chat_template.jinja'), template);
}
