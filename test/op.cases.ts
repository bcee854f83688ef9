// The conformance suite's cases for the ops that a forward pass needs, of many shapes, and what of their data must be refused. Those of
// training are gradient.cases.ts and adapter.cases.ts; the suite itself is backend.suite.ts.

import { cacheTypes } from '../src/model/parameters.js';
import { type Case, type Failure, randomFloats, storedBlocks, storedCodes, storedMatrix } from './op-bench.js';
import { inputsOf, isAffine, isQuantized, weightTypes } from './weight-types.js';

const exact = 0;
const rounding = 2e-6;

export const opCases: Case[] = [];
for (const dtype of weightTypes) {
  opCases.push({
    op: 'embedding',
    name: `${dtype}, odd width and last panel`,
    tolerance: exact,
    build: async (b) =>
      b.output(b.ops.embedding(await b.weight(37, inputsOf(dtype, 50), dtype, 1), b.ints(0, 36, 5, 16, 5, 31), 6)),
  });
  // Rows below, at and above the tiles; inputs that fill no group; outputs that fill no panel.
  for (const [rows, some, outputs] of [
    [1, 64, 48],
    [1, 1280, 640],
    [1, 50, 37],
    [2, 96, 32],
    [3, 33, 17],
    [5, 256, 100],
    [6, 64, 16],
    [7, 160, 80],
    [12, 100, 64],
    [13, 352, 144],
    [61, 128, 48],
    [200, 96, 320],
  ]) {
    const inputs = inputsOf(dtype, some);
    if (isAffine(dtype) && rows * inputs * outputs > 7e5) continue; // large ones say nothing new
    for (const int8 of isQuantized(dtype) ? [false, true] : [false]) {
      opCases.push({
        op: 'linear',
        name: `${dtype}${int8 ? ', int8 activations' : ''}, ${rows} x ${inputs} x ${outputs}`,
        tolerance: rounding,
        build: async (b) => {
          const x = b.floats(rows, inputs, 3);
          const weight = await b.weight(outputs, inputs, dtype, 4);
          b.output(b.ops.linear(x, weight, { int8, residual: rows % 2 ? b.floats(rows, outputs, 5) : undefined }));
        },
      });
    }
  }
}
opCases.push({
  op: 'linear',
  name: 'fewer rows than planned, into a persistent buffer',
  tolerance: rounding,
  build: async (b) => {
    const x = { ...b.floats(20, 64, 6), rows: b.size(9, 20) };
    const into = b.backend.create('f32', [20, 24]);
    b.ops.linear(x, await b.weight(24, 64, 'f16', 7), { into });
    b.result(into, 9 * 24);
  },
});
for (const columns of [1, 12, 96, 1280, 3072]) {
  opCases.push({
    op: 'rmsNorm',
    name: `${columns} columns`,
    tolerance: rounding,
    build: (b) => b.output(b.ops.rmsNorm(b.floats(5, columns, 8), b.vector(columns, 9), 1e-6)),
  });
}
for (const dtype of cacheTypes) {
  for (const [queryHeads, kvHeads, headDim, normed] of [
    [4, 1, 16, true],
    [12, 3, 64, true],
    [4, 4, 12, false],
    [6, 2, 128, true],
    [2, 1, 2, false],
  ] as const) {
    opCases.push({
      op: 'qkNormRope',
      name: `${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype} cache${normed ? '' : ', no norms'}`,
      // In an f16 cache one rounding to the other side is 2^-11, in one of 8 bits 1/127.
      tolerance: { f32: rounding, f16: 2 ** -10, q8: 2 ** -7 }[dtype],
      build: (b) => {
        const qkv = b.floats(4, (queryHeads + 2 * kvHeads) * headDim, 10);
        const norms = normed ? { query: b.vector(headDim, 11), key: b.vector(headDim, 12) } : undefined;
        const rope = b.floats(30, headDim, 13).buffer;
        const cache = b.cache(20, kvHeads, headDim, dtype, 14);
        const heads = { queryHeads, kvHeads, headDim };
        const [positions, kvRows] = [b.ints(29, 0, 7, 8), b.ints(19, 3, 4, 0)];
        b.output(b.ops.qkNormRope(qkv, heads, cache, { positions, kvRows, rope, norms, eps: 1e-6 }));
        if (dtype === 'f32') for (const buffer of [cache.keys, cache.values]) b.result(buffer);
        else {
          // Read back through attention, which is how such rows are used.
          const one = b.floats(1, queryHeads * headDim, 15);
          const ragged = { sequences: b.ints(0, 1, 0, 1), sequenceCount: 1, segments: b.ints(0, 20), segmentCount: 1 };
          b.output(b.ops.attention(one, heads, cache, ragged));
        }
      },
    });
  }
  for (const [queryHeads, kvHeads, headDim] of [
    [4, 1, 16],
    [12, 3, 64],
    [8, 8, 12],
    [8, 2, 128],
    [6, 2, 40],
  ] as const) {
    const heads = { queryHeads, kvHeads, headDim };
    const width = queryHeads * headDim;
    opCases.push(
      {
        op: 'attention',
        name: `${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype}: one row, long past in three segments`,
        tolerance: rounding,
        build: (b) =>
          b.output(
            b.ops.attention(b.floats(1, width, 16), heads, b.cache(1400, kvHeads, headDim, dtype, 17), {
              sequences: b.ints(0, 1, 0, 3),
              sequenceCount: 1,
              segments: b.ints(700, 601, 0, 33, 1399, 1),
              segmentCount: 3,
            }),
          ),
      },
      {
        op: 'attention',
        name: `${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype}: ragged, shared prefix, dynamic sizes`,
        tolerance: rounding,
        build: (b) => {
          const query = { ...b.floats(90, width, 18), rows: b.size(83, 90) };
          const out = b.ops.attention(query, heads, b.cache(400, kvHeads, headDim, dtype, 20), {
            // Rows 0..69 with 40 keys of past; one row on the prefix (0, 40) and itself; 12 rows with no past.
            sequences: b.ints(0, 70, 0, 2, 70, 1, 2, 2, 71, 12, 4, 1, 0, 0, 0, 0),
            sequenceCount: b.size(3, 4),
            segments: b.ints(0, 40, 100, 70, 0, 40, 399, 1, 200, 12, 0, 0),
            segmentCount: b.size(5, 6),
          });
          const into = b.backend.create('f32', [90, width]);
          b.ops.copy(out, into);
          b.result(into, 83 * width);
        },
      },
    );
  }
}
opCases.push(
  {
    op: 'qkNormRope',
    name: 'what is not finite stays so in an 8-bit cache, and tiny numbers are none',
    tolerance: 2 ** -7,
    build: (b) => {
      const heads = { queryHeads: 4, kvHeads: 2, headDim: 12 };
      const qkv = b.floats(3, 8 * 12, 10);
      // A key of the first head in row 0, a value of the second in row 1.
      b.backend.write(qkv.buffer, Float32Array.of(Number.POSITIVE_INFINITY), 4 * 12 + 11);
      b.backend.write(qkv.buffer, Float32Array.of(Number.NaN), 96 + 7 * 12 + 3);
      b.backend.write(qkv.buffer, new Float32Array(24).fill(1e-39), 2 * 96 + 6 * 12);
      const cache = b.cache(3, 2, 12, 'q8', 14);
      const rope = b.floats(3, 12, 13).buffer;
      b.ops.qkNormRope(qkv, heads, cache, { positions: b.ints(0, 1, 2), kvRows: b.ints(0, 1, 2), rope, eps: 1e-6 });
      for (const row of [0, 1, 2]) {
        const ragged = { sequences: b.ints(0, 1, 0, 1), sequenceCount: 1, segments: b.ints(row, 1), segmentCount: 1 };
        b.output(b.ops.attention(b.floats(1, 48, 15 + row), heads, cache, ragged));
      }
    },
  },
  { op: 'swiglu', name: 'odd width', tolerance: rounding, build: (b) => b.output(b.ops.swiglu(b.floats(3, 2 * 77, 22))) },
  {
    op: 'silu',
    name: 'small and large arguments',
    tolerance: rounding,
    build: (b) => {
      const x = b.floats(4, 33, 23);
      b.backend.write(x.buffer, Float32Array.of(-200, -88.5, -20, -1e-8, 0, 1e-8, 20, 88.5, 200));
      b.output(b.ops.silu(x));
    },
  },
  {
    op: 'gatherRows',
    name: 'repeated and last row',
    tolerance: exact,
    build: (b) => b.output(b.ops.gatherRows(b.floats(9, 41, 24), b.ints(8, 0, 3, 3), 4)),
  },
  {
    op: 'argmax',
    name: 'ties go to the first',
    tolerance: exact,
    build: (b) => {
      const x = b.floats(4, 101, 25);
      b.backend.write(x.buffer, Float32Array.of(9, 9), 50);
      b.backend.write(x.buffer, Float32Array.of(9, 9), 101 + 99);
      b.backend.write(x.buffer, new Float32Array(101).fill(-1e30), 202);
      const into = b.backend.create('i32', [4]);
      b.ops.argmax(x, into);
      b.result(into);
    },
  },
  {
    op: 'argmax',
    name: 'what is not finite is told by -1',
    tolerance: exact,
    build: (b) => {
      const x = b.floats(5, 101, 25);
      for (const [row, column, value] of [
        [0, 0, Number.NaN],
        [1, 100, Number.NaN],
        [2, 50, Number.POSITIVE_INFINITY],
        [3, 99, Number.NEGATIVE_INFINITY],
      ])
        b.backend.write(x.buffer, Float32Array.of(value), row * 101 + column);
      const into = b.backend.create('i32', [5]);
      b.ops.argmax(x, into);
      b.result(into);
    },
  },
  ...(['f32', 'f16', 'bf16', 'q8', 'q4'] as const).map(
    (dtype): Case => ({
      op: 'embedding',
      name: `${dtype} weights that are not numbers stay so`,
      tolerance: rounding,
      build: async (b) => {
        const values = randomFloats(20 * 64, 29).slice();
        values[64 + 5] = Number.NaN;
        const table = await b.backend.upload(storedMatrix(values, [20, 64]), dtype);
        b.output(b.ops.embedding(table, b.ints(0, 1), 2));
        b.output(b.ops.linear(b.floats(2, 64, 30), table, { int8: true }));
      },
    }),
  ),
  {
    op: 'embedding',
    name: 'affine4 minimums that are not numbers stay so',
    tolerance: rounding,
    build: async (b) => {
      const whole = storedCodes(20, 64, 4, 29);
      const minimums = storedMatrix(Float32Array.of(...Array(20).fill(0.5)).fill(Number.NaN, 1, 2), [20, 1]);
      const table = await b.backend.upload({ ...whole, affine: { ...whole.affine!, minimums } }, 'affine4');
      b.output(b.ops.embedding(table, b.ints(0, 1), 2));
      b.output(b.ops.linear(b.floats(2, 64, 30), table, { int8: true }));
    },
  },
  ...(['Q8_0', 'Q4_0'] as const).flatMap((type) =>
    [20, 48].map(
      (rows): Case => ({
        op: 'embedding',
        name: `${rows} rows of ${type} blocks are taken as they are`,
        tolerance: rounding,
        build: async (b) => {
          const table = await b.backend.upload(storedBlocks(rows, 96, type, 31), type === 'Q8_0' ? 'q8' : 'q4');
          b.output(b.ops.embedding(table, b.ints(0, 1, 15, 16, rows - 1), 5));
          for (const int8 of [true, false]) b.output(b.ops.linear(b.floats(2, 96, 32), table, { int8 }));
        },
      }),
    ),
  ),
  {
    op: 'tokenLogprob',
    name: 'with one dominating logit',
    tolerance: rounding,
    build: (b) => {
      const x = b.floats(3, 32007, 26);
      b.backend.write(x.buffer, Float32Array.of(120), 32007);
      const into = b.backend.create('f32', [3]);
      b.ops.tokenLogprob(x, b.ints(5, 7, 32006), into);
      b.result(into);
    },
  },
  { op: 'copy', name: 'plain', tolerance: exact, build: (b) => b.output(b.floats(7, 19, 27)) },
  ...([19, 64] as const).map(
    (columns): Case => ({
      op: columns === 64 ? 'unpackInt16' : 'packInt16',
      name: `there and back, ${columns} columns`,
      tolerance: exact,
      build: (b) => {
        const x = b.floats(7, columns, 28);
        // A tie, to even, beside what sets the scale; a group of nothing; the smallest, which become nothing.
        b.backend.write(x.buffer, Float32Array.of(32767, 0.5, 1.5, -2.5));
        b.backend.write(x.buffer, new Float32Array(columns), columns);
        b.backend.write(x.buffer, new Float32Array(columns).fill(1e-40), 2 * columns);
        const packed = b.ops.packInt16(x);
        b.output(b.ops.unpackInt16(packed, 7, columns));
      },
    }),
  ),
);

export const opFailures: Failure[] = [
  {
    name: 'id past the table',
    op: 'embedding',
    build: async (b) => b.output(b.ops.embedding(await b.weight(16, 32, 'f32', 1), b.ints(3, 16), 2)),
  },
  { name: 'negative row', op: 'gatherRows', build: (b) => b.output(b.ops.gatherRows(b.floats(4, 8, 1), b.ints(-1), 1)) },
  {
    name: 'segment past the cache',
    op: 'attention',
    build: (b) =>
      b.output(
        b.ops.attention(b.floats(1, 64, 1), { queryHeads: 4, kvHeads: 1, headDim: 16 }, b.cache(8, 1, 16, 'f32', 2), {
          sequences: b.ints(0, 1, 0, 1),
          sequenceCount: 1,
          segments: b.ints(2, 7),
          segmentCount: 1,
        }),
      ),
  },
  {
    name: 'fewer keys than rows',
    op: 'attention',
    build: (b) =>
      b.output(
        b.ops.attention(b.floats(3, 64, 1), { queryHeads: 4, kvHeads: 1, headDim: 16 }, b.cache(8, 1, 16, 'f32', 2), {
          sequences: b.ints(0, 3, 0, 1),
          sequenceCount: 1,
          segments: b.ints(0, 2),
          segmentCount: 1,
        }),
      ),
  },
  {
    name: 'position past the rope table',
    op: 'qkNormRope',
    build: (b) =>
      b.output(
        b.ops.qkNormRope(b.floats(1, 96, 1), { queryHeads: 4, kvHeads: 1, headDim: 16 }, b.cache(8, 1, 16, 'f32', 3), {
          ...{ positions: b.ints(4), kvRows: b.ints(0), rope: b.floats(4, 16, 2).buffer },
          eps: 1e-6,
        }),
      ),
  },
  {
    name: 'target past the vocabulary',
    op: 'tokenLogprob',
    build: (b) => b.ops.tokenLogprob(b.floats(1, 10, 1), b.ints(10), b.backend.create('f32', [1])),
  },
];
