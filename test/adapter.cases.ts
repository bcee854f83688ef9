// The conformance suite's cases for what adapters add: dropout, factors by column, DoRA's norms, and their derivatives. The suite
// itself is backend.suite.ts.

import type { Case, Failure } from './op-bench.js';
import { inputsOf, weightTypes } from './weight-types.js';

const rounding = 2e-6;

export const adapterCases: Case[] = [];

for (const [rows, columns, rate, residual] of [
  [1, 5, 0.5, false],
  [3, 64, 0.1, true],
  [200, 77, 0.1, false],
  [90, 1280, 0.9, true],
] as const) {
  adapterCases.push({
    op: 'dropout',
    name: `${rows} x ${columns}, ${rate}${residual ? ', residual' : ''}`,
    tolerance: rounding,
    build: (b) => {
      const [x, into] = [b.floats(rows, columns, 1), b.floats(rows, columns, 2)];
      const add = residual ? b.floats(rows, columns, 3).buffer : null;
      const draw = b.size(2 ** 31 - 2, 2 ** 31 - 1);
      b.ops.derivative('dropout', [x.buffer, add, into.buffer], [rows, columns, 17, draw, 123456789], [rate]);
      b.result(into.buffer);
    },
  });
}

for (const [rows, columns] of [
  [1, 8],
  [5, 33],
  [300, 1000],
]) {
  for (const groups of [1, 3]) {
    const name = `${rows} x ${columns}${groups > 1 ? ', factors by row' : ''}`;
    const ids = Array.from({ length: rows }, (_, i) => (i * 2) % groups);
    adapterCases.push(
      {
        op: 'scaleColumns',
        name,
        tolerance: rounding,
        build: (b) => {
          const [x, table] = [b.floats(rows, columns, 1), b.floats(groups, columns, 2).buffer];
          const residual = rows % 2 ? b.floats(rows, columns, 3) : undefined;
          b.output(b.ops.scaleColumns(x, table, { ids: groups > 1 ? b.ints(...ids) : undefined, residual }));
        },
      },
      {
        op: 'scaleColumnsGrad',
        name,
        tolerance: rounding,
        build: (b) => {
          const [x, dout, dx, table] = [1, 2, 3]
            .map((seed) => b.floats(rows, columns, seed))
            .concat(b.floats(groups, columns, 4));
          const residual = rows % 2 ? b.floats(rows, columns, 5).buffer : null;
          const sums = groups === 1 ? b.floats(1, columns, 6).buffer : null;
          b.ops.derivative(
            'scaleColumnsGrad',
            [dout.buffer, sums && x.buffer, table.buffer, groups > 1 ? b.ints(...ids) : null, residual, dx.buffer, sums],
            [rows, columns, groups],
          );
          b.result(dx.buffer);
          if (sums) b.result(sums);
        },
      },
    );
  }
}

for (const dtype of ['rows', ...weightTypes] as const) {
  for (const [outputs, some, rank] of [
    [5, 50, 1],
    [100, 320, 8],
  ]) {
    const inputs = dtype === 'rows' ? some : inputsOf(dtype, some);
    adapterCases.push({
      op: 'doraFactors',
      name: `${dtype}, ${outputs} x ${inputs}, rank ${rank}`,
      tolerance: rounding,
      build: async (b) => {
        const weight = dtype === 'rows' ? b.floats(outputs, inputs, 1).buffer : await b.weight(outputs, inputs, dtype, 1);
        const [a, low, magnitude] = [b.floats(rank, inputs, 2).buffer, b.floats(outputs, rank, 3).buffer, b.vector(outputs, 4)];
        const [norms, into] = [b.vector(outputs, 5), b.floats(1, outputs, 6).buffer];
        b.ops.derivative('doraFactors', [weight, a, low, magnitude, norms, into], [inputs, outputs, rank], [0.7]);
        b.result(norms);
        b.result(into);
      },
    });
  }
}

adapterCases.push({
  op: 'doraFactorsGrad',
  name: '77 outputs',
  tolerance: rounding,
  build: (b) => {
    const [dout, norms, magnitudeGrad] = [1, 2, 3].map((seed) => b.vector(77, seed));
    b.ops.derivative('doraFactorsGrad', [dout, norms, magnitudeGrad], [77]);
    b.result(magnitudeGrad);
  },
});

export const adapterFailures: Failure[] = [
  {
    name: 'group past the table',
    op: 'scaleColumns',
    build: (b) => {
      b.ops.scaleColumns(b.floats(2, 8, 1), b.floats(2, 8, 2).buffer, { ids: b.ints(1, 2), into: b.floats(2, 8, 3).buffer });
    },
  },
];
