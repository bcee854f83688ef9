import { describe, expect, it } from 'vitest';
import { Packer, packedRow, type Row, rowOf, type Sequence } from '../../src/data/rows.js';

const options = { length: 4, padId: 99, ignoreIndex: -100 };
const sequence = (document: string, ...tokens: number[]) => ({ tokens: Int32Array.from(tokens), document });
const plain = (row: Row | undefined) =>
  row && { samples: [...row.samples], targets: [...row.targets], sequences: row.sequences, documents: row.documents };

const packed = (stretches: readonly Sequence[] | undefined) => stretches && plain(packedRow(stretches, options));

describe('rowOf', () => {
  it('pads a short sequence: its last token has no target', () => {
    expect(plain(rowOf(sequence('a', 1, 5, 2), options))).toEqual({
      samples: [1, 5, 2, 99],
      targets: [5, 2, -100, -100],
      sequences: [[0, 3]],
      documents: ['a'],
    });
  });

  it('cuts a long one after the token that is the last target', () => {
    const row = plain(rowOf(sequence('a', 1, 5, 6, 7, 8, 9), options));
    expect(row).toMatchObject({ samples: [1, 5, 6, 7], targets: [5, 6, 7, 8], sequences: [[0, 4]] });
  });
});

describe('Packer', () => {
  it('fills rows without a gap, and goes on with a long sequence in the next row', async () => {
    const queue = [sequence('a', 1, 5, 2), sequence('one', 1), sequence('b', 1, 6, 7, 8, 9, 2), sequence('c', 1, 2)];
    const packer = new Packer(options.length);
    const draw = async () => queue.shift();
    expect(packed(await packer.next(draw))).toEqual({
      samples: [1, 5, 1, 6],
      targets: [5, 2, 6, 7],
      sequences: [
        [0, 2],
        [2, 2],
      ],
      documents: ['a', 'b'],
    });
    const again = new Packer(options.length, packer.state());
    const rest = [...queue];
    const expected = {
      samples: [7, 8, 9, 1],
      targets: [8, 9, 2, 2],
      sequences: [
        [0, 3],
        [3, 1],
      ],
      documents: ['b', 'c'],
    };
    expect(packed(await packer.next(draw))).toEqual(expected);
    expect(packed(await again.next(async () => rest.shift()))).toEqual(expected);
    expect(packer.state()).toBeUndefined();
    expect(await packer.next(draw)).toBeUndefined();
  });

  it('pads the last row', async () => {
    const queue = [sequence('a', 1, 5, 2)];
    const row = await new Packer(options.length).next(async () => queue.shift());
    expect(packed(row)).toMatchObject({ samples: [1, 5, 99, 99], targets: [5, 2, -100, -100], sequences: [[0, 2]] });
  });
});
