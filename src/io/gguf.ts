// The GGUF container, versions 2 and 3, little-endian: metadata and where each tensor lies. Reads the header only, every count and
// length checked against the file before it is used. What the keys and names mean to a model is in formats/gguf.ts, writing in
// gguf-write.ts. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

import { InputError, shown } from '../errors.js';
import { type ByteSource, elementsOf } from './bytes.js';
import { type BlockName, blockTypes, isBlockName, typeNumbers } from './gguf-blocks.js';
import { quoted } from './json.js';

/** A list of texts as it lies in the header: text i is `bytes[starts[i], ends[i])`. */
export interface GgufTexts {
  readonly bytes: Uint8Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

export interface GgufNumbers {
  readonly numbers: InstanceType<(typeof arrays)[number]>;
}

/** A metadata value: 64-bit numbers beyond 2^53 are the nearest double. */
export type GgufValue = number | boolean | string | GgufTexts | GgufNumbers;

/** A tensor as the header lists it; `shape` is row-major, as everywhere here (GGUF lists it innermost first). */
export interface GgufTensor {
  readonly name: string;
  readonly type: BlockName;
  readonly shape: readonly number[];
  /** Position in the file, and bytes. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GgufContents {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** In the header's order. */
  readonly tensors: readonly GgufTensor[];
}

/** GGUF's numbers of value types, and the bytes of those of fixed size. */
export const valueTypes = {
  ...{ uint8: 0, int8: 1, uint16: 2, int16: 3, uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 },
  ...{ uint64: 10, int64: 11, float64: 12 },
} as const;
const sizes: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
/** What lists of them become, by number up to bool; of 64 bits: doubles. */
const arrays = [
  Uint8Array,
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Uint8Array,
  Float64Array,
] as const;

const firstRead = 1 << 20;
const maxHeader = 1 << 28;
/** Tensors, and keys. */
const maxEntries = 1 << 17;

/** Reads and checks the header. Throws `InputError` that names the file, the key or tensor, and the offset. */
export async function readGguf(source: ByteSource): Promise<GgufContents> {
  for (let length = Math.min(source.size, firstRead); ; length = Math.min(source.size, 4 * length, maxHeader)) {
    const bytes = await source.read(0, length);
    try {
      return parse(new Cursor(bytes, source.name, length < source.size && length < maxHeader), source.size);
    } catch (error) {
      if (!(error instanceof MoreNeeded)) throw error;
    }
  }
}

/** The header goes on behind what was read. */
class MoreNeeded extends Error {}

class Cursor {
  at = 0;
  private readonly view: DataView;
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(
    readonly bytes: Uint8Array,
    readonly file: string,
    private readonly hasMore: boolean,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Moves past `length` bytes and returns where they begin. */
  take(length: number, what: string): number {
    const start = this.at;
    if (!(length <= this.bytes.length - start)) {
      if (this.hasMore) throw new MoreNeeded();
      throw new InputError(`${this.file}: cut short, or damaged: ${what} at byte ${start} goes past the end`);
    }
    this.at += length;
    return start;
  }

  uint32(what: string): number {
    return this.view.getUint32(this.take(4, what), true);
  }

  /** A 64-bit length or count; a number too large for the file is refused where it is used. */
  uint64(what: string): number {
    const at = this.take(8, what);
    return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 2 ** 32;
  }

  /** A count of things of at least `each` bytes: as many must fit. */
  count(what: string, each: number, most = maxHeader): number {
    const at = this.at;
    const count = this.uint64(what);
    if (count * each > maxHeader || count > most)
      throw new InputError(`${this.file}: ${what} at byte ${at} is ${count}, more than can be true`);
    if (count * each > this.bytes.length - this.at) this.take(count * each, what);
    return count;
  }

  text(what: string): string {
    const length = this.uint64(`the length of ${what}`);
    const start = this.take(length, what);
    return this.decoder.decode(this.bytes.subarray(start, start + length));
  }

  number(type: number, what: string): number {
    const at = this.take(sizes[type], what);
    const { view } = this;
    switch (type) {
      case valueTypes.uint8:
      case valueTypes.bool:
        return view.getUint8(at);
      case valueTypes.int8:
        return view.getInt8(at);
      case valueTypes.uint16:
        return view.getUint16(at, true);
      case valueTypes.int16:
        return view.getInt16(at, true);
      case valueTypes.uint32:
        return view.getUint32(at, true);
      case valueTypes.int32:
        return view.getInt32(at, true);
      case valueTypes.float32:
        return view.getFloat32(at, true);
      case valueTypes.float64:
        return view.getFloat64(at, true);
      case valueTypes.uint64:
        return Number(view.getBigUint64(at, true));
      default:
        return Number(view.getBigInt64(at, true));
    }
  }
}

function parse(cursor: Cursor, fileSize: number): GgufContents {
  const { file } = cursor;
  const magic = cursor.take(4, 'the magic "GGUF"');
  if (String.fromCharCode(...cursor.bytes.subarray(magic, magic + 4)) !== 'GGUF') {
    throw new InputError(`${file}: not a GGUF file: it does not begin with "GGUF"`);
  }
  const version = cursor.uint32('the version');
  if (version !== 2 && version !== 3) {
    const swapped = version === 0x02000000 || version === 0x03000000;
    throw new InputError(`${file}: ${swapped ? 'big-endian GGUF is' : `GGUF version ${version} is`} not read, only 2 and 3`);
  }
  const tensorCount = cursor.count('the number of tensors', 24, maxEntries);
  const keyCount = cursor.count('the number of metadata keys', 13, maxEntries);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.text('a metadata key');
    if (metadata.has(key)) throw new InputError(`${file}: the metadata key ${quoted(key)} comes twice`);
    metadata.set(key, readValue(cursor, key));
  }
  const entries = Array.from({ length: tensorCount }, () => readEntry(cursor));
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment !== 'number' || !(alignment >= 1 && alignment <= 1 << 20) || (alignment & (alignment - 1)) !== 0) {
    throw new InputError(`${file}: general.alignment is ${shown(alignment)}; a power of two is expected`);
  }
  const dataStart = Math.ceil(cursor.at / alignment) * alignment;
  const names = new Set<string>();
  const tensors = entries.map(({ offset, ...entry }): GgufTensor => {
    const label = `${file}: tensor ${quoted(entry.name)}`;
    if (names.has(entry.name)) throw new InputError(`${label} comes twice`);
    names.add(entry.name);
    if (offset % alignment !== 0) throw new InputError(`${label} begins at ${offset}, which is no multiple of ${alignment}`);
    if (!(dataStart + offset + entry.bytes <= fileSize)) {
      throw new InputError(
        `${label} ends at byte ${dataStart + offset + entry.bytes}, but the file has ${fileSize}: was it cut short?`,
      );
    }
    return { ...entry, offset: dataStart + offset };
  });
  return { version, metadata, tensors };
}

function readValue(cursor: Cursor, key: string): GgufValue {
  const what = `the value of ${quoted(key)}`;
  const type = cursor.uint32(`the type of ${quoted(key)}`);
  if (type === valueTypes.string) return cursor.text(what);
  if (type !== valueTypes.array) {
    if (!(type in sizes)) throw new InputError(`${cursor.file}: ${quoted(key)} is of the unknown type ${type}`);
    const value = cursor.number(type, what);
    return type === valueTypes.bool ? value !== 0 : value;
  }
  const element = cursor.uint32(`the element type of ${quoted(key)}`);
  if (element === valueTypes.string) return readTexts(cursor, what);
  if (!(element in sizes)) {
    const found = element === valueTypes.array ? 'lists' : `the unknown type ${element}`;
    throw new InputError(`${cursor.file}: ${quoted(key)} is a list of ${found}, which is not read`);
  }
  const count = cursor.count(`the length of ${quoted(key)}`, sizes[element]);
  const List = arrays[Math.min(element, 8)];
  if (element <= valueTypes.bool) {
    const start = cursor.take(count * sizes[element], what);
    return { numbers: new List(cursor.bytes.slice(start, cursor.at).buffer) };
  }
  const numbers = new List(count);
  for (let i = 0; i < count; i++) numbers[i] = cursor.number(element, what);
  return { numbers };
}

function readTexts(cursor: Cursor, what: string): GgufTexts {
  const count = cursor.count(`the length of ${what}`, 8);
  const starts = new Int32Array(count);
  const ends = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const length = cursor.uint64(`a length in ${what}`);
    starts[i] = cursor.take(length, what);
    ends[i] = cursor.at;
  }
  return { bytes: cursor.bytes, starts, ends };
}

function readEntry(cursor: Cursor): GgufTensor {
  const { file } = cursor;
  const name = cursor.text("a tensor's name");
  const label = `${file}: tensor ${quoted(name)}`;
  const dimensions = cursor.uint32(`the dimensions of ${quoted(name)}`);
  if (dimensions > 4) throw new InputError(`${label} has ${dimensions} dimensions, more than 4`);
  const shape = Array.from({ length: dimensions }, () => cursor.uint64(`the shape of ${quoted(name)}`)).reverse();
  const number = cursor.uint32(`the type of ${quoted(name)}`);
  const offset = cursor.uint64(`the offset of ${quoted(name)}`);
  const type = typeNumbers[number] ?? `of the unknown type ${number}`;
  if (!isBlockName(type)) {
    throw new InputError(`${label} is ${type}, which is not read; known are ${Object.keys(blockTypes).join(', ')}`);
  }
  const { values, bytes } = blockTypes[type];
  const elements = elementsOf(shape);
  if (!Number.isSafeInteger(elements) || !Number.isSafeInteger(offset)) {
    throw new InputError(`${label}: [${shape.join(', ')}] at ${offset} cannot be true`);
  }
  if ((shape.at(-1) ?? 1) % values !== 0) {
    throw new InputError(`${label}: ${type} comes in blocks of ${values}, which rows of ${shape.at(-1)} are no multiple of`);
  }
  return { name, type, shape, offset, bytes: (elements / values) * bytes };
}

/** Text i of a list. */
export function textAt({ bytes, starts, ends }: GgufTexts, i: number): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(starts[i], ends[i]));
}

export function isTexts(value: GgufValue | undefined): value is GgufTexts {
  return typeof value === 'object' && 'starts' in value;
}

export function isNumbers(value: GgufValue | undefined): value is GgufNumbers {
  return typeof value === 'object' && 'numbers' in value;
}
