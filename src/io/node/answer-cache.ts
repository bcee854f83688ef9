// The store of evaluation answers in a file: one line of JSON each, only ever appended, so that several processes may share it and
// a killed one leaves at worst a line cut short. Each has its checksum; lines that are damaged are counted, and their answers computed again. Also the hash that names a model's answers. What is
// stored under which key is eval/cache.ts.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { EvalStore } from '../../eval/cache.js';
import { crc32 } from '../crc32.js';
import { fileError, makeDirectory } from './files.js';

/** Answers kept in a file. */
export interface EvalFileStore extends EvalStore {
  /** Answers that were there when it was opened. */
  readonly loaded: number;
  /** Lines that hold no answer as it was written, and the number of the first of them (from 1). */
  readonly damaged: { readonly lines: number; readonly first: number };
  /** Flushes and closes. */
  close(): Promise<void>;
}

/** Opens the file, or makes it with its directory. Throws `InputError` when it cannot be read or written. */
export async function openEvalCache(path: string): Promise<EvalFileStore> {
  const values = new Map<string, unknown>();
  let handle: FileHandle;
  let cut = false;
  let number = 0;
  const damaged = { lines: 0, first: 0 };
  try {
    await makeDirectory(dirname(path));
    handle = await open(path, 'a+');
  } catch (error) {
    throw fileError(error, path, 'write');
  }
  try {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      const entry = parseLine(line);
      if (entry) values.set(...entry);
      else if (damaged.lines++ === 0) damaged.first = number;
    }
    const { size } = await handle.stat();
    cut = size > 0 && (await handle.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0] !== newline;
  } catch (error) {
    await handle.close();
    throw fileError(error, path, 'read');
  }
  let pending = cut ? '\n' : '';
  const flush = async (): Promise<void> => {
    if (pending.trim() === '') return;
    const lines = pending;
    pending = '';
    try {
      await handle.appendFile(lines);
      await handle.datasync();
    } catch (error) {
      throw fileError(error, path, 'write');
    }
  };
  return {
    loaded: values.size,
    damaged,
    get: (key) => values.get(hash(key)),
    set(key, value) {
      const short = hash(key);
      values.set(short, value);
      pending += `${JSON.stringify([short, value, checksum(short, value)])}\n`;
    },
    flush,
    async close() {
      try {
        await flush();
      } finally {
        await handle.close();
      }
    },
  };
}

const newline = 0x0a;

/** 144 bits are enough to tell requests apart. */
function hash(key: string): string {
  return createHash('sha256').update(key).digest('base64url').slice(0, 24);
}

function parseLine(line: string): [key: string, value: unknown] | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    if (!Array.isArray(entry) || entry.length !== 3 || typeof entry[0] !== 'string') return undefined;
    return entry[2] === checksum(entry[0], entry[1]) ? [entry[0], entry[1]] : undefined;
  } catch {
    return undefined; // cut short by a process that was killed, or not JSON any more
  }
}

function checksum(key: string, value: unknown): number {
  return crc32(new TextEncoder().encode(JSON.stringify([key, value])));
}

/** What a model's answers depend on besides its weights. */
const besides =
  /^(config\.json|generation_config\.json|tokenizer\.(model|json)|tokenizer_config\.json|added_tokens\.json|special_tokens_map\.json)$/;

/**
 * A hash of a checkpoint's weights (its directory's safetensors, or the one file named), config and tokenizer: sixteen hex
 * digits. Reads all of it. Throws `InputError` when something cannot be read.
 */
export async function modelHash(checkpoint: { readonly directory: string; readonly weights: string }): Promise<string> {
  const { directory, weights } = checkpoint;
  const total = createHash('sha256');
  try {
    const single = (await stat(weights)).isFile();
    const names = (await readdir(directory)).filter((name) => besides.test(name) || (!single && name.endsWith('.safetensors')));
    const files = names.sort().map((name) => join(directory, name));
    for (const file of single ? [...files, weights] : files) {
      total.update(`${basename(file)}\0`);
      for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) total.update(chunk as Buffer);
    }
  } catch (error) {
    throw fileError(error, directory, 'read');
  }
  return total.digest('hex').slice(0, 16);
}
