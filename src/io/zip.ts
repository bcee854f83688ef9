// Zip archives whose entries are stored as they are, as PyTorch writes them: a reader of the central directory (zip64 too) that tells
// where each entry's bytes lie, and a writer that streams. Nothing is inflated: an entry that is compressed is refused.

import { InputError } from '../errors.js';
import type { ByteSink, ByteSource, Piece } from './bytes.js';
import { crc32 } from './crc32.js';
import { decodeUtf8, quoted } from './json.js';

const endSignature = 0x06054b50;
const end64Signature = 0x06064b50;
const locatorSignature = 0x07064b50;
const entrySignature = 0x02014b50;
const localSignature = 0x04034b50;
const descriptorSignature = 0x08074b50;
const unknown32 = 0xffffffff;
const maxEntries = 1 << 17;
/** The longest comment behind the end record. */
const longestEnd = 22 + 0xffff;

/** The entries by name. Throws `InputError` when the archive is damaged, cut, or an entry is compressed. */
export async function readZip(source: ByteSource): Promise<Map<string, Piece>> {
  const { name: file, size } = source;
  const damaged = (what: string): InputError => new InputError(`${file}: damaged, or cut short: ${what}`);
  const tailStart = Math.max(0, size - longestEnd);
  const tail = viewOf(await source.read(tailStart, size - tailStart));
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== endSignature) at--;
  if (at < 0) throw damaged('the zip archive has no end record');
  let count = tail.getUint16(at + 10, true);
  let length = tail.getUint32(at + 12, true);
  let start = tail.getUint32(at + 16, true);
  if (at >= 20 && tail.getUint32(at - 20, true) === locatorSignature) {
    const position = Number(tail.getBigUint64(at - 12, true));
    if (!(position + 56 <= size)) throw damaged('its zip64 end record lies outside the file');
    const end = viewOf(await source.read(position, 56));
    if (end.getUint32(0, true) !== end64Signature) throw damaged('there is no zip64 end record where it should be');
    count = Number(end.getBigUint64(32, true));
    length = Number(end.getBigUint64(40, true));
    start = Number(end.getBigUint64(48, true));
  }
  if (!(start + length <= size) || !(count * 46 <= length) || count > maxEntries)
    throw damaged('its directory lies outside the file');
  const directory = viewOf(await source.read(start, length));
  const entries: [name: string, offset: number, bytes: number][] = [];
  for (let i = 0, from = 0; i < count; i++) {
    if (from + 46 > length || directory.getUint32(from, true) !== entrySignature) throw damaged(`entry ${i} of its directory`);
    const nameLength = directory.getUint16(from + 28, true);
    const extraLength = directory.getUint16(from + 30, true);
    const next = from + 46 + nameLength + extraLength + directory.getUint16(from + 32, true);
    if (next > length) throw damaged(`entry ${i} of its directory`);
    const name = decodeUtf8(bytesOf(directory, from + 46, nameLength), `${file}: the name of entry ${i}`);
    const extra = extraNumbers(directory, from + 46 + nameLength, extraLength);
    const number = (place: number): number => {
      const value = directory.getUint32(from + place, true);
      return value === unknown32 ? (extra.shift() ?? value) : value;
    };
    const bytes = number(24);
    const packed = number(20);
    const offset = number(42);
    if (directory.getUint16(from + 10, true) !== 0 || packed !== bytes) {
      throw new InputError(`${file}: its entry ${quoted(name)} is compressed; PyTorch's files hold them as they are`);
    }
    entries.push([name, offset, bytes]);
    from = next;
  }
  const found = new Map<string, Piece>();
  for (const [name, offset, bytes] of entries) {
    if (found.has(name)) throw new InputError(`${file}: the entry ${quoted(name)} comes twice`);
    if (!(offset + 30 <= size)) throw damaged(`entry ${quoted(name)} lies outside the file`);
    const header = viewOf(await source.read(offset, 30));
    if (header.getUint32(0, true) !== localSignature) throw damaged(`there is no entry ${quoted(name)} where it should be`);
    const begin = offset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    if (!(begin + bytes <= size)) throw damaged(`entry ${quoted(name)} lies outside the file`);
    found.set(name, { source, offset: begin, bytes });
  }
  return found;
}

/** The 64-bit numbers of the zip64 field, in the order of what they stand for. */
function extraNumbers(view: DataView, start: number, length: number): number[] {
  for (let at = start; at + 4 <= start + length; ) {
    const size = view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 1) {
      const count = Math.floor(Math.min(size, start + length - at - 4) / 8);
      return Array.from({ length: count }, (_, i) => Number(view.getBigUint64(at + 4 + 8 * i, true)));
    }
    at += 4 + size;
  }
  return [];
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(view: DataView, start: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + start, length);
}

/** An entry to write: its bytes in chunks of any size. */
export interface ZipEntry {
  readonly name: string;
  data(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const alignment = 64;
const paddingField = 0x4246; // FB, as PyTorch names it
const utf8 = new TextEncoder();
const streamed = 0x0808; // sizes behind the data, names in UTF-8

/** Writes an archive, each entry's data at a multiple of 64 bytes as PyTorch does; an entry is shorter than 4 GiB, the archive as long as it gets. */
export async function writeZip(sink: ByteSink, entries: Iterable<ZipEntry>): Promise<void> {
  let position = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    position += bytes.byteLength;
    await sink.write(bytes);
  };
  const directory: Uint8Array[] = [];
  for (const { name, data } of entries) {
    const encoded = utf8.encode(name);
    const offset = position;
    const padding = (alignment - ((offset + 30 + encoded.length + 4) % alignment)) % alignment;
    const extra = record([paddingField, 2], [padding, 2], new Uint8Array(padding).fill(0x5a));
    await put(
      record(
        [localSignature, 4],
        [0, 2],
        [streamed, 2],
        [0, 2],
        [0, 4],
        [0, 4],
        [0, 4],
        [0, 4],
        [encoded.length, 2],
        [extra.length, 2],
        encoded,
        extra,
      ),
    );
    let crc = 0;
    let bytes = 0;
    for await (const chunk of data()) {
      crc = crc32(chunk, crc);
      bytes += chunk.byteLength;
      await put(chunk);
    }
    if (bytes >= unknown32) throw new InputError(`${name}: ${bytes} bytes are too many for one entry of a zip archive`);
    await put(record([descriptorSignature, 4], [crc, 4], [bytes, 4], [bytes, 4]));
    const far = offset >= unknown32 ? record([1, 2], [8, 2], [offset, 8]) : new Uint8Array(0);
    directory.push(
      record([entrySignature, 4], [45, 2], [45, 2], [streamed, 2], [0, 2], [0, 4], [crc, 4], [bytes, 4], [bytes, 4]),
      record(
        [encoded.length, 2],
        [far.length, 2],
        [0, 2],
        [0, 2],
        [0, 2],
        [0, 4],
        [Math.min(offset, unknown32), 4],
        encoded,
        far,
      ),
    );
  }
  const start = position;
  for (const part of directory) await put(part);
  const length = position - start;
  const count = directory.length / 2;
  await put(
    record([end64Signature, 4], [44, 8], [45, 2], [45, 2], [0, 4], [0, 4], [count, 8], [count, 8], [length, 8], [start, 8]),
  );
  await put(record([locatorSignature, 4], [0, 4], [start + length, 8], [1, 4]));
  const few = Math.min(count, 0xffff);
  await put(record([endSignature, 4], [0, 4], [few, 2], [few, 2], [length, 4], [Math.min(start, unknown32), 4], [0, 2]));
}

/** Little-endian numbers as [value, bytes], and bytes as they are. */
function record(...parts: ([value: number, bytes: 2 | 4 | 8] | Uint8Array)[]): Uint8Array {
  const out: number[] = [];
  for (const part of parts) {
    if (part instanceof Uint8Array) out.push(...part);
    else for (let [rest, i] = [part[0], 0]; i < part[1]; i++, rest = Math.floor(rest / 256)) out.push(rest % 256);
  }
  return Uint8Array.from(out);
}
