// The weights of a model on this machine, from a directory or a file: model.safetensors, or shards with their index. Only
// headers are read; the tensors say where their bytes lie. Knows nothing of configs, names or shapes a model expects.

import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { InputError } from '../../errors.js';
import type { ByteSource, StoredTensor } from '../bytes.js';
import { readSafetensors, type SafetensorsContents } from '../safetensors.js';
import { INDEX_FILE, readShardedIndex, readShards, WEIGHTS_FILE } from '../safetensors-index.js';
import { openFile, statIfThere } from './files.js';

/** Opened weights: the tensors stay readable until `close`. */
export interface Weights {
  /** By name, in the order of the bytes on disk. */
  readonly tensors: Map<string, StoredTensor>;
  /** The files' `__metadata__`, merged. */
  readonly metadata: Record<string, string>;
  /** The safetensors files that were opened. */
  readonly files: readonly string[];
  close(): Promise<void>;
}

/**
 * Opens a directory that holds `model.safetensors` (preferred) or `model.safetensors.index.json` with its shards, or one such file.
 * Throws `InputError` when nothing is there (it names what was looked for) or a file is malformed; nothing stays open then.
 */
export async function openWeights(path: string): Promise<Weights> {
  const opened: ByteSource[] = [];
  const openHere = async (file: string): Promise<ByteSource> => {
    const source = await openFile(file);
    opened.push(source);
    return source;
  };
  const close = async (): Promise<void> => {
    await Promise.all(opened.map((source) => source.close()));
  };
  try {
    const file = await findWeights(path);
    const contents = file.endsWith('.index.json')
      ? await readIndexed(file, openHere)
      : await readSafetensors(await openHere(file));
    return { ...contents, files: opened.map((source) => source.name), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function readIndexed(indexFile: string, open: (file: string) => Promise<ByteSource>): Promise<SafetensorsContents> {
  const source = await openFile(indexFile);
  const index = await readShardedIndex(source).finally(() => source.close());
  return readShards(index, (shard) => open(join(dirname(indexFile), shard)));
}

async function findWeights(path: string): Promise<string> {
  const found = await statIfThere(path);
  if (!found) throw new InputError(`${path}: no such file or directory`);
  if (!found.isDirectory()) {
    if (path.endsWith('.safetensors') || path.endsWith('.safetensors.index.json')) return path;
    throw new InputError(
      `${path}: expected a directory, a .safetensors file or a .safetensors.index.json file, found ${basename(path)}`,
    );
  }
  for (const name of [WEIGHTS_FILE, INDEX_FILE]) {
    if (await statIfThere(join(path, name))) return join(path, name);
  }
  const others = (await readdir(path)).filter((name) => /\.(safetensors|bin|pt|pth|gguf|ckpt)$/.test(name)).sort();
  const instead = others.length > 0 ? ` (it holds ${others.slice(0, 3).join(', ')}${others.length > 3 ? ', ...' : ''})` : '';
  throw new InputError(`${path}: no weights there: looked for ${WEIGHTS_FILE} and ${INDEX_FILE}${instead}`);
}
