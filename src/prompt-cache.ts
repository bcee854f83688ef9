// Files that keep a prompt's keys and values, so that it need not be computed again: part of the library's door, as it joins files,
// model and engine. A file is never trusted: it names the model, precision and arithmetic that it was made with, holds a hash of its
// content, and its last token is computed anew and must come out the same to the bit.

import { adapterFiles } from './adapters.js';
import type { Checkpoint } from './checkpoint.js';
import { InputError, messageOf } from './errors.js';
import type { Engine } from './infer/engine.js';
import type { PromptCaching } from './infer/text.js';
import { type ByteSink, bytesInMemory } from './io/bytes.js';
import { ensureWritable, writeAtomic } from './io/node/files.js';
import { fingerprint, sha256 } from './io/node/fingerprint.js';
import { parentOf, readIfThere } from './io/node/paths.js';
import { readSafetensors, type TensorSpec, writeSafetensors } from './io/safetensors.js';
import type { CacheArray } from './model/cache.js';
import type { ModelConfig } from './model/config.js';
import { type CacheType, kvBytesPerToken } from './model/parameters.js';
import type { Backend } from './tensor/backend.js';
import { codedHeadWords } from './tensor/quantize.js';
import { commonPrefix } from './tokenizer/prefix.js';

const format = 'openelm-prompt-cache';
const version = '1';
/** How every such file begins, behind the length of its header. */
const beginning = `{"__metadata__":{"format":"${format}"`;

/** Fewer tokens are computed as fast as they are read. */
const leastTokens = 8;

/** What keys and values depend on beside the tokens. */
export interface PromptCacheParts {
  readonly engine: Engine;
  readonly checkpoint: Checkpoint;
  readonly backend: Backend;
  /** Precision of the weights and of what they are multiplied with; of the cache. */
  readonly precision: string;
  readonly cacheType: CacheType;
  /** Directories of adapters by name, and which is the usual one. */
  readonly adapters: Readonly<Record<string, string>>;
  readonly usualAdapter?: string;
  readonly onNotice?: (message: string) => void;
}

/** What a file's keys and values must be of. */
export interface PromptCacheFacts {
  readonly config: ModelConfig;
  readonly cacheType: CacheType;
  /** Model, adapter, precision and arithmetic. */
  readonly origin: Readonly<Record<string, string>>;
}

/** What is in a file: usable, or not and why. */
type Stored =
  | { readonly state: 'whole'; readonly tokens: number[]; readonly rows: CacheArray[] }
  | { readonly state: 'absent' }
  | { readonly state: 'damaged' | 'foreign'; readonly why: string };

/** Uses and writes prompt caches of one model. */
export function promptCaching(parts: PromptCacheParts): PromptCaching {
  const { engine, onNotice } = parts;
  return async (file, prompt, { adapter, signal }) => {
    const { cacheType } = parts;
    const facts = { config: engine.model.config, cacheType, origin: await originOf(parts, adapter) };
    const stored = await readStored(file, facts);
    let kept = 0;
    if (stored.state === 'whole') {
      const shared = Math.min(commonPrefix(stored.tokens, prompt), engine.context);
      const rows = stored.rows.map((array) => array.subarray(0, (array.length / stored.tokens.length) * shared));
      if (shared < leastTokens || engine.cachedOf(prompt, adapter) >= shared) kept = shared;
      else if (await engine.restoreRows(stored.tokens.slice(0, shared), rows, { adapter, signal })) kept = shared;
      else onNotice?.(`${file}: its keys and values are not what this model computes; it is written anew`);
    } else if (stored.state !== 'absent') onNotice?.(`${file}: ${stored.why}; it is written anew`);
    // A file that spares most of a prompt stays: others may begin with what it has.
    if (2 * kept >= prompt.length || prompt.length < leastTokens) return async () => {};
    await ensureWritable(parentOf(file), file);
    return async () => {
      const rows = await engine.cachedRows(prompt, adapter);
      if (rows) await writeAtomic(file, (sink) => writePromptCache(sink, Array.from(prompt), rows, facts));
    };
  };
}

/** What a file's metadata must be for its rows to be this model's. */
async function originOf(parts: PromptCacheParts, adapter: string | null | undefined): Promise<Record<string, string>> {
  const { checkpoint, backend, precision, cacheType, adapters, usualAdapter } = parts;
  const weights = await checkpoint.openWeights();
  const files = [...weights.files];
  await weights.close();
  const name = adapter === undefined ? usualAdapter : adapter;
  const directory = name === undefined || name === null ? undefined : adapters[name];
  const ofAdapter = directory === undefined ? undefined : await adapterFiles(directory);
  return {
    model: await fingerprint(files, JSON.stringify(checkpoint.config)),
    adapter: ofAdapter ? await fingerprint([ofAdapter.weights, ofAdapter.config]) : 'none',
    precision: `${precision} weights, ${cacheType} cache`,
    arithmetic: `${backend.name} ${backend.description.split(', ')[1] ?? ''}`.trim(),
  };
}

/** What is there. Throws `InputError` when it is something else, which must not be written over, or cannot be read. */
async function readStored(file: string, facts: PromptCacheFacts): Promise<Stored> {
  const { config } = facts;
  const most = kvBytesPerToken(config, 'f32') * config.ropeMaxLength + (1 << 20);
  const bytes = await readIfThere(file, most);
  return !bytes || bytes.length === 0 ? { state: 'absent' } : readPromptCache(file, bytes, facts);
}

/** What bytes are of. Throws `InputError` when they are no prompt cache. */
export async function readPromptCache(file: string, bytes: Uint8Array, facts: PromptCacheFacts): Promise<Stored> {
  const start = new TextDecoder().decode(bytes.subarray(8, 8 + beginning.length));
  if (!(start === beginning || (bytes.length < 8 + beginning.length && beginning.startsWith(start) && start !== '')))
    throw new InputError(`${file}: no prompt cache but something else, which is left as it is: name another file`);
  try {
    return await checkStored(file, bytes, facts);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { state: 'damaged', why: `it is damaged (${messageOf(error).replace(`${file}: `, '')})` };
  }
}

async function checkStored(file: string, bytes: Uint8Array, { config, cacheType, origin }: PromptCacheFacts): Promise<Stored> {
  const { tensors, metadata } = await readSafetensors(bytesInMemory(file, bytes));
  if (metadata.version !== version) return { state: 'foreign', why: `it is of version ${metadata.version}, not ${version}` };
  const different = Object.keys(origin).find((name) => metadata[name] !== origin[name]);
  if (different !== undefined) {
    const what = {
      model: 'another model',
      adapter: 'another adapter',
      precision: `${metadata.precision}`,
      arithmetic: `${metadata.arithmetic}`,
    };
    return { state: 'foreign', why: `it was made with ${what[different as keyof typeof what]}` };
  }
  const count = tensors.get('tokens')?.shape[0] ?? 0;
  const specs = specsOf(config, count, cacheType);
  const wrong = specs.find(({ name, dtype, shape }) => {
    const found = tensors.get(name);
    return !found || found.dtype !== dtype || found.shape.join() !== shape.join();
  });
  if (wrong || tensors.size !== specs.length || count === 0) throw new InputError(`it does not hold what ${count} tokens need`);
  const parts = specs.map(({ name }) => {
    const { offset, bytes: length } = tensors.get(name)!;
    return bytes.slice(offset, offset + length); // aligned
  });
  if (sha256(parts) !== metadata.content) throw new InputError('its content is not what was written');
  const arrays = parts.map(({ buffer }, i) => {
    const { dtype } = specs[i];
    return dtype === 'I32' ? new Int32Array(buffer) : dtype === 'F16' ? new Uint16Array(buffer) : new Float32Array(buffer);
  });
  const tokens = Array.from(arrays[0]);
  const { vocabSize } = config;
  if (tokens.some((id) => id < 0 || id >= vocabSize))
    throw new InputError(`it names tokens outside the vocabulary of ${vocabSize}`);
  return { state: 'whole', tokens, rows: arrays.slice(1) as CacheArray[] };
}

/** The tokens, then keys and values of each layer, as `readRows` gives them. */
function specsOf({ layers }: ModelConfig, count: number, cacheType: CacheType): TensorSpec[] {
  const dtype = cacheType === 'q8' ? 'I32' : cacheType === 'f16' ? 'F16' : 'F32';
  return [
    { name: 'tokens', dtype: 'I32', shape: [count] },
    ...layers.flatMap(({ kvHeads, headDim }, i) =>
      ['keys', 'values'].map(
        (what): TensorSpec => ({
          name: `layers.${i}.${what}`,
          dtype,
          shape: [count, kvHeads, cacheType === 'q8' ? codedHeadWords(headDim) : headDim],
        }),
      ),
    ),
  ];
}

/** Writes tokens with their keys and values. */
export async function writePromptCache(
  sink: ByteSink,
  tokens: readonly number[],
  rows: readonly CacheArray[],
  { config, cacheType, origin }: PromptCacheFacts,
): Promise<void> {
  const specs = specsOf(config, tokens.length, cacheType);
  const arrays = [Int32Array.from(tokens), ...rows];
  const bytesOf = new Map(
    specs.map(({ name }, i) => [name, new Uint8Array(arrays[i].buffer, arrays[i].byteOffset, arrays[i].byteLength)]),
  );
  const metadata = { format, version, ...origin, content: sha256(bytesOf.values()) };
  await writeSafetensors(sink, specs, ({ name }) => [bytesOf.get(name)!], metadata);
}
