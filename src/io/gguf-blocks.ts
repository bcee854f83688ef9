// GGML's tensor types: their numbers in a GGUF file, how many values a block holds in how many bytes, and the values of a block, as
// ggml-quants.c (`dequantize_row_*`) makes them, every step rounded to f32. Reading only: what is written is in formats/encode.ts.

import { float16ToNumber } from './float16.js';

/** Decodes blocks of a type: `blocks` of them from `bytes` into `out`. */
type DecodeBlocks = (bytes: Uint8Array, blocks: number, out: Float32Array) => void;

export interface BlockType {
  /** Values of a block, along a row, and its bytes. */
  readonly values: number;
  readonly bytes: number;
  /** Absent for what is stored as plain numbers. */
  readonly decode?: DecodeBlocks;
}

const f32 = Math.fround;

function half(bytes: Uint8Array, at: number): number {
  return float16ToNumber(bytes[at] | (bytes[at + 1] << 8));
}

/** Blocks of 32: an f16 scale, perhaps an f16 minimum, perhaps fifth bits, and nibbles of value i beside value i + 16. */
function nibbles({ minimum, fifth }: { minimum: boolean; fifth: boolean }): DecodeBlocks {
  const codesAt = 2 + (minimum ? 2 : 0) + (fifth ? 4 : 0);
  const size = codesAt + 16;
  const zero = minimum ? 0 : fifth ? 16 : 8;
  return (bytes, blocks, out) => {
    for (let block = 0; block < blocks; block++) {
      const at = block * size;
      const scale = half(bytes, at);
      const least = minimum ? half(bytes, at + 2) : -0; // adding it changes nothing
      const high = at + codesAt - 4;
      const bits = fifth ? bytes[high] | (bytes[high + 1] << 8) | (bytes[high + 2] << 16) | (bytes[high + 3] << 24) : 0;
      for (let i = 0; i < 16; i++) {
        const pair = bytes[at + codesAt + i];
        const low = (pair & 15) | (((bits >>> i) & 1) << 4);
        const top = (pair >> 4) | (((bits >>> (i + 16)) & 1) << 4);
        out[block * 32 + i] = f32((low - zero) * scale) + least;
        out[block * 32 + i + 16] = f32((top - zero) * scale) + least;
      }
    }
  };
}

function decodeQ8(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < blocks; block++) {
    const at = block * 34;
    const scale = half(bytes, at);
    for (let i = 0; i < 32; i++) out[block * 32 + i] = codes[at + 2 + i] * scale;
  }
}

const iq4Values = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

function decodeIq4(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0; block < blocks; block++) {
    const at = block * 18;
    const scale = half(bytes, at);
    for (let i = 0; i < 16; i++) {
      out[block * 32 + i] = scale * iq4Values[bytes[at + 2 + i] & 15];
      out[block * 32 + i + 16] = scale * iq4Values[bytes[at + 2 + i] >> 4];
    }
  }
}

/** 16 groups of 16; a byte holds a group's 4-bit scale and 4-bit minimum. */
function decodeQ2K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0; block < blocks; block++) {
    const at = block * 84;
    const d = half(bytes, at + 80);
    const least = half(bytes, at + 82);
    for (let group = 0; group < 16; group++) {
      const packed = bytes[at + group];
      const scale = f32(d * (packed & 15));
      const minimum = f32(least * (packed >> 4));
      const [codes, shift] = twoBits(at + 16, group);
      for (let i = 0; i < 16; i++) {
        out[block * 256 + group * 16 + i] = f32(scale * ((bytes[codes + i] >> shift) & 3)) - minimum;
      }
    }
  }
}

/** Where the two bits of a group of 16 lie: bytes of 32 values each, four times over, in either half. */
function twoBits(codes: number, group: number): [at: number, shift: number] {
  return [codes + (group >> 3) * 32 + (group & 1) * 16, ((group >> 1) & 3) * 2];
}

/** 16 groups of 16 with 6-bit scales; a third bit of each value, inverted, in a mask of its own. */
function decodeQ3K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0; block < blocks; block++) {
    const at = block * 110;
    const d = half(bytes, at + 108);
    for (let group = 0; group < 16; group++) {
      const scales = at + 96;
      const low = group < 8 ? bytes[scales + group] & 15 : bytes[scales + group - 8] >> 4;
      const high = (bytes[scales + 8 + (group & 3)] >> (2 * (group >> 2))) & 3;
      const scale = f32(d * ((low | (high << 4)) - 32));
      const [codes, shift] = twoBits(at + 32, group);
      const mask = 1 << (group >> 1);
      for (let i = 0; i < 16; i++) {
        const third = bytes[at + (group & 1) * 16 + i] & mask ? 0 : 4;
        out[block * 256 + group * 16 + i] = scale * (((bytes[codes + i] >> shift) & 3) - third);
      }
    }
  }
}

/** Scale and minimum (to be taken away) of a group of a superblock: 6-bit codes times the block's own two (ggml's `get_scale_min_k4`). */
export function superBlockFactors(bytes: Uint8Array, at: number, group: number): [scale: number, minimum: number] {
  const j = at + 4 + group;
  const code = group < 4 ? bytes[j] & 63 : (bytes[j + 4] & 15) | ((bytes[j - 4] >> 6) << 4);
  const minimumCode = group < 4 ? bytes[j + 4] & 63 : (bytes[j + 4] >> 4) | ((bytes[j] >> 6) << 4);
  return [f32(half(bytes, at) * code), f32(half(bytes, at + 2) * minimumCode)];
}

/** 8 groups of 32 with 6-bit scales and minima; Q5_K has fifth bits before the nibbles. */
function sixBitScales(fifth: boolean): DecodeBlocks {
  const size = fifth ? 176 : 144;
  return (bytes, blocks, out) => {
    for (let block = 0; block < blocks; block++) {
      const at = block * size;
      for (let group = 0; group < 8; group++) {
        const [scale, minimum] = superBlockFactors(bytes, at, group);
        const codes = at + size - 128 + (group >> 1) * 32;
        const shift = (group & 1) * 4;
        for (let i = 0; i < 32; i++) {
          const high = fifth ? ((bytes[at + 16 + i] >> group) & 1) << 4 : 0;
          out[block * 256 + group * 32 + i] = f32(scale * (((bytes[codes + i] >> shift) & 15) | high)) - minimum;
        }
      }
    }
  };
}

/** 16 groups of 16 with 8-bit scales; four bits and two bits of each value. */
function decodeQ6K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block < blocks; block++) {
    const at = block * 210;
    const d = half(bytes, at + 208);
    for (let group = 0; group < 16; group++) {
      const scale = f32(d * signed[at + 192 + group]);
      const quarter = (group >> 1) & 3;
      const within = (group & 1) * 16;
      const low = at + (group >> 3) * 64 + (quarter & 1) * 32 + within;
      const high = at + 128 + (group >> 3) * 32 + within;
      for (let i = 0; i < 16; i++) {
        const code = ((bytes[low + i] >> ((quarter >> 1) * 4)) & 15) | (((bytes[high + i] >> (quarter * 2)) & 3) << 4);
        out[block * 256 + group * 16 + i] = scale * (code - 32);
      }
    }
  }
}

/** Types by name. `F32`, `F16` and `BF16` are plain numbers. */
export const blockTypes = {
  F32: { values: 1, bytes: 4 },
  F16: { values: 1, bytes: 2 },
  BF16: { values: 1, bytes: 2 },
  Q8_0: { values: 32, bytes: 34, decode: decodeQ8 },
  Q4_0: { values: 32, bytes: 18, decode: nibbles({ minimum: false, fifth: false }) },
  Q4_1: { values: 32, bytes: 20, decode: nibbles({ minimum: true, fifth: false }) },
  Q5_0: { values: 32, bytes: 22, decode: nibbles({ minimum: false, fifth: true }) },
  Q5_1: { values: 32, bytes: 24, decode: nibbles({ minimum: true, fifth: true }) },
  IQ4_NL: { values: 32, bytes: 18, decode: decodeIq4 },
  Q2_K: { values: 256, bytes: 84, decode: decodeQ2K },
  Q3_K: { values: 256, bytes: 110, decode: decodeQ3K },
  Q4_K: { values: 256, bytes: 144, decode: sixBitScales(false) },
  Q5_K: { values: 256, bytes: 176, decode: sixBitScales(true) },
  Q6_K: { values: 256, bytes: 210, decode: decodeQ6K },
} as const satisfies Record<string, BlockType>;

/** A type that is read, by GGML's name. */
export type BlockName = keyof typeof blockTypes;

/** Fills `out` with the blocks of numbers, whose bytes are aligned, and returns it. */
export type EncodeBlocks = (
  type: 'Q8_0' | 'Q4_0',
  dtype: 'F32' | 'F16' | 'BF16',
  numbers: Uint8Array,
  out: Uint8Array,
) => Uint8Array | Promise<Uint8Array>;

/** GGML's numbers of its types (enum ggml_type), of those that are not read too, so that they can be named. */
export const typeNumbers: Readonly<Record<number, string>> = {
  ...{ 0: 'F32', 1: 'F16', 2: 'Q4_0', 3: 'Q4_1', 6: 'Q5_0', 7: 'Q5_1', 8: 'Q8_0', 9: 'Q8_1' },
  ...{ 10: 'Q2_K', 11: 'Q3_K', 12: 'Q4_K', 13: 'Q5_K', 14: 'Q6_K', 15: 'Q8_K' },
  ...{ 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S', 20: 'IQ4_NL', 21: 'IQ3_S', 22: 'IQ2_S', 23: 'IQ4_XS' },
  ...{ 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64', 29: 'IQ1_M', 30: 'BF16' },
  ...{ 34: 'TQ1_0', 35: 'TQ2_0', 39: 'MXFP4', 40: 'NVFP4' },
};

/** Whether a type is read. */
export function isBlockName(name: string): name is BlockName {
  return Object.hasOwn(blockTypes, name);
}
