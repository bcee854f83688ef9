// Cases of the conformance suite for what training needs: derivatives, the loss, the optimizer, and matrices as f32 rows. Every
// buffer that is written holds random numbers before: one that is added to must keep them, any other must be written whole.

import type { Dim } from '../src/tensor/backend.js';
import type { HeadShape, Ragged } from '../src/tensor/ops.js';
import type { Bench, Case, Failure } from './op-bench.js';
import { inputsOf, isAffine, weightTypes } from './weight-types.js';

/** A few roundings of sums in f32, relative to the largest magnitude. */
const rounding = 2e-6;

const elementwise = (b: Bench, op: 'swigluGrad' | 'siluGrad', rows: Dim, maxRows: number, columns: number): void => {
  const width = op === 'swigluGrad' ? 2 * columns : columns;
  const [x, dout] = [b.floats(maxRows, width, 1), b.floats(maxRows, columns, 2)];
  b.backend.write(x.buffer, Float32Array.of(-200, -88.5, -20, -1e-8, 0, 1e-8, 20, 88.5, 200));
  b.ops.derivative(op, [x.buffer, dout.buffer], [rows, columns]);
  b.result(x.buffer);
};

export const gradientCases: Case[] = [
  {
    op: 'embedding',
    name: 'f32 rows',
    tolerance: 0,
    build: (b) => b.output(b.ops.embedding(b.floats(37, 50, 1).buffer, b.ints(0, 36, 5, 5), 4)),
  },
  {
    op: 'embeddingGrad',
    name: 'ids again, the padding left out',
    tolerance: rounding,
    build: (b) => {
      const [dout, table] = [b.floats(300, 203, 1), b.floats(11, 203, 2)];
      const ids = b.ints(...Array.from({ length: 300 }, (_, i) => (i * 7) % 11));
      b.ops.derivative('embeddingGrad', [dout.buffer, ids, table.buffer], [b.size(290, 300), 203, 11, 4]);
      b.result(table.buffer);
    },
  },
  {
    op: 'embeddingGrad',
    name: 'id 0 counts when none is skipped',
    tolerance: rounding,
    build: (b) => {
      const [dout, table] = [b.floats(3, 5, 1), b.floats(2, 5, 2)];
      b.ops.derivative('embeddingGrad', [dout.buffer, b.ints(0, 1, 0), table.buffer], [3, 5, 2, 0]);
      b.result(table.buffer);
    },
  },
  { op: 'swigluGrad', name: 'odd width', tolerance: rounding, build: (b) => elementwise(b, 'swigluGrad', 5, 5, 77) },
  { op: 'siluGrad', name: 'odd width', tolerance: rounding, build: (b) => elementwise(b, 'siluGrad', 5, 5, 77) },
  { op: 'siluGrad', name: 'many rows', tolerance: rounding, build: (b) => elementwise(b, 'siluGrad', 200, 200, 130) },
  {
    op: 'globalNorm',
    name: 'clipped',
    tolerance: rounding,
    build: (b) => {
      const norms = b.vector(3, 2);
      b.ops.globalNorm(b.vector(300_007, 1), norms, 0.7);
      b.result(norms);
    },
  },
  {
    op: 'globalNorm',
    name: 'within its bound',
    tolerance: rounding,
    build: (b) => {
      const norms = b.vector(3, 2);
      b.ops.globalNorm(b.vector(9, 1), norms, 100);
      b.result(norms);
    },
  },
  {
    op: 'globalNorm',
    name: 'squares that f32 cannot hold',
    tolerance: rounding,
    build: (b) => {
      const [x, norms] = [b.vector(100, 1), b.vector(3, 2)];
      b.backend.write(x, Float32Array.of(3e30, -4e30));
      b.ops.globalNorm(x, norms, 1e30);
      b.result(norms);
    },
  },
  {
    op: 'globalNorm',
    name: 'not finite',
    tolerance: rounding,
    build: (b) => {
      const [x, norms] = [b.vector(100, 1), b.vector(3, 2)];
      b.backend.write(x, Float32Array.of(Number.NaN), 50);
      b.ops.globalNorm(x, norms, 1);
      b.result(norms);
    },
  },
];

for (const [rows, columns] of [
  [1, 3],
  [5, 12],
  [300, 96],
  [70, 1280],
]) {
  for (const residual of [false, true]) {
    gradientCases.push({
      op: 'rmsNormGrad',
      name: `${rows} x ${columns}${residual ? ', residual' : ''}`,
      tolerance: rounding,
      build: (b) => {
        const [x, dout, dx] = [b.floats(rows, columns, 1), b.floats(rows, columns, 2), b.floats(rows, columns, 3)];
        const [weight, weightGrad] = [b.vector(columns, 4), b.vector(columns, 5)];
        const add = residual ? b.floats(rows, columns, 6).buffer : null;
        b.ops.derivative('rmsNormGrad', [x.buffer, weight, dout.buffer, add, dx.buffer, weightGrad], [rows, columns], [1e-6]);
        b.result(dx.buffer);
        b.result(weightGrad);
      },
    });
  }
}

// Sizes below, at and above tiles, panels, and the blocks that products are cut into; a dynamic number of rows.
for (const [rows, inputs, outputs, maxRows = rows] of [
  [1, 1, 1],
  [1, 64, 48],
  [3, 33, 17],
  [12, 100, 64],
  [13, 400, 37, 40],
  [61, 50, 130],
  [100, 800, 97],
  [385, 31, 260],
  [700, 129, 65, 1000],
  [1, 2, 1000],
  [3, 2100, 40],
  [400, 16, 2100],
  [2100, 20, 9],
]) {
  const sized = (b: Bench): Dim => (maxRows > rows ? b.size(rows, maxRows) : rows);
  const name = `${rows} x ${inputs} x ${outputs}${maxRows > rows ? ` of ${maxRows} rows` : ''}`;
  gradientCases.push({
    op: 'linear',
    name: `f32 rows, ${name}`,
    tolerance: rounding,
    build: (b) => {
      const [x, weight, into] = [b.floats(maxRows, inputs, 1), b.floats(outputs, inputs, 2), b.floats(maxRows, outputs, 3)];
      const residual = rows % 3 === 0 ? into : rows % 2 ? b.floats(maxRows, outputs, 4) : undefined;
      b.ops.linear({ ...x, rows: sized(b) }, weight.buffer, { residual, into: into.buffer });
      b.result(into.buffer);
    },
  });
  for (const residual of [false, true]) {
    gradientCases.push({
      op: 'linearInputGrad',
      name: `${name}${residual ? ', residual' : ''}`,
      tolerance: rounding,
      build: (b) => {
        const [dout, weight, dx] = [b.floats(maxRows, outputs, 1), b.floats(outputs, inputs, 2), b.floats(maxRows, inputs, 3)];
        const add = residual ? b.floats(maxRows, inputs, 4).buffer : null;
        b.ops.derivative('linearInputGrad', [dout.buffer, weight.buffer, add, dx.buffer], [sized(b), inputs, outputs]);
        b.result(dx.buffer);
      },
    });
  }
  gradientCases.push({
    op: 'linearWeightGrad',
    name,
    tolerance: rounding,
    build: (b) => {
      const [dout, x, weightGrad] = [b.floats(maxRows, outputs, 1), b.floats(maxRows, inputs, 2), b.floats(outputs, inputs, 3)];
      b.ops.derivative('linearWeightGrad', [dout.buffer, x.buffer, weightGrad.buffer], [sized(b), inputs, outputs]);
      b.result(weightGrad.buffer);
    },
  });
}

for (const [queryHeads, kvHeads, headDim, normed] of [
  [4, 1, 16, true],
  [12, 3, 64, true],
  [4, 4, 12, false],
  [6, 2, 128, true],
  [2, 1, 2, false],
] as const) {
  for (const trained of normed ? [true, false] : [false]) {
    gradientCases.push({
      op: 'qkNormRopeGrad',
      name: `${queryHeads}/${kvHeads} heads of ${headDim}${normed ? '' : ', no norms'}${trained ? ', trained norms' : ''}`,
      tolerance: rounding,
      build: (b) => {
        const width = (queryHeads + 2 * kvHeads) * headDim;
        const [qkv, dqkv, dquery] = [b.floats(70, width, 1), b.floats(70, width, 2), b.floats(70, queryHeads * headDim, 3)];
        const norms = [4, 5].map((seed) => (normed ? b.vector(headDim, seed) : null));
        const rope = b.floats(90, headDim, 6).buffer;
        const index = Array.from({ length: 70 }, (_, i) => i);
        const indices = [b.ints(...index.map((i) => 89 - i)), b.ints(...index.map((i) => (i * 3) % 100))];
        const { keys, values } = b.cache(100, kvHeads, headDim, 'f32', 7);
        const grads = [9, 10].map((seed) => (trained ? b.vector(headDim, seed) : null));
        b.ops.derivative(
          'qkNormRopeGrad',
          [qkv.buffer, ...norms, rope, ...indices, dquery.buffer, keys, values, dqkv.buffer, ...grads],
          [b.size(67, 70), queryHeads, kvHeads, headDim, 100, 90],
          [1e-6],
        );
        b.result(dqkv.buffer);
        for (const grad of grads) if (grad) b.result(grad);
      },
    });
  }
}

/** How sequences lie in 150 rows and 400 cache rows. */
const layouts: { name: string; rows: number; sequences: number[]; segments: number[] }[] = [
  { name: 'one sequence', rows: 130, sequences: [0, 130, 0, 1], segments: [20, 130] },
  { name: 'one row, long past in three segments', rows: 1, sequences: [0, 1, 0, 3], segments: [200, 150, 0, 33, 399, 1] },
  {
    name: 'documents apart, an empty one',
    rows: 140,
    sequences: [0, 33, 0, 1, 33, 1, 1, 1, 34, 0, 2, 1, 34, 100, 3, 1, 134, 6, 4, 1],
    segments: [0, 33, 33, 1, 34, 0, 34, 100, 134, 6],
  },
  {
    // Rows 130 and on belong to none.
    name: 'shared prefix, rows and keys of none',
    rows: 140,
    sequences: [0, 70, 0, 2, 70, 1, 2, 2, 71, 59, 4, 2],
    segments: [0, 40, 100, 70, 0, 40, 399, 1, 10, 30, 200, 59],
  },
  {
    // Gradients of queries and keys are 0 to the bit: AdamW would take what rounding leaves for a direction.
    name: 'rows that see one key',
    rows: 3,
    sequences: [0, 1, 0, 1, 1, 1, 1, 1, 2, 1, 2, 1],
    segments: [7, 1, 8, 1, 300, 1],
  },
];
for (const { name, rows, sequences, segments } of layouts) {
  for (const [queryHeads, kvHeads, headDim] of [
    [4, 1, 16],
    [12, 3, 64],
    [8, 8, 12],
    [8, 2, 128],
    [6, 2, 40],
  ] as const) {
    gradientCases.push({
      op: 'attentionGrad',
      name: `${queryHeads}/${kvHeads} heads of ${headDim}: ${name}`,
      tolerance: 2 * rounding,
      build: (b) => {
        const heads: HeadShape = { queryHeads, kvHeads, headDim };
        const width = queryHeads * headDim;
        const [query, dout] = [b.floats(150, width, 1), b.floats(150, width, 2)];
        const cache = b.cache(400, kvHeads, headDim, 'f32', 3);
        const ragged: Ragged = {
          sequences: b.ints(...sequences, 0, 0, 0, 0),
          sequenceCount: b.size(sequences.length / 4, sequences.length / 4 + 1),
          segments: b.ints(...segments, 0, 0),
          segmentCount: b.size(segments.length / 2, segments.length / 2 + 1),
        };
        const size = b.size(rows, 150);
        const out = b.ops.attention({ ...query, rows: size }, heads, cache, ragged, true);
        const logsumexp = b.ops.encoded[b.ops.encoded.length - 1].operands[6];
        const [dquery, grads] = [b.floats(150, width, 5), b.cache(400, kvHeads, headDim, 'f32', 6)];
        const { keys, values } = cache;
        b.ops.derivative(
          'attentionGrad',
          [query.buffer, keys, values, ragged.sequences, ragged.segments, out.buffer, logsumexp, dout.buffer].concat([
            dquery.buffer,
            grads.keys,
            grads.values,
          ]),
          [size, ragged.sequenceCount, ragged.segmentCount, queryHeads, kvHeads, headDim, 400],
          [headDim ** -0.5],
        );
        const used = Math.max(...sequences.map((_, i) => (i % 4 ? 0 : sequences[i] + sequences[i + 1])));
        b.result(dquery.buffer, used * width);
        b.result(grads.keys);
        b.result(grads.values);
      },
    });
  }
}
gradientCases.push({
  op: 'attention',
  name: 'the logarithms of the denominators',
  tolerance: rounding,
  build: (b) => {
    const heads = { queryHeads: 4, kvHeads: 2, headDim: 16 };
    for (const rows of [2, 100]) {
      const segments = { segments: b.ints(0, 110), segmentCount: 1 };
      b.ops.attention(
        b.floats(rows, 64, 1),
        heads,
        b.cache(110, 2, 16, 'f32', 2),
        {
          ...segments,
          sequences: b.ints(0, rows, 0, 1),
          sequenceCount: 1,
        },
        true,
      );
      const { operands } = b.ops.encoded[b.ops.encoded.length - 1];
      b.output({ buffer: operands[6]!, rows, columns: 4 });
    }
  },
});

for (const { rows, columns, vocabulary, smoothing, gradient, ignored } of [
  { rows: 5, columns: 24, vocabulary: 50, smoothing: 0, gradient: true, ignored: 0 },
  { rows: 7, columns: 33, vocabulary: 333, smoothing: 0.1, gradient: true, ignored: 3 },
  { rows: 40, columns: 129, vocabulary: 1003, smoothing: 0, gradient: false, ignored: 0 },
  { rows: 300, columns: 40, vocabulary: 500, smoothing: 0.05, gradient: true, ignored: 2 },
  { rows: 600, columns: 16, vocabulary: 97, smoothing: 0, gradient: true, ignored: 5 },
  { rows: 20, columns: 400, vocabulary: 61, smoothing: 0, gradient: true, ignored: 1 },
]) {
  const name = `${rows} x ${columns} x ${vocabulary}${smoothing ? ', smoothed' : ''}`;
  gradientCases.push({
    op: 'crossEntropy',
    name: `${name}${gradient ? '' : ', no gradient'}${ignored === 1 ? ', all ignored' : ignored ? ', some ignored' : ''}`,
    tolerance: 2 * rounding,
    build: (b) => {
      const [x, weight] = [b.floats(rows + 3, columns, 1), b.floats(vocabulary, columns, 2)];
      const targets = Array.from({ length: rows + 3 }, (_, i) => (ignored && i % ignored === 0 ? -100 : (i * 31) % vocabulary));
      const losses = b.floats(rows + 3, 2, 3).buffer;
      const scale = b.vector(1, 4);
      b.backend.write(scale, Float32Array.of(0.37));
      const weightGrad = gradient ? b.floats(vocabulary, columns, 5).buffer : undefined;
      const options = { scale, losses, zLoss: 1e-2, labelSmoothing: smoothing, differentiable: gradient, weightGrad };
      const dx = b.ops.crossEntropy({ ...x, rows: b.size(rows, rows + 3) }, weight.buffer, b.ints(...targets), options);
      b.result(losses);
      if (!weightGrad || !dx) return;
      b.result(weightGrad);
      const into = b.floats(rows + 3, columns, 6).buffer;
      b.ops.copy(dx, into);
      b.result(into);
    },
  });
}

// The weight as it was loaded, no gradient of its own, rows that count differently.
for (const dtype of weightTypes) {
  for (const [rows, some, vocabulary] of [
    [5, 24, 50],
    [230, 130, 260],
    [20, 97, 250],
  ]) {
    const columns = inputsOf(dtype, some);
    if (isAffine(dtype) && rows * columns * vocabulary > 1e6) continue; // large ones say nothing new
    gradientCases.push({
      op: 'crossEntropy',
      name: `${dtype}, ${rows} x ${columns} x ${vocabulary}, rows weighed`,
      tolerance: 2 * rounding,
      build: async (b) => {
        const [x, losses, rowWeights] = [b.floats(rows, columns, 1), b.floats(rows, 2, 3).buffer, b.vector(rows, 4)];
        const weight = await b.weight(vocabulary, columns, dtype, 2);
        const targets = b.ints(...Array.from({ length: rows }, (_, i) => (i % 7 === 3 ? -1 : (i * 31) % vocabulary)));
        const scale = b.vector(1, 5);
        const options = { scale, rowWeights, losses, zLoss: 1e-2, labelSmoothing: 0.05, differentiable: true };
        b.output(b.ops.crossEntropy(x, weight, targets, options)!);
        b.result(losses);
      },
    });
  }
  for (const [rows, some, outputs] of [
    [1, 64, 48],
    [7, 50, 37],
    [13, 400, 97],
    [385, 33, 260],
    [700, 129, 65],
    [3, 40, 2100],
    [20, 800, 130],
  ]) {
    const inputs = inputsOf(dtype, some);
    if (isAffine(dtype) && rows * inputs * outputs > 1e6) continue;
    gradientCases.push({
      op: 'linearInputGrad',
      name: `${dtype}, ${rows} x ${inputs} x ${outputs}`,
      tolerance: rounding,
      build: async (b) => {
        const [dout, dx] = [b.floats(rows, outputs, 1), b.floats(rows, inputs, 3)];
        const weight = await b.weight(outputs, inputs, dtype, 2);
        const add = rows % 3 === 0 ? dx.buffer : rows % 2 ? b.floats(rows, inputs, 4).buffer : null;
        b.ops.derivative('linearInputGrad', [dout.buffer, weight, add, dx.buffer], [rows, inputs, outputs]);
        b.result(dx.buffer);
      },
    });
  }
}

// Many rows through frozen weights; one is a million times the others, which must not notice.
for (const [op, rows, inputs, outputs, dtype] of [
  ['linear', 385, 576, 128, 'f32'],
  ['linear', 385, 576, 128, 'q8'],
  ['linearInputGrad', 385, 128, 576, 'q4'],
  ['linearInputGrad', 384, 64, 2112, 'f32'],
  ['linearInputGrad', 449, 768, 768, 'f32'],
] as const) {
  gradientCases.push({
    op,
    name: `${dtype}, ${rows} x ${inputs} x ${outputs}, one row of another size`,
    tolerance: 2 * rounding,
    build: async (b) => {
      const [from, to] = op === 'linear' ? [inputs, outputs] : [outputs, inputs];
      const [x, residual, out] = [b.floats(rows, from, 1), b.floats(rows, to, 3), b.floats(rows, to, 4)];
      const weight = await b.weight(outputs, inputs, dtype, 2);
      b.backend.write(x.buffer, new Float32Array(from).fill(2 ** 20), 7 * from);
      if (op === 'linear') b.ops.linear(x, weight, { residual, into: out.buffer });
      else b.ops.derivative(op, [x.buffer, weight, outputs > 2048 ? out.buffer : null, out.buffer], [rows, inputs, outputs]);
      b.output(b.ops.gatherRows(out, b.ints(0, 6, 8, 199, 200, 201, rows - 1), 7));
    },
  });
}

gradientCases.push({
  op: 'rmsNormGrad',
  name: 'a norm that is not trained',
  tolerance: rounding,
  build: (b) => {
    const [x, dout, dx] = [b.floats(70, 96, 1), b.floats(70, 96, 2), b.floats(70, 96, 3)];
    b.ops.derivative('rmsNormGrad', [x.buffer, b.vector(96, 4), dout.buffer, null, dx.buffer, null], [70, 96], [1e-6]);
    b.result(dx.buffer);
  },
});

for (const [kind, name] of ['sigmoid', 'robust', 'hinge', 'ipo'].entries()) {
  gradientCases.push({
    op: 'preferenceLoss',
    name,
    tolerance: rounding,
    build: (b) => {
      const rows = 20;
      const losses = b.floats(rows, 2, 1).buffer;
      // Answers of one row, of several, one behind the other and not; a pair whose margin is large either way.
      const pairs = b.ints(0, 1, 1, 1, 3, 4, 7, 2, 12, 3, 9, 3, 15, 2, 18, 1);
      const [reference, results] = [b.vector(8, 2), b.vector(12, 3)];
      b.backend.write(reference, Float32Array.of(300, -300, -0.5, 0.25, -900, 900));
      const buffers = { losses, pairs, reference, results };
      const scales = b.ops.preferenceLoss(b.size(rows - 1, rows), b.size(4, 5 - 1), buffers, {
        ...{ kind, beta: 0.3, labelSmoothing: kind < 2 ? 0.1 : 0 },
      });
      b.result(results, 12);
      b.output({ buffer: scales, rows: rows - 1, columns: 1 });
    },
  });
}

for (const [count, finite] of [
  [1, true],
  [1003, true],
  [200_003, true],
  [1003, false],
] as const) {
  gradientCases.push({
    op: 'adamw',
    name: `${count} parameters${finite ? '' : ', gradient not finite'}`,
    tolerance: rounding,
    build: (b) => {
      const [parameters, grad, firstMoment, secondMoment] = [1, 2, 3, 4].map((seed) => b.vector(count, seed));
      const next = Array.from({ length: count }, (_, i) => ((i * 7919) % 1000) / 1000);
      b.backend.write(secondMoment, Float32Array.from(next));
      const [norms, schedule] = [b.vector(3, 5), b.vector(3, 6)];
      b.backend.write(norms, Float32Array.of(2, 0.5, finite ? 0 : 1));
      b.backend.write(schedule, Float32Array.of(0.01, 1 - 0.9 ** 3, 1 - 0.95 ** 3));
      const options = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
      b.ops.adamw({ parameters, grad, firstMoment, secondMoment }, norms, schedule, options);
      for (const buffer of [parameters, grad, firstMoment, secondMoment]) b.result(buffer);
    },
  });
}

export const gradientFailures: Failure[] = [
  {
    name: 'target past the vocabulary',
    op: 'crossEntropy',
    build: (b) => {
      const options = { scale: b.vector(1, 1), losses: b.vector(4, 2), zLoss: 0, labelSmoothing: 0 };
      b.ops.crossEntropy(b.floats(2, 8, 3), b.floats(10, 8, 4).buffer, b.ints(9, 10), options);
    },
  },
  {
    name: 'answer past the rows',
    op: 'preferenceLoss',
    build: (b) => {
      const buffers = { losses: b.vector(8, 1), pairs: b.ints(0, 2, 2, 3), reference: b.vector(2, 2), results: b.vector(3, 3) };
      b.ops.preferenceLoss(4, 1, buffers, { kind: 0, beta: 1, labelSmoothing: 0 });
    },
  },
  {
    name: 'answer without rows',
    op: 'preferenceLoss',
    build: (b) => {
      const buffers = { losses: b.vector(8, 1), pairs: b.ints(0, 2, 2, 0), reference: b.vector(2, 2), results: b.vector(3, 3) };
      b.ops.preferenceLoss(4, 1, buffers, { kind: 0, beta: 1, labelSmoothing: 0 });
    },
  },
  {
    name: 'id past the table',
    op: 'embeddingGrad',
    build: (b) => b.ops.derivative('embeddingGrad', [b.vector(8, 1), b.ints(4), b.floats(4, 8, 2).buffer], [1, 8, 4, 0]),
  },
  {
    name: 'segment past the cache',
    op: 'attentionGrad',
    build: (b) => {
      const { keys, values } = b.cache(8, 1, 16, 'f32', 2);
      const rows = [1, 2, 3, 4].map((seed) => b.vector(64, seed));
      const grads = b.cache(8, 1, 16, 'f32', 6);
      b.ops.derivative(
        'attentionGrad',
        [
          rows[0],
          keys,
          values,
          b.ints(0, 1, 0, 1),
          b.ints(2, 7),
          rows[1],
          b.vector(4, 5),
          rows[2],
          rows[3],
          grads.keys,
          grads.values,
        ],
        [1, 1, 1, 4, 1, 16, 8],
        [0.25],
      );
    },
  },
  {
    name: 'cache row past the cache',
    op: 'qkNormRopeGrad',
    build: (b) => {
      const { keys, values } = b.cache(8, 1, 16, 'f32', 2);
      const [qkv, dquery, dqkv] = [b.vector(96, 1), b.vector(64, 4), b.vector(96, 5)];
      b.ops.derivative(
        'qkNormRopeGrad',
        [qkv, null, null, b.floats(4, 16, 6).buffer, b.ints(0), b.ints(8), dquery, keys, values, dqkv, null, null],
        [1, 4, 1, 16, 8, 4],
        [1e-6],
      );
    },
  },
];
