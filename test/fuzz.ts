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
import { readCoreNetModel } from '../src/formats/corenet.js';
import { readGgufModel } from '../src/formats/gguf.js';
import { affineTensors } from '../src/formats/mlx.js';
import type { ModelFile, ModelFormat } from '../src/formats/model-file.js';
import { writeCoreNetFile, writeGgufFile, writeMlx } from '../src/formats/write.js';
import { compile } from '../src/grammar/compile.js';
import { parseGbnf } from '../src/grammar/gbnf.js';
import { parseJsonSchema } from '../src/grammar/json-schema.js';
import { regexExpression } from '../src/grammar/regex.js';
import { bytesInMemory, type StoredTensor } from '../src/io/bytes.js';
import { TEXT_FILES } from '../src/io/hub-listing.js';
import { decodeUtf8, parseJson } from '../src/io/json.js';
import { localCorpora } from '../src/io/node/corpora.js';
import { parseRows } from '../src/io/node/datasets.js';
import { readLog } from '../src/io/node/run-log.js';
import { readParquet } from '../src/io/parquet.js';
import { bytesOf } from '../src/io/pieces.js';
import { readSafetensors } from '../src/io/safetensors.js';
import { configFromFields } from '../src/model/config.js';
import { parameterValues } from '../src/model/initialize.js';
import { checkWeights, type Precision, parameterShapes } from '../src/model/parameters.js';
import type { WriteFile } from '../src/model/write.js';
import { readPromptCache, writePromptCache } from '../src/prompt-cache.js';
import { tokenizerFromModel } from '../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../src/tokenizer/tokenizer.js';
import { type ModelPiece, writeTokenizerModel } from '../src/tokenizer/write.js';
import { checkpointFiles, readRecord } from '../src/train/checkpoint.js';
import { run } from './app/terminal.js';
import { smallFields, template } from './formats/build.js';
import { memorySink, safetensorsFile, seededRandom } from './io/build.js';

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

/** A small model's one file in a format. */
async function smallModel(to: ModelFormat, dtype: Precision): Promise<Uint8Array> {
  const sink = memorySink();
  const config = configFromFields({ ...smallFields, vocab_size: 300, num_transformer_layers: 1, model_dim: 32 }, 'small');
  const tensors = new Map<string, StoredTensor>();
  for (const parameter of parameterShapes(config)) {
    const data = Buffer.concat([...parameterValues(config, parameter, 5)].map((values) => Buffer.from(values.slice().buffer)));
    const source = bytesInMemory('model', new Uint8Array(data));
    tensors.set(parameter.name, { ...parameter, dtype: 'F32', source, offset: 0, bytes: data.length });
  }
  const texts = [{ name: 'chat_template.jinja', bytes: Buffer.from(template) }];
  const model = { name: 'small', config, tensors, texts };
  if (to === 'gguf') await writeGgufFile(sink, model, dtype, { tokenizer: smallTokenizer(), template });
  else if (to === 'corenet') await writeCoreNetFile(sink, model, 'f16');
  else {
    const write: WriteFile = async (name, fill) => (name === 'model.safetensors' ? fill(sink) : undefined);
    await writeMlx(write, { ...model, texts: [] }, 'f16', { bits: 4, groupSize: 32 });
  }
  return sink.bytes();
}

function smallTokenizer(): Tokenizer {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const piece = (text: string, kind: ModelPiece['kind'], score = 0): ModelPiece => ({ text, kind, score });
  const pieces = [
    ...[piece('<unk>', 'unknown'), piece('<s>', 'control'), piece('</s>', 'control')],
    ...bytes.map((text) => piece(text, 'byte')),
    ...['▁', 'a', 'b', '▁a', 'ab'].map((text, i) => piece(text, 'normal', -i)),
  ];
  return tokenizerFromModel(writeTokenizerModel(pieces, {}), 'small');
}

const promptCacheFacts = {
  config: configFromFields({ ...smallFields, vocab_size: 300, num_transformer_layers: 1, model_dim: 32 }, 'small'),
  cacheType: 'f16',
  origin: { model: 'a', adapter: 'none', precision: 'f16', arithmetic: 'native' },
} as const;

async function smallPromptCache(): Promise<Uint8Array> {
  const sink = memorySink();
  const tokens = [5, 6, 7];
  const rows = promptCacheFacts.config.layers.flatMap(({ kvHeads, headDim }) =>
    [1, 2].map((value) => new Uint16Array(tokens.length * kvHeads * headDim).fill(value)),
  );
  await writePromptCache(sink, tokens, rows, promptCacheFacts);
  return sink.bytes();
}

const schema = {
  type: 'object',
  properties: {
    a: { $ref: '#/$defs/b' },
    n: { type: 'number', minimum: -2.5, exclusiveMaximum: 30 },
    s: { type: 'string', pattern: '^a|b{2,3}', maxLength: 9 },
    o: { oneOf: [{ const: 'x' }, { type: 'integer', multipleOf: 3 }] },
  },
  patternProperties: { '^x': true },
  required: ['n'],
  maxProperties: 5,
  $defs: { b: { type: 'array', prefixItems: [{ enum: [1, null, { k: [] }] }], items: { $ref: '#' }, maxItems: 4 } },
};

/** All that opening a file looks at, and every value, whatever the header says. */
async function readModel(bytes: Uint8Array, model: ModelFile): Promise<void> {
  for (const name of TEXT_FILES) await model.text(name);
  const vocabulary = await model.text('tokenizer.model');
  if (vocabulary) tokenizerFromModel(vocabulary).encode('a cab');
  const tensors = model.tensors(bytesInMemory('x', bytes));
  await readTensors(tensors, bytes.length);
  checkWeights(model.config, tensors, 'x');
}

async function readTensors(tensors: ReadonlyMap<string, StoredTensor>, fileBytes: number): Promise<void> {
  for (const tensor of tensors.values()) {
    for await (const values of bytesOf(tensor))
      if (values.length > fileBytes * 16) throw new Error('more than the file can hold');
  }
}

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
  gguf: {
    inputs: [await smallModel('gguf', 'f32'), await smallModel('gguf', 'q4')],
    read: async (bytes) => readModel(bytes, await readGgufModel(bytesInMemory('x.gguf', bytes))),
  },
  torch: {
    inputs: [await smallModel('corenet', 'f16'), file('golden/train/ckpt/training_checkpoint_last.pt')],
    read: async (bytes) => readModel(bytes, await readCoreNetModel(bytesInMemory('x.pt', bytes))),
  },
  mlx: {
    inputs: [await smallModel('mlx', 'q4')],
    read: async (bytes) => {
      const { tensors } = await readSafetensors(bytesInMemory('x.safetensors', bytes));
      await readTensors(
        affineTensors(tensors, () => ({ bits: 4, groupSize: 32 })),
        bytes.length,
      );
    },
  },
  'prompt-cache': {
    inputs: [await smallPromptCache()],
    read: async (bytes) => {
      const stored = await readPromptCache('x', bytes, promptCacheFacts);
      if (stored.state === 'whole' && stored.tokens.join() !== '5,6,7') throw new Error('believed what was changed');
    },
  },
  gbnf: {
    inputs: [
      'root ::= "[" (item ("," item)*)? "]"\nitem ::= [a-z]{1,4} | root # nested\n',
      'root ::= a | "\\x41" .\na ::= [^\\]x]+',
    ].map((text) => Buffer.from(text)),
    read: async (bytes) => compile(parseGbnf(Buffer.from(bytes).toString('utf8'))),
  },
  regex: {
    inputs: ['^(?:ab|[^c-e\\d]{2,5})+\\u{1f98a}?$', '(\\w+)@(?<host>x|y\\.z){1,3}|\\S*'].map((text) => Buffer.from(text)),
    read: async (bytes) => compile({ root: regexExpression(Buffer.from(bytes).toString('utf8'), 'search'), rules: new Map() }),
  },
  'json-schema': {
    inputs: [Buffer.from(JSON.stringify(schema))],
    read: async (bytes) => compile(parseJsonSchema(parseJson(decodeUtf8(bytes, 'x'), 'x'))),
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
