// The safetensors format: eight bytes of header length, a JSON header, then the tensors' bytes. Reads the header only and
// checks it as the Rust reference does (`Metadata::validate`): byte ranges follow one another from 0 to the end of the file
// without hole, overlap or trailing bytes. Stricter than the reference where its format text is: the header starts with `{`
// and no key comes twice. Writes the reference's own layout, streamed. Shards are in safetensors-index.ts.

import { counted, InputError } from '../errors.js';
import { type ByteSink, type ByteSource, DTYPE_BYTES, exactly, type StoredDType, type StoredTensor } from './bytes.js';
import { decodeUtf8, JsonReader, quoted } from './json.js';

/** The longest header in bytes, as in the reference. */
const MAX_HEADER_BYTES = 100_000_000;

/** A tensor as it is declared: what the writer is given. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
}

/** What one safetensors file, or one set of shards, holds. `tensors` is in the order of the bytes. */
export interface SafetensorsContents {
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Record<string, string>;
}

interface HeaderEntry extends TensorSpec {
  readonly begin: number;
  readonly end: number;
}

/** Reads and checks the header. Throws `InputError` naming the file, the tensor, what was expected and what was found. */
export async function readSafetensors(source: ByteSource): Promise<SafetensorsContents> {
  const headerBytes = await readHeaderLength(source);
  const text = decodeUtf8(await source.read(8, headerBytes), `${source.name}: safetensors header`);
  const { entries, metadata } = parseHeader(text, source.name);
  const dataStart = 8 + headerBytes;
  checkLayout(entries, source.size - dataStart, source.name);
  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    tensors.set(name, { name, dtype, shape, source, offset: dataStart + begin, bytes: end - begin });
  }
  return { tensors, metadata };
}

async function readHeaderLength(source: ByteSource): Promise<number> {
  if (source.size < 8)
    throw new InputError(`${source.name}: not a safetensors file: it has ${counted(source.size, 'byte')}, fewer than 8`);
  const prefix = await source.read(0, 8);
  if (decodeAscii(prefix) === 'version ') {
    throw new InputError(`${source.name}: a Git LFS pointer, not the weights themselves: fetch them with "git lfs pull"`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(source.size - 8)) {
    throw new InputError(
      `${source.name}: not a safetensors file, or cut short: it claims a header of ${length} bytes but has ${source.size - 8} after the length`,
    );
  }
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new InputError(`${source.name}: its safetensors header of ${length} bytes is over the limit of ${MAX_HEADER_BYTES}`);
  }
  return Number(length);
}

function decodeAscii(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function parseHeader(text: string, file: string): { entries: HeaderEntry[]; metadata: Record<string, string> } {
  if (!text.startsWith('{')) {
    throw new InputError(`${file}: not a safetensors file: its header starts with ${quoted(text.slice(0, 8))} instead of "{"`);
  }
  const reader = new JsonReader(text, `${file}: safetensors header`);
  const entries: HeaderEntry[] = [];
  const metadata = new Map<string, string>();
  reader.object('an object', (name) => {
    if (name === '__metadata__') {
      reader.object('__metadata__ as an object of strings', (key) => {
        metadata.set(key, reader.string(`a string as __metadata__ ${quoted(key)}`));
      });
    } else {
      entries.push(parseEntry(reader, name));
    }
  });
  reader.end();
  return { entries, metadata: Object.fromEntries(metadata) };
}

function parseEntry(reader: JsonReader, name: string): HeaderEntry {
  const label = `tensor ${quoted(name)}`;
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  reader.object(`an object for ${label}`, (key) => {
    if (key === 'dtype') dtype = reader.string(`the dtype of ${label} as a string`);
    else if (key === 'shape') shape = readNumbers(reader, 'shape', label);
    else if (key === 'data_offsets') offsets = readNumbers(reader, 'data_offsets', label);
    else reader.skip(); // the reference ignores other keys
  });
  if (dtype === undefined || !shape || !offsets) {
    const missing = dtype === undefined ? 'dtype' : shape ? 'data_offsets' : 'shape';
    return reader.fail(`${label} has no ${missing}`);
  }
  if (!isDType(dtype)) {
    return reader.fail(`${label} has dtype ${quoted(dtype)}, expected one of ${Object.keys(DTYPE_BYTES).join(', ')}`);
  }
  if (offsets.length !== 2 || offsets[0] > offsets[1]) {
    return reader.fail(`${label}: expected data_offsets as [begin, end] with begin <= end, found [${listed(offsets)}]`);
  }
  const [begin, end] = offsets;
  const expected = byteLength(dtype, shape);
  if (expected === undefined) return reader.fail(`${label}: the size of ${dtype} [${listed(shape)}] overflows`);
  if (end - begin !== expected) {
    return reader.fail(
      `${label}: ${dtype} [${listed(shape)}] takes ${expected} bytes, but data_offsets [${begin}, ${end}] hold ${end - begin}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

function readNumbers(reader: JsonReader, key: string, label: string): number[] {
  const numbers: number[] = [];
  reader.array(`${key} of ${label} as an array`, () =>
    numbers.push(reader.unsigned(`a non-negative integer in ${key} of ${label}`)),
  );
  return numbers;
}

function isDType(name: string): name is StoredDType {
  return Object.hasOwn(DTYPE_BYTES, name);
}

/** Bytes of a tensor, or undefined when a product on the way is no safe integer (zero extents do not excuse the others before them). */
function byteLength(dtype: StoredDType, shape: readonly number[]): number | undefined {
  let elements = 1;
  for (const extent of shape) {
    elements *= extent;
    if (!Number.isSafeInteger(elements)) return undefined;
  }
  const bytes = elements * DTYPE_BYTES[dtype];
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Sorts the entries by place and demands that they cover the data exactly. */
function checkLayout(entries: HeaderEntry[], dataBytes: number, file: string): void {
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = 0;
  let previous: HeaderEntry | undefined;
  for (const entry of entries) {
    if (entry.end > dataBytes) {
      throw new InputError(
        `${file}: tensor ${quoted(entry.name)} ends at byte ${entry.end} of the data, but the file holds only ${dataBytes}: was the file cut short?`,
      );
    }
    if (previous && entry.begin < position) {
      throw new InputError(
        `${file}: tensors ${quoted(previous.name)} and ${quoted(entry.name)} overlap: one ends at byte ${position} of the data, the other begins at ${entry.begin}`,
      );
    }
    if (entry.begin > position) {
      throw new InputError(
        `${file}: tensor ${quoted(entry.name)} begins at byte ${entry.begin} of the data, expected ${position}: no tensor owns the bytes between`,
      );
    }
    position = entry.end;
    previous = entry;
  }
  if (position !== dataBytes) {
    throw new InputError(
      `${file}: the tensors end at byte ${position} of the data, but the file holds ${dataBytes}: ${dataBytes - position} bytes too many`,
    );
  }
}

function listed(numbers: readonly number[]): string {
  return numbers.length > 8 ? `${numbers.slice(0, 8).join(', ')}, ... (${numbers.length} numbers)` : numbers.join(', ');
}

// The reference orders tensors by its list of dtypes, the widest first, then by name: every tensor then lies aligned.
const WRITE_ORDER: readonly StoredDType[] = [
  'U64',
  'I64',
  'F64',
  'F32',
  'U32',
  'I32',
  'BF16',
  'F16',
  'U16',
  'I16',
  'I8',
  'U8',
  'BOOL',
];

/**
 * Writes a safetensors file to a sink, in the byte order of the reference writer (dtypes by width, then names), so the same
 * tensors give the same file. `data` is called for one tensor at a time, in the file's order, and yields its little-endian
 * bytes in chunks of any size: no more than a chunk is ever held. Throws `InputError` for a bad spec or a wrong number of bytes.
 */
export async function writeSafetensors<Spec extends TensorSpec>(
  sink: ByteSink,
  tensors: Iterable<Spec>,
  data: (tensor: Spec) => Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ordered = inWriteOrder(tensors);
  await sink.write(encodeHeader(ordered, metadata));
  for (const tensor of ordered) {
    const expected = byteLength(tensor.dtype, tensor.shape) as number;
    const what = `tensor ${quoted(tensor.name)}: ${tensor.dtype} [${listed(tensor.shape)}]`;
    for await (const chunk of exactly(what, expected, data(tensor))) await sink.write(chunk);
  }
}

function inWriteOrder<Spec extends TensorSpec>(tensors: Iterable<Spec>): Spec[] {
  const ordered = [...tensors];
  const names = new Set<string>();
  for (const { name, dtype, shape } of ordered) {
    if (name === '__metadata__' || names.has(name))
      throw new InputError(`tensor ${quoted(name)}: the name is ${names.has(name) ? 'given twice' : 'reserved'}`);
    names.add(name);
    if (!shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0) || byteLength(dtype, shape) === undefined) {
      throw new InputError(`tensor ${quoted(name)}: [${listed(shape)}] is no shape of ${dtype} elements`);
    }
  }
  const rank = (spec: Spec) => WRITE_ORDER.indexOf(spec.dtype);
  return ordered.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

/** The length prefix and the header, padded with blanks so that the data starts at a multiple of 8. */
function encodeHeader(tensors: readonly TensorSpec[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let position = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = position + (byteLength(dtype, shape) as number);
    parts.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [position, end] })}`);
    position = end;
  }
  const header = new TextEncoder().encode(`{${parts.join(',')}}`);
  const padded = Math.ceil(header.byteLength / 8) * 8;
  if (padded > MAX_HEADER_BYTES)
    throw new InputError(`a safetensors header of ${padded} bytes is over the limit of ${MAX_HEADER_BYTES}`);
  const bytes = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(header, 8);
  return bytes;
}
