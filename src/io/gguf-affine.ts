// GGUF's blocks that are scale * code + minimum by groups of 32, as the parts that backends take (`AffineParts`): Q4_1, Q5_0 and Q5_1
// exactly, Q4_K and Q5_K but for their scales, products of two numbers that backends round to f16. Parts are made when they are read.

import type { AffineParts, Piece, StoredDType, StoredTensor } from './bytes.js';
import { float16ToNumber, numberToFloat16 } from './float16.js';
import { type BlockName, blockTypes, superBlockFactors } from './gguf-blocks.js';
import { derived } from './pieces.js';

/** Where the parts of a block lie: nibbles, fifth bits (or none), and how factors are told. */
interface Layout {
  readonly nibbles: number;
  readonly fifth?: number;
  /** Groups of a block; 8 in a superblock, whose factors have a scale of their own. */
  readonly groups: 1 | 8;
  /** Of the 32 codes, nibbles pair i with i + 16 in single blocks, and group with group in superblocks. */
  readonly minimum: 'stored' | 'minus 16 scales';
}

const layouts: Partial<Record<BlockName, Layout>> = {
  Q4_1: { nibbles: 4, groups: 1, minimum: 'stored' },
  Q5_0: { nibbles: 6, fifth: 2, groups: 1, minimum: 'minus 16 scales' },
  Q5_1: { nibbles: 8, fifth: 4, groups: 1, minimum: 'stored' },
  Q4_K: { nibbles: 16, groups: 8, minimum: 'stored' },
  Q5_K: { nibbles: 48, fifth: 16, groups: 8, minimum: 'stored' },
};

/** The parts of a matrix of blocks; undefined for types that are no such thing. */
export function affineBlocks(name: string, type: BlockName, shape: readonly number[], blocks: Piece): AffineParts | undefined {
  const layout = layouts[type];
  if (!layout || shape.length !== 2) return undefined;
  const { bytes: size } = blockTypes[type];
  const count = blocks.bytes / size;
  const bits = layout.fifth === undefined ? 4 : 8;
  const part = (dtype: StoredDType, columns: number, groupBytes: number, make: MakePart): StoredTensor => {
    const read = async (first: number, many: number): Promise<Uint8Array> => {
      const data = await blocks.source.read(blocks.offset + first * size, many * size);
      const out = new Uint8Array(many * groupBytes);
      for (let block = 0; block < many; block++) make(data, block * size, out, block * groupBytes, layout);
      return out;
    };
    const source = derived(`${blocks.source.name}: tensor ${name}`, count, groupBytes, read);
    return { name, dtype, shape: [shape[0], columns], source, offset: 0, bytes: source.size };
  };
  const { groups } = layout;
  const codeBytes = 4 * bits * groups;
  const codes = part('U32', (shape[1] * bits) / 32, codeBytes, bits === 4 ? fourBits : fiveBits);
  const isSuper = groups === 8;
  const factor = (which: 0 | 1): StoredTensor => {
    const columns = shape[1] / 32;
    return isSuper ? part('F32', columns, 32, superFactor(which)) : part('F16', columns, 2, singleFactor(which));
  };
  return { bits, group: 32, codes, scales: factor(0), minimums: factor(1) };
}

type MakePart = (data: Uint8Array, at: number, out: Uint8Array, to: number, layout: Layout) => void;

/** Code `i` of group `g`. */
function codeAt(data: Uint8Array, at: number, { nibbles, fifth, groups }: Layout, g: number, i: number): number {
  const isSuper = groups === 8;
  const byte = data[at + nibbles + (isSuper ? (g >> 1) * 32 + i : i & 15)];
  const low = (isSuper ? g & 1 : i >> 4) ? byte >> 4 : byte & 15;
  if (fifth === undefined) return low;
  const high = isSuper ? (data[at + fifth + i] >> g) & 1 : (data[at + fifth + (i >> 3)] >> (i & 7)) & 1;
  return low | (high << 4);
}

const fourBits: MakePart = (data, at, out, to, layout) => {
  for (let g = 0; g < layout.groups; g++) {
    for (let i = 0; i < 32; i += 2) {
      out[to + g * 16 + (i >> 1)] = codeAt(data, at, layout, g, i) | (codeAt(data, at, layout, g, i + 1) << 4);
    }
  }
};

/** A code a byte. */
const fiveBits: MakePart = (data, at, out, to, layout) => {
  for (let g = 0; g < layout.groups; g++) {
    for (let i = 0; i < 32; i++) out[to + g * 32 + i] = codeAt(data, at, layout, g, i);
  }
};

/** The scale (0) or the minimum (1) of a block of 32, as f16. */
const singleFactor =
  (which: 0 | 1): MakePart =>
  (data, at, out, to, { minimum }) => {
    const half = (place: number): number => data[at + place] | (data[at + place + 1] << 8);
    const bits = which === 0 || minimum === 'stored' ? half(2 * which) : numberToFloat16(-16 * float16ToNumber(half(0)));
    out[to] = bits & 255;
    out[to + 1] = bits >> 8;
  };

/** The eight scales (0) or minimums (1) of a superblock, as f32. */
const superFactor =
  (which: 0 | 1): MakePart =>
  (data, at, out, to) => {
    const view = new DataView(out.buffer);
    for (let g = 0; g < 8; g++) {
      const [scale, minimum] = superBlockFactors(data, at, g);
      view.setFloat32(to + 4 * g, which === 0 ? scale : -minimum, true);
    }
  };
