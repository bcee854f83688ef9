// What is damaged in fuzz.ts: every kind of file that is read from outside, as small as it can be, and how it is read.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { referenceBackend } from '../src/backends/reference.js';
import { readDocuments } from '../src/data/readers.js';
import { InputError } from '../src/errors.js';
import { renderTemplate } from '../src/eval/template.js';
import { readCoreNetModel } from '../src/formats/corenet.js';
import { readGgufModel } from '../src/formats/gguf.js';
import { affineFormats, affineTensors } from '../src/formats/mlx.js';
import type { ModelFile, ModelFormat } from '../src/formats/model-file.js';
import { writeCoreNetFile, writeGgufFile, writeMlx } from '../src/formats/write.js';
import { compile } from '../src/grammar/compile.js';
import { parseGbnf } from '../src/grammar/gbnf.js';
import { parseJsonSchema } from '../src/grammar/json-schema.js';
import { regexExpression } from '../src/grammar/regex.js';
import { chatTemplateBeside, chosenTemplate, renderChatSegments } from '../src/infer/chat.js';
import { bytesInMemory, type StoredTensor } from '../src/io/bytes.js';
import { parseYaml } from '../src/io/config.js';
import { TEXT_FILES } from '../src/io/hub-listing.js';
import { decodeUtf8, parseJson } from '../src/io/json.js';
import { openEvalCache } from '../src/io/node/answer-cache.js';
import { localCorpora } from '../src/io/node/corpora.js';
import { parseRows } from '../src/io/node/datasets.js';
import { readLog } from '../src/io/node/run-log.js';
import { readTasks } from '../src/io/node/task-files.js';
import { readParquet } from '../src/io/parquet.js';
import { bytesOf } from '../src/io/pieces.js';
import { readSafetensors } from '../src/io/safetensors.js';
import { readShardedIndex, readShards } from '../src/io/safetensors-index.js';
import { configFromFields, configFromHuggingFace, toHuggingFaceConfig, withGenerationConfig } from '../src/model/config.js';
import { parameterValues } from '../src/model/initialize.js';
import { checkWeights, type Precision, parameterShapes } from '../src/model/parameters.js';
import { readPeft } from '../src/model/peft.js';
import type { WriteFile } from '../src/model/write.js';
import { readPromptCache, writePromptCache } from '../src/prompt-cache.js';
import { tokenizerBeside } from '../src/tokenizer/beside.js';
import { tokenizerFromJson } from '../src/tokenizer/hugging-face.js';
import { tokenizerFromModel } from '../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../src/tokenizer/tokenizer.js';
import { type ModelPiece, writeTokenizerModel } from '../src/tokenizer/write.js';
import { checkpointFiles, readRecord, readState, writeCheckpoint } from '../src/train/checkpoint.js';
import { ModelParameters } from '../src/train/parameters.js';
import { run } from './app/terminal.js';
import { smallFields, template } from './formats/build.js';
import { memorySink, safetensorsFile } from './io/build.js';
import { tinyConfig, tinyParameters } from './train/tiny.js';

/** What is damaged, and how it is read; `read` may write the bytes to `path`. */
export interface Kind {
  readonly inputs: readonly Uint8Array[];
  readonly read: (bytes: Uint8Array, path: string) => Promise<unknown>;
  /** Bytes of memory that it may take beyond the file's; default 64 MB. */
  readonly room?: number;
}

/** What a grammar may take: its states are limited, not its text's length. */
const roomOfGrammars = 256e6;

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
  if (to === 'gguf') await writeGgufFile(sink, model, dtype, { tokenizer: smallTokenizer(), templates: { default: template } });
  else if (to === 'corenet') await writeCoreNetFile(sink, model, 'f16');
  else {
    const write: WriteFile = async (name, fill) => (name === 'model.safetensors' ? fill(sink) : undefined);
    await writeMlx(write, { ...model, texts: [] }, 'f16', { bits: 4, groupSize: 32 });
  }
  return sink.bytes();
}

function smallTokenizer(): Tokenizer {
  return tokenizerFromModel(smallVocabulary(), 'small');
}

function smallVocabulary(): Uint8Array {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const piece = (text: string, kind: ModelPiece['kind'], score = 0): ModelPiece => ({ text, kind, score });
  const pieces = [
    ...[piece('<unk>', 'unknown'), piece('<s>', 'control'), piece('</s>', 'control')],
    ...bytes.map((text) => piece(text, 'byte')),
    ...['▁', 'a', 'b', '▁a', 'ab'].map((text, i) => piece(text, 'normal', -i)),
  ];
  return writeTokenizerModel(pieces, {});
}

const vocabularyJson = {
  version: '1.0',
  added_tokens: [
    { id: 0, content: '<unk>', special: true },
    { id: 1, content: '<s>', special: true, lstrip: false, rstrip: true, single_word: false, normalized: false },
  ],
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  post_processor: {
    type: 'TemplateProcessing',
    special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  },
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    ...{ type: 'BPE', dropout: null, unk_token: '<unk>', fuse_unk: true, byte_fallback: false },
    vocab: { '<unk>': 0, '<s>': 1, '▁': 2, a: 3, b: 4, c: 5, '▁a': 6, ab: 7, '▁ab': 8 },
    merges: [
      ['▁', 'a'],
      ['a', 'b'],
      ['▁a', 'b'],
    ],
  },
};
const tokenizerConfig = {
  ...{ bos_token: '<s>', eos_token: { content: '</s>', lstrip: true }, add_bos_token: true, legacy: false },
  added_tokens_decoder: { 264: { content: '<tool>', special: false, normalized: false, single_word: true } },
  chat_template: [{ name: 'default', template }],
};

/** The files of a small run's checkpoint. */
async function smallCheckpoint(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const write: WriteFile = async (name, fill) => {
    const sink = memorySink();
    await fill(sink);
    files.set(name, sink.bytes());
  };
  const parameters = tinyParameters(referenceBackend());
  const ema = new Map(parameters.list.map(({ name, shape }) => [name, new Float32Array(shape.reduce((a, b) => a * b, 1))]));
  await writeCheckpoint(write, { parameters, dtype: 'f32', ema, record: { ...record, config: {}, data: null } });
  return files;
}

async function smallAnswers(): Promise<Uint8Array> {
  const path = join(mkdtempSync(join(tmpdir(), 'openelm-answers-')), 'answers.jsonl');
  const store = await openEvalCache(path);
  store.set('a', [-1.5, true]);
  store.set('b', 'text é');
  await store.close();
  const bytes = new Uint8Array(readFileSync(path));
  rmSync(dirname(path), { recursive: true });
  return bytes;
}

/** What would lie in a model's folder. */
async function smallFolder(replaced: string, bytes: Uint8Array): Promise<void> {
  const files = new Map([
    ['tokenizer.model', smallVocabulary()],
    [replaced, bytes],
  ]);
  const read = async (name: string): Promise<Uint8Array | undefined> => files.get(name);
  (await tokenizerBeside(read, 'x/', 1000))!.encode('a cab <tool>', { bos: false });
  const found = await chatTemplateBeside(read, 'x/');
  if (found !== undefined) await renderChatSegments(messages, { template: chosenTemplate(found) });
}

const messages = [
  { role: 'system', content: 'be <b>' },
  { role: 'user', content: 'a </s> b\n' },
  { role: 'assistant', content: 'c' },
  { role: 'user', content: '' },
] as const;
const chatTemplates = [
  "{% if messages[0]['role'] == 'system' %}{% set system = messages[0].content %}{% endif %}{% for message in messages[1:] %}{{ '<|' + message['role'] + '|>' }}{{ message.content | trim }}{{ eos_token }}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}",
  "{{ bos_token }}{%- for m in messages -%}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) and false -%}{{ raise_exception('no') }}{%- endif -%}[{{ m.role.upper() }}] {{ m['content']|tojson(indent=2) }}{%- endfor -%}{% macro f(x) %}{{ x * 3 }}{% endmacro %}{{ f('-') }}",
];
const shards = {
  'model-1-of-2.safetensors': safetensorsFile({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4),
  'model-2-of-2.safetensors': safetensorsFile({ b: { dtype: 'F16', shape: [2], data_offsets: [0, 4] } }, 4),
};
const peftConfig = {
  peft_type: 'LORA',
  r: 2,
  lora_alpha: 4,
  lora_dropout: 0.1,
  target_modules: ['qkv_proj'],
  rank_pattern: {},
  bias: 'none',
};
const peftName = 'base_model.model.transformer.layers.0.attn.qkv_proj.lora_';
const peftTensors = safetensorsFile(
  {
    [`${peftName}A.weight`]: { dtype: 'F32', shape: [2, 4], data_offsets: [0, 32] },
    [`${peftName}B.weight`]: { dtype: 'F32', shape: [6, 2], data_offsets: [32, 80] },
  },
  80,
);
const taskYaml = `task: made_up
dataset_path: json
dataset_kwargs: {data_files: {test: x.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question.strip()}}\\nAnswer:"
doc_to_choice: ["a", "b"]
doc_to_target: gold
num_fewshot: 2
fewshot_config: {sampler: first_n}
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata: {version: 1.0}
`;

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

const checkpoint = await smallCheckpoint();

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
    room: roomOfGrammars,
    inputs: [
      'root ::= "[" (item ("," item)*)? "]"\nitem ::= [a-z]{1,4} | root # nested\n',
      'root ::= a | "\\x41" .\na ::= [^\\]x]+',
    ].map((text) => Buffer.from(text)),
    read: async (bytes) => compile(parseGbnf(Buffer.from(bytes).toString('utf8'))),
  },
  regex: {
    room: roomOfGrammars,
    inputs: ['^(?:ab|[^c-e\\d]{2,5})+\\u{1f98a}?$', '(\\w+)@(?<host>x|y\\.z){1,3}|\\S*'].map((text) => Buffer.from(text)),
    read: async (bytes) => compile({ root: regexExpression(Buffer.from(bytes).toString('utf8'), 'search'), rules: new Map() }),
  },
  'json-schema': {
    room: roomOfGrammars,
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
  'safetensors-index': {
    inputs: [
      Buffer.from(
        JSON.stringify({
          metadata: { total_size: 8 },
          weight_map: { a: 'model-1-of-2.safetensors', b: 'model-2-of-2.safetensors' },
        }),
      ),
    ],
    read: async (bytes) => {
      const index = await readShardedIndex(bytesInMemory('x.index.json', bytes));
      await readShards(index, async (name) => {
        if (!Object.hasOwn(shards, name)) throw new InputError(`${name}: no such file or directory`);
        return bytesInMemory(name, shards[name as keyof typeof shards]);
      });
    },
  },
  config: {
    inputs: [
      {
        ...toHuggingFaceConfig(tinyConfig, 'float16'),
        ...{
          quantization: { group_size: 64, bits: 4, 'layers.0.attn.qkv_proj': { group_size: 32, bits: 8 } },
          eos_token_id: [2, 3],
        },
      },
      { ...toHuggingFaceConfig(tinyConfig, 'float16'), qkv_multipliers: [0.5, 1], num_query_heads: undefined },
    ].map((config) => Buffer.from(JSON.stringify(config))),
    read: async (bytes) => {
      const json = parseJson(decodeUtf8(bytes, 'x'), 'x');
      const config = withGenerationConfig(configFromHuggingFace(json, 'x'), json, 'x');
      affineFormats(json, 'x')?.('layers.0.attn.qkv_proj');
      parameterShapes(config);
    },
  },
  'tokenizer.model': {
    inputs: [smallVocabulary()],
    read: async (bytes) => {
      const tokenizer = tokenizerFromModel(bytes);
      tokenizer.decode(tokenizer.encode('a cab \u{1f98a}'));
      tokenizer.describe();
    },
  },
  'tokenizer.json': {
    inputs: [Buffer.from(JSON.stringify(vocabularyJson))],
    read: async (bytes) => {
      const tokenizer = tokenizerFromJson(bytes);
      tokenizer.decode(tokenizer.encode('a cab \u{1f98a}'));
    },
  },
  'tokenizer-config': {
    inputs: [Buffer.from(JSON.stringify(tokenizerConfig))],
    read: (bytes) => smallFolder('tokenizer_config.json', bytes),
  },
  'special-tokens': {
    inputs: [Buffer.from(JSON.stringify({ bos_token: { content: '<s>', rstrip: true }, additional_special_tokens: ['<x>'] }))],
    read: (bytes) => smallFolder('special_tokens_map.json', bytes),
  },
  'added-tokens': {
    inputs: [Buffer.from(JSON.stringify({ '<x>': 264, '<y>': 265 }))],
    read: (bytes) => smallFolder('added_tokens.json', bytes),
  },
  'chat-template': {
    inputs: chatTemplates.map((text) => Buffer.from(text)),
    read: (bytes) => renderChatSegments(messages, { template: Buffer.from(bytes).toString('utf8') }),
  },
  'adapter-config': {
    inputs: [Buffer.from(JSON.stringify(peftConfig))],
    read: async (bytes) => {
      const { tensors } = await readSafetensors(bytesInMemory('x', peftTensors));
      await readPeft(parseJson(decodeUtf8(bytes, 'x'), 'x'), tensors, 'x');
    },
  },
  'adapter-tensors': {
    inputs: [peftTensors],
    read: async (bytes) => readPeft(peftConfig, (await readSafetensors(bytesInMemory('x', bytes))).tensors, 'x'),
  },
  ...Object.fromEntries(
    [checkpointFiles.state, checkpointFiles.weights, checkpointFiles.record].map((name): [string, Kind] => [
      `checkpoint ${name}`,
      {
        inputs: [checkpoint.get(name)!],
        read: async (bytes) => {
          const files = new Map(checkpoint).set(name, bytes);
          await readState(async (file) => {
            if (!files.has(file)) throw new InputError(`${file}: no such file or directory`);
            return bytesInMemory(file, files.get(file)!);
          }, new ModelParameters(referenceBackend(), tinyConfig));
        },
      },
    ]),
  ),
  answers: {
    inputs: [await smallAnswers()],
    read: async (bytes, path) => {
      writeFileSync(`${path}.answers`, bytes);
      await (await openEvalCache(`${path}.answers`)).close();
    },
  },
  yaml: {
    inputs: [
      Buffer.from(taskYaml),
      Buffer.from('a: &x [1, 2.5e3, ~]\nb: *x\nc: {<<: {d: "\\u00e9"}, e: [x, "y"]}\nf: |-\n  text\n'),
    ],
    read: async (bytes) => parseYaml(decodeUtf8(bytes, 'x'), 'x'),
  },
  tasks: {
    inputs: [
      Buffer.from(taskYaml),
      Buffer.from(taskYaml.replace('multiple_choice', 'generate_until').replace('metric: acc', 'metric: exact_match')),
    ],
    read: async (bytes, path) => {
      writeFileSync(`${path}.yaml`, bytes);
      const tasks = await readTasks(dirname(path));
      for (const { name } of tasks.describe()) tasks.find(name);
    },
  },
};
