// Writes a Hugging Face OpenELM checkpoint as a llama.cpp `openelm` GGUF v3 file, so that the peer runs the same weights.
// Streams: one piece of one tensor is in memory at a time. Quantizes by GGML's reference rule (round from a scale that is
// not yet rounded to f16). Only for the benchmarks: writes dummy vocabulary pieces (they feed ids, never text) and reads
// only a single-file f16 or f32 checkpoint.
import { type FileHandle, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../src/errors.js';
import { decodeFloat16, encodeFloat16, numberToFloat16 } from '../src/io/float16.js';
import { groupSize, quantizeWeights } from '../src/tensor/quantize.js';

/** Storage of the matrices; norms are always F32. */
export type GgufType = 'F32' | 'F16' | 'Q8_0' | 'Q4_0';

/** Per type: GGML's tensor type id, `general.file_type`, and bytes per block of `values` numbers. */
const ggufTypes = {
  F32: { id: 0, fileType: 0, values: 1, bytes: 4 },
  F16: { id: 1, fileType: 1, values: 1, bytes: 2 },
  Q4_0: { id: 2, fileType: 2, values: 32, bytes: 18 },
  Q8_0: { id: 8, fileType: 7, values: 32, bytes: 34 },
} as const;

const alignment = 32;
/** Numbers converted at a time: a multiple of the block of 32; 4 MiB of f32. */
const pieceLength = 1 << 20;

interface HuggingFaceConfig {
  readonly num_transformer_layers: number;
  readonly model_dim: number;
  readonly head_dim: number;
  readonly max_context_length: number;
  readonly rope_freq_constant: number;
  readonly vocab_size: number;
}

interface SourceTensor {
  readonly dtype: 'F16' | 'F32';
  readonly shape: readonly number[];
  /** Position in the file. */
  readonly offset: number;
}

/** One tensor to write: `rows` x `columns` (a norm has one row) from `offset` of the source file. */
interface OutputTensor {
  readonly name: string;
  readonly type: GgufType;
  readonly source: SourceTensor;
  readonly offset: number;
  readonly rows: number | undefined;
  readonly columns: number;
}

/**
 * Writes `file` from `directory`/config.json and `directory`/model.safetensors (tied embeddings, gated FFN, q/k norms; f16
 * or f32). The file appears only when it is whole. Throws `InputError` for a checkpoint that is not of that kind.
 */
export async function writeGguf(directory: string, file: string, type: GgufType): Promise<void> {
  const config = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8')) as HuggingFaceConfig;
  const path = join(directory, 'model.safetensors');
  const source = await open(path);
  try {
    const outputs = layOut(await readTensors(source, path), config, type, path);
    const target = await open(`${file}.partial`, 'w');
    try {
      await target.appendFile(pad(header(config, outputs, type)));
      for (const output of outputs) await copyTensor(source, target, output);
    } finally {
      await target.close();
    }
    await rename(`${file}.partial`, file);
  } finally {
    await source.close();
  }
}

/** The tensors of a safetensors file by name, without the prefix `transformer.`. */
async function readTensors(source: FileHandle, path: string): Promise<Map<string, SourceTensor>> {
  const { size } = await source.stat();
  const length = size < 8 ? -1 : Number((await readExactly(source, 0, 8)).readBigUInt64LE());
  if (length < 2 || length > Math.min(size - 8, 100e6)) throw new InputError(`${path} is not a safetensors file.`);
  const json = JSON.parse((await readExactly(source, 8, length)).toString('utf8')) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, SourceTensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(json)) {
    if (name === '__metadata__') continue;
    if (dtype !== 'F16' && dtype !== 'F32') throw new InputError(`${path}: ${name} is ${dtype}; the benchmark takes F16 or F32.`);
    const bytes = shape.reduce((product, n) => product * n, dtype === 'F16' ? 2 : 4);
    if (data_offsets[1] - data_offsets[0] !== bytes || data_offsets[0] < 0 || 8 + length + data_offsets[1] > size) {
      throw new InputError(`${path}: ${name} does not fit its offsets ${data_offsets.join('..')}.`);
    }
    tensors.set(name.replace(/^transformer\./, ''), { dtype, shape, offset: 8 + length + data_offsets[0] });
  }
  return tensors;
}

/** The output's tensors in llama.cpp's names and order. */
function layOut(tensors: Map<string, SourceTensor>, config: HuggingFaceConfig, type: GgufType, path: string): OutputTensor[] {
  const outputs: OutputTensor[] = [];
  const find = (name: string, dimensions: number): SourceTensor => {
    const tensor = tensors.get(`${name}.weight`);
    if (tensor?.shape.length !== dimensions)
      throw new InputError(`${path} has no ${dimensions}-dimensional tensor ${name}.weight.`);
    return tensor;
  };
  const norm = (name: string, sourceName: string) => {
    const source = find(sourceName, 1);
    outputs.push({
      name: `${name}.weight`,
      type: 'F32',
      source,
      offset: source.offset,
      rows: undefined,
      columns: source.shape[0],
    });
  };
  // `part` of `parts` equal runs of rows.
  const matrix = (name: string, sourceName: string, part = 0, parts = 1) => {
    const source = find(sourceName, 2);
    const rows = source.shape[0] / parts;
    const columns = source.shape[1];
    if (!Number.isInteger(rows) || columns % ggufTypes[type].values !== 0) {
      throw new InputError(`${path}: ${sourceName}.weight of [${source.shape}] cannot be written as ${type}.`);
    }
    const offset = source.offset + part * rows * columns * (source.dtype === 'F16' ? 2 : 4);
    outputs.push({ name: `${name}.weight`, type, source, offset, rows, columns });
  };
  matrix('token_embd', 'token_embeddings');
  norm('output_norm', 'norm');
  for (let layer = 0; layer < config.num_transformer_layers; layer++) {
    const from = `layers.${layer}`;
    const to = `blk.${layer}`;
    norm(`${to}.attn_norm`, `${from}.attn_norm`);
    norm(`${to}.ffn_norm`, `${from}.ffn_norm`);
    norm(`${to}.attn_q_norm`, `${from}.attn.q_norm`);
    norm(`${to}.attn_k_norm`, `${from}.attn.k_norm`);
    matrix(`${to}.attn_qkv`, `${from}.attn.qkv_proj`);
    matrix(`${to}.attn_output`, `${from}.attn.out_proj`);
    matrix(`${to}.ffn_gate`, `${from}.ffn.proj_1`, 0, 2);
    matrix(`${to}.ffn_up`, `${from}.ffn.proj_1`, 1, 2);
    matrix(`${to}.ffn_down`, `${from}.ffn.proj_2`);
  }
  return outputs;
}

/** Magic, counts, metadata and tensor infos, without the padding before the data. Layer sizes come from the weights' shapes. */
function header(config: HuggingFaceConfig, outputs: readonly OutputTensor[], type: GgufType): Buffer {
  const widths = (name: string, of: (output: OutputTensor) => number) =>
    outputs.filter((output) => output.name.endsWith(`.${name}.weight`)).map(of);
  const queryHeads = widths('attn_output', ({ columns }) => columns / config.head_dim);
  const qkvHeads = widths('attn_qkv', ({ rows }) => rows! / config.head_dim);
  const pieces = vocabulary(config.vocab_size);
  const metadata: Buffer[] = [
    keyValue('general.architecture', text('openelm')),
    keyValue('general.name', text('openelm')),
    keyValue('general.file_type', uint32(ggufTypes[type].fileType)),
    keyValue('openelm.block_count', uint32(config.num_transformer_layers)),
    keyValue('openelm.context_length', uint32(config.max_context_length)),
    keyValue('openelm.embedding_length', uint32(config.model_dim)),
    keyValue('openelm.feed_forward_length', array(widths('ffn_down', ({ columns }) => columns).map(int32))),
    keyValue('openelm.attention.head_count', array(queryHeads.map(int32))),
    keyValue('openelm.attention.head_count_kv', array(qkvHeads.map((heads, layer) => int32((heads - queryHeads[layer]) / 2)))),
    keyValue('openelm.rope.freq_base', float32(config.rope_freq_constant)),
    keyValue('openelm.attention.layer_norm_rms_epsilon', float32(1e-6)),
    keyValue('openelm.rope.dimension_count', uint32(config.head_dim)),
    keyValue('openelm.attention.key_length', uint32(config.head_dim)),
    keyValue('openelm.attention.value_length', uint32(config.head_dim)),
    keyValue('tokenizer.ggml.model', text('llama')),
    keyValue('tokenizer.ggml.pre', text('default')),
    keyValue('tokenizer.ggml.tokens', array(pieces.map(({ piece }) => text(piece)))),
    keyValue('tokenizer.ggml.scores', array(pieces.map((_, id) => float32(-id)))),
    keyValue('tokenizer.ggml.token_type', array(pieces.map(({ type }) => int32(type)))),
    keyValue('tokenizer.ggml.bos_token_id', uint32(1)),
    keyValue('tokenizer.ggml.eos_token_id', uint32(2)),
    keyValue('tokenizer.ggml.unknown_token_id', uint32(0)),
  ];
  let offset = 0;
  const infos = outputs.map((output) => {
    // GGUF lists dimensions innermost first.
    const dimensions = output.rows === undefined ? [output.columns] : [output.columns, output.rows];
    const info = [
      text(output.name).bytes,
      uint32(dimensions.length).bytes,
      ...dimensions.map(uint64),
      uint32(ggufTypes[output.type].id).bytes,
      uint64(offset),
    ];
    offset += Math.ceil(byteLength(output) / alignment) * alignment;
    return Buffer.concat(info);
  });
  return Buffer.concat([
    Buffer.from('GGUF'),
    uint32(3).bytes,
    uint64(outputs.length),
    uint64(metadata.length),
    ...metadata,
    ...infos,
  ]);
}

/** Dummy pieces of SentencePiece's kinds (2 unknown, 3 control, 6 byte, 1 normal): llama.cpp wants a whole vocabulary. */
function vocabulary(size: number): { piece: string; type: number }[] {
  const pieces = [
    { piece: '<unk>', type: 2 },
    { piece: '<s>', type: 3 },
    { piece: '</s>', type: 3 },
  ];
  for (let byte = 0; byte < 256; byte++) {
    pieces.push({ piece: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, type: 6 });
  }
  while (pieces.length < size) pieces.push({ piece: `piece${pieces.length}`, type: 1 });
  return pieces.slice(0, size);
}

async function copyTensor(source: FileHandle, target: FileHandle, tensor: OutputTensor): Promise<void> {
  const count = (tensor.rows ?? 1) * tensor.columns;
  const width = tensor.source.dtype === 'F16' ? 2 : 4;
  for (let start = 0; start < count; start += pieceLength) {
    const length = Math.min(pieceLength, count - start);
    const bytes = await readExactly(source, tensor.offset + start * width, length * width);
    // The same bits: nothing to convert.
    const converted = tensor.source.dtype === tensor.type ? bytes : convert(toFloats(bytes, tensor.source.dtype), tensor.type);
    await target.appendFile(start + length === count ? pad(converted) : converted);
  }
}

function toFloats(bytes: Buffer, dtype: 'F16' | 'F32'): Float32Array {
  if (dtype === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  return decodeFloat16(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
}

/** `values` in GGML's bytes for `type`; a multiple of 32 values for the quantized types. */
export function convert(values: Float32Array, type: GgufType): Buffer {
  if (type === 'F32') return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  if (type === 'F16') return Buffer.from(encodeFloat16(values).buffer);
  const { codes, scales } = quantizeWeights(values, type === 'Q8_0' ? 8 : 4);
  const { bytes } = ggufTypes[type];
  const out = Buffer.alloc(scales.length * bytes);
  for (let block = 0; block < scales.length; block++) {
    const to = block * bytes;
    const code = (i: number) => codes[block * groupSize + i];
    out.writeUInt16LE(numberToFloat16(scales[block]), to);
    if (type === 'Q8_0') for (let i = 0; i < 32; i++) out.writeInt8(code(i), to + 2 + i);
    // Value i in the low nibble of byte i, value i + 16 in its high nibble, each plus 8.
    else for (let i = 0; i < 16; i++) out[to + 2 + i] = (code(i) + 8) | ((code(i + 16) + 8) << 4);
  }
  return out;
}

function byteLength({ type, rows, columns }: OutputTensor): number {
  return (((rows ?? 1) * columns) / ggufTypes[type].values) * ggufTypes[type].bytes;
}

/** Zeros added up to a multiple of the alignment. Right for a tensor's last piece too: full pieces are multiples themselves. */
function pad(bytes: Buffer): Buffer {
  const missing = -bytes.length & (alignment - 1);
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}

async function readExactly(source: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.from(new ArrayBuffer(length)); // its own memory: typed arrays over it start aligned
  for (let done = 0; done < length; ) {
    const { bytesRead } = await source.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw new InputError(`The checkpoint ended at ${position + done} while it was being read.`);
    done += bytesRead;
  }
  return buffer;
}

/** A metadata value: GGUF's type id and its bytes. */
interface Value {
  readonly type: number;
  readonly bytes: Buffer;
}

function number(type: number, write: (view: DataView) => void): Value {
  const bytes = Buffer.alloc(4);
  write(new DataView(bytes.buffer, bytes.byteOffset, 4));
  return { type, bytes };
}
const uint32 = (value: number) => number(4, (view) => view.setUint32(0, value, true));
const int32 = (value: number) => number(5, (view) => view.setInt32(0, value, true));
const float32 = (value: number) => number(6, (view) => view.setFloat32(0, value, true));

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Value {
  const bytes = Buffer.from(value, 'utf8');
  return { type: 8, bytes: Buffer.concat([uint64(bytes.length), bytes]) };
}

function array(values: readonly Value[]): Value {
  return {
    type: 9,
    bytes: Buffer.concat([uint32(values[0].type).bytes, uint64(values.length), ...values.map(({ bytes }) => bytes)]),
  };
}

function keyValue(key: string, value: Value): Buffer {
  return Buffer.concat([text(key).bytes, uint32(value.type).bytes, value.bytes]);
}
