// Damaged files of every kind that is read from outside, from a seed: each is read, or refused in one sentence, in time and within
// memory. `npm run fuzz -- [COUNT] [SEED] [KIND]` is the nightly size (default 20,000 of each kind); the tests take a few.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { readDocuments } from '../src/data/readers.js';
import { InputError } from '../src/errors.js';
import { renderTemplate } from '../src/eval/template.js';
import { bytesInMemory } from '../src/io/bytes.js';
import { decodeUtf8 } from '../src/io/json.js';
import { localCorpora } from '../src/io/node/corpora.js';
import { parseRows } from '../src/io/node/datasets.js';
import { readLog } from '../src/io/node/run-log.js';
import { readParquet } from '../src/io/parquet.js';
import { readSafetensors } from '../src/io/safetensors.js';
import { checkpointFiles, readRecord } from '../src/train/checkpoint.js';
import { run } from './app/terminal.js';
import { safetensorsFile, seededRandom } from './io/build.js';

/** What is damaged, and how it is read; `read` may write the bytes to `path`. */
interface Kind {
  readonly inputs: readonly Uint8Array[];
  readonly read: (bytes: Uint8Array, path: string) => Promise<unknown>;
}

const file = (name: string): Uint8Array => new Uint8Array(readFileSync(fileURLToPath(new URL(name, import.meta.url))));
const rows = Array.from({ length: 12 }, (_, i) => ({
  text: `document ${i} é`,
  n: i / 3,
  list: ['a', null, { b: true }],
  gold: i % 2,
}));
const lines = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

const record = {
  format: 'openelm-training-1',
  step: 7,
  tokens: 512,
  files: { 'config.json': 10 },
  losses: { train: 2.5, validation: null },
};
const templates = [
  '{{ text.strip() | upper }}{% for item in list if item %}{{ loop.index }}. {{ item }}\\n{% else %}none{% endfor %}',
  "{% set parts = text.split(' ', 1) %}{% if gold == 1 and 'e' in text %}{{ parts[0] ~ n|round(2) }}{% elif not gold %}{{ (3 // 2) ** 2 }}{% endif %}",
  "{% macro line(a, b='x') %}{{ a|replace('d', b) }} {{ b * 3 }}{% endmacro %}{{ line(text[2:-1]) }}{{ {'k': [1, 2.0]}['k'] | join(', ') }}",
];

async function documents(path: string): Promise<void> {
  for await (const _ of readDocuments(localCorpora, { path, textKey: 'text' }));
}

const compressed = (ending: string) => async (bytes: Uint8Array, path: string) => {
  writeFileSync(path + ending, bytes);
  await documents(path + ending);
};

export const kinds: Record<string, Kind> = {
  parquet: {
    inputs: ['checked', 'gzip', 'plain'].map((name) => file(`io/parquet/${name}.parquet`)),
    read: (bytes) => readParquet(bytesInMemory('x.parquet', bytes)),
  },
  zst: { inputs: [file('io/zstd/checked.jsonl.zst')], read: compressed('.jsonl.zst') },
  gz: { inputs: [gzipSync(lines), Buffer.concat([gzipSync(lines), gzipSync(lines)])], read: compressed('.jsonl.gz') },
  jsonl: { inputs: [lines, Buffer.from(`\ufeff${lines}`, 'utf16le')], read: compressed('.jsonl') },
  rows: {
    inputs: [lines, Buffer.from(JSON.stringify(rows)), Buffer.from('a,b\r\n"x ""y""",1\r\nz,-2\r\n')],
    read: async (bytes) => {
      const text = decodeUtf8(bytes, 'x');
      return ['x.jsonl', 'x.json', 'x.csv'].map((name) => {
        try {
          return parseRows(text, name);
        } catch (error) {
          if ((error as Error).name !== 'InputError') throw error;
          return undefined;
        }
      });
    },
  },
  templates: {
    inputs: templates.map((text) => Buffer.from(text)),
    read: async (bytes) => renderTemplate(Buffer.from(bytes).toString('utf8'), { ...rows[3], name: 'x' }),
  },
  record: {
    inputs: [Buffer.from(JSON.stringify(record))],
    read: (bytes) => readRecord(async () => bytesInMemory(checkpointFiles.record, bytes)),
  },
  log: {
    inputs: [Buffer.from([1, 2, 3].map((step) => `${JSON.stringify({ step, loss: 1 / step, tokens: step * 512 })}\n`).join(''))],
    read: async (bytes, path) => {
      writeFileSync(join(dirname(path), 'log.jsonl'), bytes);
      return readLog(dirname(path));
    },
  },
  results: {
    inputs: [file('golden/eval/results_example/results.json')],
    read: async (bytes, path) => {
      writeFileSync(`${path}.json`, bytes);
      const { code, stderr } = await run(['eval', 'compare', `${path}.json`]);
      if (code !== 0) throw code === 1 ? new InputError(stderr.trim()) : new Error(`exit code ${code}: ${stderr}`);
    },
  },
  safetensors: {
    inputs: [
      safetensorsFile(
        { a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] }, b: { dtype: 'F16', shape: [3], data_offsets: [16, 22] } },
        22,
      ),
    ],
    read: (bytes) => readSafetensors(bytesInMemory('x.safetensors', bytes)),
  },
};

/** One or two places changed: a bit, a byte, a run of bytes, a cut, a piece doubled, a number of the format's own made large. */
function damage(bytes: Uint8Array, random: () => number): Uint8Array {
  const below = (limit: number): number => Math.floor(random() * limit);
  let result = new Uint8Array(bytes); // a Buffer's slice would be the same memory
  for (let times = 1 + below(2); times > 0 && result.length > 0; times--) {
    const at = below(result.length);
    const to = Math.min(result.length, at + 1 + below(16));
    switch (below(10)) {
      case 9:
      case 8:
      case 0:
      case 1:
        result[at] ^= 1 << below(8);
        break;
      case 2:
        result[at] = [0, 1, 0x7f, 0x80, 0xff, below(256)][below(6)];
        break;
      case 3:
        result.fill(below(256), at, to);
        break;
      case 4:
        result = result.slice(0, at);
        break;
      case 5:
        result = new Uint8Array([...result.subarray(0, at), ...result.subarray(to)]);
        break;
      case 6:
        result = new Uint8Array([...result.subarray(0, to), ...result.subarray(at)]);
        break;
      default:
        result.set(result.slice(at, to), below(result.length - (to - at) + 1));
    }
  }
  return result;
}

export interface Outcome {
  readonly read: number;
  readonly refused: number;
  /** Milliseconds of the slowest. */
  readonly slowest: number;
}

/** Reads the undamaged inputs of a kind. */
export async function readAll(name: string): Promise<void> {
  await inFolder(async (path) => {
    for (const input of kinds[name].inputs) await kinds[name].read(input, path);
  });
}

async function inFolder(work: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'openelm-fuzz-'));
  try {
    await work(join(directory, 'x'));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Throws where one is neither read nor refused in one sentence, naming seed and number. */
export async function fuzz(name: string, count: number, seed: number): Promise<Outcome> {
  const { inputs, read } = kinds[name];
  const random = seededRandom(seed);
  const outcome = { read: 0, refused: 0, slowest: 0 };
  await inFolder(async (path) => {
    for (let i = 0; i < count; i++) {
      const bytes = damage(inputs[i % inputs.length], random);
      const started = performance.now();
      try {
        await read(bytes, path);
        outcome.read++;
      } catch (error) {
        const { name: kind, message, stack } = error as Error;
        if (kind !== 'InputError' || message.includes('\n') || message.length > 1000) {
          throw new Error(
            `${name}, seed ${seed}, number ${i}: ${stack}\n${Buffer.from(bytes).toString('base64').slice(0, 4000)}`,
          );
        }
        outcome.refused++;
      }
      outcome.slowest = Math.max(outcome.slowest, performance.now() - started);
    }
  });
  return outcome;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [count = '20000', seed = '1', only] = process.argv.slice(2);
  process.on('unhandledRejection', (error) => {
    throw error;
  });
  for (const name of Object.keys(kinds).filter((kind) => only === undefined || kind === only)) {
    const { read, refused, slowest } = await fuzz(name, Number(count), Number(seed));
    process.stdout.write(`${name.padEnd(12)} ${read} read, ${refused} refused, the slowest in ${Math.round(slowest)} ms\n`);
  }
}
