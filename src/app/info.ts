// `openelm info`: a model's layers, parameters and sizes in memory, and what computes on this machine, as JSON and as text for a
// terminal. Reads a checkpoint's headers, and with --check all of its weights.

import { totalmem } from 'node:os';
import { Command } from 'commander';
import { counted, InputError, visible } from '../errors.js';
import { blockTypeOf } from '../formats/encode.js';
import { defaultModel, openBackend } from '../index.js';
import { availableMemory } from '../io/node/memory.js';
import { findMpi, launchedRanks, type MpiLibrary } from '../io/node/mpi.js';
import { shapeFrom } from '../io/node/shape-file.js';
import { checkTensor, refuseBad, type TensorCheck } from '../model/check.js';
import { configNames, countLayerParameters, countParameters, type ModelConfig } from '../model/config.js';
import {
  type CacheType,
  cacheTypes,
  checkWeights,
  kvBytesPerToken,
  type Precision,
  precisions,
  type WeightType,
  weightBytes,
} from '../model/parameters.js';
import { type GpusInfo, gpuRows, gpusInfo } from './info-gpus.js';
import { metadataLines, type StorageInfo, storageFacts, storageInfo, tensorLines } from './info-storage.js';
import { openShown } from './loading.js';
import { addModelOption, modelArgument } from './options.js';
import { formatNumber, progressBar } from './progress.js';
import { interruptible, type Terminal, writeJson, writeLine } from './terminal.js';
import { version } from './version.js';

/** `info --json`. Bytes are those in memory, a model's norms being f32 at every precision. */
export interface ModelInfo {
  model: string;
  /** Where the weights are; null for a shape without weights. */
  weights: string | null;
  /** The precision the weights are stored in, which is what they are run in by default; null without weights. */
  dtype: WeightType | null;
  backend: string | null;
  /** How the weights are stored; null without weights. */
  storage: StorageInfo | null;
  vocab_size: number;
  model_dim: number;
  head_dim: number;
  tied_embeddings: boolean;
  gated_ffn: boolean;
  qk_norm: boolean;
  layers: LayerInfo[];
  parameters: { total: number; embeddings: number; layers: number };
  weight_bytes: Record<Precision, number>;
  kv_bytes_per_token: Record<CacheType, number>;
  context: { default: number; max: number };
}

interface LayerInfo {
  index: number;
  query_heads: number;
  kv_heads: number;
  ffn_dim: number;
  parameters: { total: number; attention: number; ffn: number };
}

interface InfoSource {
  model: string;
  weights?: string;
  dtype?: WeightType;
  storage?: StorageInfo;
  /** The backend in use and why, in one line. */
  backend?: string;
}

/** Everything that `renderInfo` shows. */
export function modelInfo(config: ModelConfig, source: InfoSource): ModelInfo {
  const layers = config.layers.map((layer, index): LayerInfo => {
    const total = countLayerParameters(config, layer);
    const ffn = (layer.proj1Dim + layer.ffnDim) * config.modelDim + config.modelDim; // with its norm
    return {
      index,
      query_heads: layer.queryHeads,
      kv_heads: layer.kvHeads,
      ffn_dim: layer.ffnDim,
      parameters: { total, attention: total - ffn, ffn },
    };
  });
  const total = countParameters(config);
  const inLayers = layers.reduce((sum, layer) => sum + layer.parameters.total, 0);
  return {
    model: source.model,
    weights: source.weights ?? null,
    dtype: source.dtype ?? null,
    backend: source.backend ?? null,
    storage: source.storage ?? null,
    vocab_size: config.vocabSize,
    model_dim: config.modelDim,
    head_dim: config.headDim,
    tied_embeddings: config.tieEmbeddings,
    gated_ffn: config.ffnWithGlu,
    qk_norm: config.normalizeQk,
    layers,
    parameters: { total, embeddings: total - inLayers - config.modelDim, layers: inLayers },
    weight_bytes: Object.fromEntries(precisions.map((precision) => [precision, weightBytes(config, precision)])) as Record<
      Precision,
      number
    >,
    kv_bytes_per_token: Object.fromEntries(cacheTypes.map((type) => [type, kvBytesPerToken(config, type)])) as Record<
      CacheType,
      number
    >,
    context: { default: config.maxContextLength, max: config.ropeMaxLength },
  };
}

const ANSI = { bold: '1', dim: '2', cyan: '36', yellow: '33' } as const;
type Style = keyof typeof ANSI;

/** The text of `openelm info`: lines of at most `width` columns (50 at least), with ANSI colours when `color` is set; ends without a newline. */
export function renderInfo(info: ModelInfo, { color, width }: { color: boolean; width: number }): string {
  const paint = (style: Style, text: string) => (color && text ? `\x1b[${ANSI[style]}m${text}\x1b[0m` : text);
  const columns = Math.max(50, width);
  const facts = [
    counted(info.parameters.total, 'parameter', formatNumber),
    counted(info.layers.length, 'layer'),
    `width ${formatNumber(info.model_dim)}`,
    `heads of ${info.head_dim}`,
    `vocabulary ${formatNumber(info.vocab_size)}`,
    info.tied_embeddings ? 'tied embeddings' : 'output layer of its own',
    info.gated_ffn ? 'SwiGLU' : 'no gate in the ffn',
    info.qk_norm ? 'qk-norm' : 'no qk-norm',
  ];
  const sizes = precisions.map((p) => `${p} ${size(info.weight_bytes[p])}`);
  const kv = info.kv_bytes_per_token;
  const { default: context, max } = info.context;
  const rows: [string, string[]][] = [
    [
      'weights',
      info.weights === null
        ? ['none: a shape only']
        : [visible(info.weights), ...(info.dtype ? [`${isStoredSo(info) ? 'stored' : 'run'} in ${info.dtype}`] : [])],
    ],
    ['size at', sizes],
    [
      'kv cache',
      [
        `${counted(kv.f16, 'byte', formatNumber)} per token in f16`,
        `${size(kv.f16 * context)} for ${counted(context, 'token', formatNumber)}`,
        `${formatNumber(kv.q8)} in q8`,
      ],
    ],
    ['context', [counted(context, 'token', formatNumber), `at most ${formatNumber(max)}`]],
  ];
  if (info.storage) rows.splice(1, 0, ['format', storageFacts(info.storage)]);
  if (info.backend !== null) rows.push(['backend', [visible(info.backend)]]);
  const label = 10;
  return [
    paint('bold', visible(info.model)),
    ...wrap(facts, columns),
    '',
    ...layerTable(info, columns, paint),
    '',
    ...rows.flatMap(([name, items]) =>
      wrap(items, columns - label).map((line, i) => paint('dim', (i === 0 ? name : '').padEnd(label)) + line),
    ),
  ].join('\n');
}

const isPlainPrecision = (type: WeightType): type is Precision => (precisions as readonly WeightType[]).includes(type);

/** Whether the precision is that of the file, and not the nearest that kernels take. */
function isStoredSo({ storage, dtype }: ModelInfo): boolean {
  return !storage || !dtype || !isPlainPrecision(dtype) || storage.types[blockTypeOf[dtype]] !== undefined;
}

/** One row a layer, its bar split into attention and feed-forward network, the longest as wide as the terminal allows. */
function layerTable(info: ModelInfo, width: number, paint: (style: Style, text: string) => string): string[] {
  const head = ['layer', 'query heads', 'kv heads', 'ffn width', 'parameters'];
  const cells = info.layers.map((layer) => [
    String(layer.index),
    String(layer.query_heads),
    String(layer.kv_heads),
    formatNumber(layer.ffn_dim),
    formatNumber(layer.parameters.total),
  ]);
  const shortHead = ['layer', 'q', 'kv', 'ffn', 'parameters'];
  const widthsOf = (names: string[]) =>
    names.map((name, i) => cells.reduce((most, row) => Math.max(most, row[i].length), name.length));
  const tableWidth = (widths: number[]) => widths.reduce((sum, w) => sum + w + 2, 0);
  const names = tableWidth(widthsOf(head)) + 17 <= width ? head : shortHead;
  const widths = widthsOf(names);
  const line = (row: string[]) => row.map((cell, i) => cell.padStart(widths[i])).join('  ');

  const room = Math.max(0, width - tableWidth(widths));
  const longest = Math.max(...info.layers.map((layer) => layer.parameters.total));
  const scale = room / longest;
  const legend = room >= 17 ? `  ${paint('cyan', '█')} attention ${paint('yellow', '▒')} ffn` : '';
  return [
    paint('dim', line(names)) + legend,
    ...info.layers.map((layer, i) => {
      const total = Math.round(layer.parameters.total * scale);
      const attention = Math.round(layer.parameters.attention * scale);
      return `${line(cells[i])}  ${paint('cyan', '█'.repeat(attention))}${paint('yellow', '▒'.repeat(total - attention))}`.trimEnd();
    }),
  ];
}

/** Items joined by middle dots into as few lines as `width` allows. */
function wrap(items: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const item of items) {
    const longer = lines.length > 0 ? `${lines[lines.length - 1]} · ${item}` : '';
    if (lines.length > 0 && longer.length <= width) lines[lines.length - 1] = longer;
    else lines.push(item);
  }
  return lines;
}

/** Bytes in decimal units, three digits. */
function size(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}

/** `info --json` without a model. */
interface SystemInfo extends GpusInfo {
  version: string;
  node: string;
  /** `native`, `wasm` or `reference`. */
  backend: string;
  /** The backend in words. */
  backend_description: string;
  /** Why it is not the native one; null when it is. */
  backend_reason: string | null;
  /** Of the native backend: `plain`, `avx2`, `avxvnni`, `avx512` or `vnni`; of WebAssembly: `simd`, `relaxed` or `dot`. */
  instruction_set: string | null;
  threads: number;
  memory_bytes: { total: number; available: number };
  /** The embedded model, which is used when none is named. */
  default_model: ModelInfo;
}

const help = `
MODEL is a built-in name, a JSON file with a config, a directory, a .safetensors, .gguf or .pt file, or a hub id. Without it: what computes on
this machine and why, memory, and the model that is used when none is named.

With --json the output is one object: of a model {"model", "weights", "dtype", "backend", "storage", "vocab_size", "model_dim", "head_dim",
"tied_embeddings", "gated_ffn", "qk_norm", "layers", "parameters", "weight_bytes", "kv_bytes_per_token", "context"}; without one
{"version", "node", "backend", "backend_description", "backend_reason", "instruction_set", "threads", "memory_bytes", "webgpu", "gpus",
"gpus_reason", "default_model"}; with --check {"model", "tensors", "elements", "bad"}, bad tensors as {"name", "file", "nan", "infinite", "first"};
with --mpi {"library", "abi", "version", "ranks", "reason"}, the first three null where MPI cannot be used, and reason says why.

Example:
  $ openelm info OpenELM-1_1B`;

/** The verb with its options. */
export function infoCommand(terminal: Terminal): Command {
  return addModelOption(new Command('info').argument('[model]', 'the model; the same as --model'), 'none: what computes here')
    .option('--mpi', 'what training on several processes would use here')
    .option('--check', 'read all weights, and fail when one is not a finite number')
    .option('--tensors', 'list every tensor: name, type, shape, bytes')
    .option('--json', 'write one JSON object')
    .addHelpText('after', help)
    .action((word: string | undefined, { model, ...options }: InfoOptions) => {
      const named = modelArgument(word, model);
      if (options.mpi) return mpi(terminal, options);
      return options.check ? check(terminal, named ?? defaultModel, options) : info(terminal, named, options);
    });
}

interface InfoOptions {
  readonly model?: string;
  readonly check?: boolean;
  readonly tensors?: boolean;
  readonly mpi?: boolean;
  readonly json?: boolean;
}

/** `info --mpi --json`. */
interface MpiReport {
  readonly library: string | null;
  readonly abi: MpiLibrary['abi'] | null;
  readonly version: string | null;
  /** Processes that were started together. */
  readonly ranks: number;
  readonly reason: string | null;
}

async function mpi(terminal: Terminal, { json }: InfoOptions): Promise<void> {
  const ranks = launchedRanks();
  const report = await findMpi().then(
    ({ file: library, abi, version }): MpiReport => ({ library, abi, version, ranks, reason: null }),
    (error: unknown): MpiReport => {
      if (!(error instanceof InputError)) throw error;
      return { library: null, abi: null, version: null, ranks, reason: error.message };
    },
  );
  if (json) return writeJson(terminal, report);
  const { library, abi, version, reason } = report;
  writeLine(terminal, `mpi       ${library ? `${version} in ${library}, called by the ABI of ${abi}` : `none: ${reason}`}`);
  writeLine(terminal, `ranks     ${ranks}${ranks === 1 ? ': this process alone (mpirun and srun start more)' : ''}`);
}

/** `info --check --json`; `first` is the place of the first element that is not finite. */
interface CheckReport {
  readonly model: string;
  readonly tensors: number;
  readonly elements: number;
  readonly bad: readonly { name: string; file: string; nan: number; infinite: number; first: readonly number[] }[];
}

/** Throws `InputError` naming the tensors that hold NaN or infinite numbers, after the report. */
async function check(terminal: Terminal, model: string, { json }: InfoOptions): Promise<void> {
  const checkpoint = await openShown(terminal, model);
  const bar = progressBar(terminal.stderr);
  const weights = await checkpoint.openWeights();
  try {
    checkWeights(checkpoint.config, weights.tensors, checkpoint.place);
    const tensors = [...weights.tensors.values()];
    const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
    let done = 0;
    const onBytes = (bytes: number): void => {
      done += bytes;
      bar.update('checking', done, total);
    };
    const checks: TensorCheck[] = [];
    await interruptible(terminal, async (signal) => {
      for (const tensor of tensors) checks.push(await checkTensor(tensor, { signal, onBytes }));
    }).finally(() => bar.finish());
    const elements = checks.reduce((sum, of) => sum + of.elements, 0);
    const bad = checks.flatMap(({ name, file, nan, infinite, first }) => (first ? [{ name, file, nan, infinite, first }] : []));
    if (json) writeJson(terminal, { model, tensors: checks.length, elements, bad } satisfies CheckReport);
    refuseBad(checks);
    if (!json)
      writeLine(
        terminal,
        `${model}: ${counted(elements, 'weight', formatNumber)} in ${counted(checks.length, 'tensor')}, all finite`,
      );
  } finally {
    await weights.close();
  }
}

async function info(terminal: Terminal, model: string | undefined, { json, tensors }: InfoOptions): Promise<void> {
  const { stdout } = terminal;
  const system = await systemInfo();
  const { backend_description: description, backend_reason: reason } = system;
  const backend = reason === null ? description : `${description}, because ${reason}`;
  if (model === undefined) {
    const whole: SystemInfo = {
      ...system,
      ...(await gpusInfo()),
      default_model: await describe(terminal, defaultModel, backend),
    };
    if (json) writeJson(terminal, whole);
    else stdout.write(`${renderSystem(whole, backend)}\n`);
    return;
  }
  const described = await describe(terminal, model, backend);
  if (json) return writeJson(terminal, described);
  const color = Boolean(stdout.isTTY) && !process.env.NO_COLOR;
  const width = stdout.columns ?? 100;
  stdout.write(`${renderInfo(described, { color, width })}\n`);
  if (!described.storage) return;
  const lines = [...metadataLines(described.storage, width), ...(tensors ? ['', ...tensorLines(described.storage, width)] : [])];
  if (lines.length > 0) stdout.write(`\n${lines.join('\n')}\n`);
}

/** A shape by name or from a JSON file; anything else is a model with weights. */
async function describe(terminal: Terminal, model: string, backend: string): Promise<ModelInfo> {
  if (configNames.includes(model) || model.endsWith('.json')) return modelInfo(await shapeFrom(model), { model, backend });
  const checkpoint = await openShown(terminal, model);
  const weights = await checkpoint.openWeights();
  try {
    const { dtype } = checkWeights(checkpoint.config, weights.tensors, checkpoint.place);
    const storage = storageInfo(checkpoint.format, weights.tensors, weights.metadata);
    return modelInfo(checkpoint.config, { model, weights: checkpoint.weights, dtype, storage, backend });
  } finally {
    await weights.close();
  }
}

async function systemInfo(): Promise<Omit<SystemInfo, 'default_model' | keyof GpusInfo>> {
  const { backend, reason } = await openBackend();
  try {
    return {
      version: version(),
      node: process.version,
      backend: backend.name,
      backend_description: backend.description,
      backend_reason: reason ?? null,
      instruction_set: 'isa' in backend ? String(backend.isa) : null,
      threads: backend.limits.threads,
      memory_bytes: { total: totalmem(), available: availableMemory() },
    };
  } finally {
    await backend.dispose();
  }
}

function renderSystem(system: SystemInfo, backend: string): string {
  const { default_model: model, memory_bytes: memory } = system;
  const rows = [
    ['openelm', `${system.version}, Node ${system.node}`],
    ['backend', backend],
    ...gpuRows(system, size),
    ['memory', `${size(memory.available)} available of ${size(memory.total)}`],
    ['model', `${model.model}, embedded: ${counted(model.parameters.total, 'parameter', formatNumber)}, used when none is named`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(10)}${visible(value)}`).join('\n');
}
