// Writes a GGUF file, version 3: metadata in the order given, then the tensors, each aligned, streamed a piece at a time. It knows the
// container only; keys, names and encodings are in formats/gguf.ts and formats/encode.ts.

import { type ByteSink, elementsOf, exactly } from './bytes.js';
import { valueTypes } from './gguf.js';
import { type BlockName, blockTypes, typeNumbers } from './gguf-blocks.js';
import { withRoom } from './grow.js';

/** A metadata value with its type. */
export type GgufEntry =
  | { readonly type: 'uint32' | 'int32' | 'float32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'int32s' | 'float32s'; readonly value: ArrayLike<number> }
  | { readonly type: 'strings'; readonly value: readonly string[] };

/** A tensor to write: row-major shape. */
export interface GgufSpec {
  readonly name: string;
  readonly type: BlockName;
  readonly shape: readonly number[];
}

const alignment = 32;

/** Bytes that a tensor takes. */
export function ggufBytes({ type, shape }: GgufSpec): number {
  const { values, bytes } = blockTypes[type];
  return (elementsOf(shape) / values) * bytes;
}

/**
 * Writes the whole file. `data` is called for one tensor at a time, in order, and yields its bytes in chunks of any size.
 * Throws `InputError` when they are more or fewer than the tensor takes.
 */
export async function writeGguf<Spec extends GgufSpec>(
  sink: ByteSink,
  metadata: readonly (readonly [key: string, entry: GgufEntry])[],
  tensors: readonly Spec[],
  data: (tensor: Spec) => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  const header = new Writer();
  header.raw([0x47, 0x47, 0x55, 0x46]).uint32(3).uint64(tensors.length).uint64(metadata.length);
  for (const [key, entry] of metadata) header.text(key).entry(entry);
  let offset = 0;
  for (const tensor of tensors) {
    header.text(tensor.name).uint32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) header.uint64(size);
    header.uint32(numberOf(tensor.type)).uint64(offset);
    offset += up(ggufBytes(tensor));
  }
  header.raw(new Uint8Array(up(header.length) - header.length));
  await sink.write(header.bytes());
  for (const tensor of tensors) {
    const expected = ggufBytes(tensor);
    const what = `tensor ${tensor.name}: ${tensor.type} [${tensor.shape}]`;
    for await (const chunk of exactly(what, expected, data(tensor))) await sink.write(chunk);
    if (up(expected) > expected) await sink.write(new Uint8Array(up(expected) - expected));
  }
}

function up(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

const numbers = new Map(Object.entries(typeNumbers).map(([number, name]) => [name, Number(number)]));

function numberOf(type: BlockName): number {
  return numbers.get(type)!;
}

const utf8 = new TextEncoder();

class Writer {
  length = 0;
  private data = new Uint8Array(1 << 16);

  raw(bytes: ArrayLike<number>): this {
    this.data = withRoom(this.data, this.length, bytes.length);
    this.data.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  uint32(value: number): this {
    return this.fixed(4, (view, at) => view.setUint32(at, value, true));
  }

  uint64(value: number): this {
    return this.fixed(8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  }

  text(value: string): this {
    const bytes = utf8.encode(value);
    return this.uint64(bytes.length).raw(bytes);
  }

  entry(entry: GgufEntry): this {
    switch (entry.type) {
      case 'string':
        return this.uint32(valueTypes.string).text(entry.value);
      case 'strings':
        this.uint32(valueTypes.array).uint32(valueTypes.string).uint64(entry.value.length);
        for (const text of entry.value) this.text(text);
        return this;
      case 'bool':
        return this.uint32(valueTypes.bool).raw([entry.value ? 1 : 0]);
      case 'int32s':
      case 'float32s': {
        const type = entry.type === 'int32s' ? 'int32' : 'float32';
        this.uint32(valueTypes.array).uint32(valueTypes[type]).uint64(entry.value.length);
        for (let i = 0; i < entry.value.length; i++) this.number(type, entry.value[i]);
        return this;
      }
      default:
        return this.uint32(valueTypes[entry.type]).number(entry.type, entry.value);
    }
  }

  bytes(): Uint8Array {
    return this.data.subarray(0, this.length);
  }

  private number(type: 'uint32' | 'int32' | 'float32', value: number): this {
    if (type === 'uint32') return this.uint32(value);
    if (type === 'int32') return this.fixed(4, (view, at) => view.setInt32(at, value, true));
    return this.fixed(4, (view, at) => view.setFloat32(at, value, true));
  }

  private fixed(size: number, set: (view: DataView, at: number) => void): this {
    this.data = withRoom(this.data, this.length, size);
    set(new DataView(this.data.buffer), this.length);
    this.length += size;
    return this;
  }
}
