// A reader of protobuf wire format over a range of bytes, as much of it as SentencePiece's model file needs. Every length is
// checked against the enclosing range before use; it allocates nothing. Groups (long deprecated) are refused.

import { InputError } from '../errors.js';

/** Wire types. */
export const Wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Walks the fields of one message: call `next`, look at `field`, then take the value as what the message's definition says it is. */
export class ProtoReader {
  field = 0;
  wire = 0;
  /** The value of a varint field (exact up to 2^53). */
  value = 0;
  /** The bytes [start, end) of a length-delimited or fixed field's value. */
  start = 0;
  end = 0;
  private at = 0;
  private limit = 0;
  private readonly view: DataView;
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(
    readonly bytes: Uint8Array,
    readonly name: string,
  ) {
    this.limit = bytes.length;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Starts over at a message in [start, end), which must lie within the bytes. */
  open(start: number, end: number): this {
    this.at = start;
    this.limit = end;
    return this;
  }

  /** Reads the next field; false at the message's end. */
  next(): boolean {
    if (this.at >= this.limit) return false;
    const tag = this.varint();
    this.field = Math.floor(tag / 8);
    this.wire = tag % 8;
    if (this.field === 0 || tag > 0xffffffff) this.fail(`field number ${this.field}`);
    if (this.wire === Wire.varint) {
      this.value = this.varint();
      return true;
    }
    let length = 0;
    if (this.wire === Wire.bytes) length = this.varint();
    else if (this.wire === Wire.fixed32) length = 4;
    else if (this.wire === Wire.fixed64) length = 8;
    else this.fail(`wire type ${this.wire}`);
    if (length > this.limit - this.at) this.fail(`a field of ${length} bytes where ${this.limit - this.at} are left`);
    this.start = this.at;
    this.end = this.at = this.at + length;
    return true;
  }

  /** The current field as an int32 or an enum, a bool, a float, a string. Each throws if it is not of that wire type. */
  int(): number {
    this.expect(Wire.varint);
    return this.value;
  }

  bool(): boolean {
    return this.int() !== 0;
  }

  float(): number {
    this.expect(Wire.fixed32);
    return this.view.getFloat32(this.start, true);
  }

  string(): string {
    this.expect(Wire.bytes);
    return this.decoder.decode(this.bytes.subarray(this.start, this.end));
  }

  /** Throws unless the current field has this wire type. */
  expect(wire: number): void {
    if (this.wire !== wire) this.fail(`wire type ${this.wire} for field ${this.field}, which has ${wire}`);
  }

  private varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.limit) this.fail('a number that is cut off');
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    return this.fail('a number of more than 10 bytes');
  }

  private fail(found: string): never {
    throw new InputError(`${this.name}: ${found} at byte ${this.at}; the file is damaged, or not a SentencePiece model`);
  }
}
