// OpenAI's `/v1/embeddings`.

import { shown } from '../../errors.js';
import type { Call, Reply } from '../call.js';
import { badField } from '../errors.js';
import { anything, type Body, readFields, refuse, text } from '../fields.js';
import { readPrompts } from './prompts.js';

/** The answer of `/v1/embeddings`; vectors as numbers, or as base64 of their f32 bytes. */
export interface Embeddings {
  readonly object: 'list';
  readonly data: readonly {
    readonly object: 'embedding';
    readonly index: number;
    readonly embedding: readonly number[] | string;
  }[];
  readonly model: string;
  readonly usage: { readonly prompt_tokens: number; readonly total_tokens: number };
}

/** Throws `ApiError` when the request is wrong, before anything is computed. */
export async function embeddings({ model, name, adapter, signal, tally, admit }: Call, body: Body): Promise<Reply<Embeddings>> {
  refuse(body, { dimensions: 'the vectors have the width of the model' });
  const { input, encoding_format: format = 'float' } = readFields(body, { input: anything, encoding_format: text });
  if (format !== 'float' && format !== 'base64')
    throw badField('encoding_format', `encoding_format is ${shown(format)}; expected float or base64`);
  if ([input].flat().includes('')) throw badField('input', 'input has an empty text; give at least one character');
  const prompts = await readPrompts(model, input ?? null, 0, 'input');
  admit(1);
  const vectors = await model.embed(prompts, { adapter, signal });
  const tokens = prompts.reduce((sum, { length }) => sum + length, 0);
  tally.promptTokens += tokens;
  const data = vectors.map((vector, index) => ({
    ...{ object: 'embedding' as const, index },
    embedding: format === 'base64' ? base64(vector) : [...vector],
  }));
  return { whole: { object: 'list', data, model: name, usage: { prompt_tokens: tokens, total_tokens: tokens } } };
}

/** The f32 values' bytes, little-endian. */
function base64(vector: Float32Array): string {
  const view = new DataView(new ArrayBuffer(4 * vector.length));
  for (const [i, value] of vector.entries()) view.setFloat32(4 * i, value, true);
  return btoa(Array.from(new Uint8Array(view.buffer), (byte) => String.fromCharCode(byte)).join(''));
}
