// The definitions of what adapters add to a model, forward and back, as `reference-ops.ts` for the rest: double precision inside,
// f32 outside.

import { outside, type ReferenceOps } from './reference-call.js';

export const referenceAdapters: Pick<
  ReferenceOps,
  'dropout' | 'scaleColumns' | 'scaleColumnsGrad' | 'doraFactors' | 'doraFactorsGrad'
> = {
  dropout(call) {
    const { rows, columns, op, draw, seed } = call.sizes;
    const [x, residual, out] = [call.floats('x'), call.maybe('residual'), call.floats('out')];
    const { rate } = call.constants;
    const [threshold, scale] = [Math.floor(rate * 2 ** 32), Math.fround(1 / (1 - rate))];
    for (let e = 0; e < rows * columns; e++) {
      const word = pcg4d(16 * (e >>> 6) + (e & 15), op, draw, seed)[(e >>> 4) & 3];
      out[e] = (word >= threshold ? x[e] * scale : 0) + (residual ? residual[e] : 0);
    }
  },

  scaleColumns(call) {
    const { rows, columns, groups } = call.sizes;
    const [x, table, out] = [call.floats('x'), call.floats('table'), call.floats('out')];
    const residual = call.maybe('residual');
    const ids = call.maybeInts('ids');
    for (let r = 0; r < rows; r++) {
      const group = ids ? ids[r] : 0;
      if (outside(group, groups)) return 'index-out-of-range';
      for (let c = 0; c < columns; c++) {
        const at = r * columns + c;
        out[at] = x[at] * table[group * columns + c] + (residual ? residual[at] : 0);
      }
    }
  },

  scaleColumnsGrad(call) {
    const { rows, columns, groups } = call.sizes;
    const [dout, table, dx] = [call.floats('dout'), call.floats('table'), call.floats('dx')];
    const [x, residual, tableGrad] = [call.maybe('x'), call.maybe('residual'), call.maybe('tableGrad')];
    const ids = call.maybeInts('ids');
    const sums = new Float64Array(columns);
    for (let r = 0; r < rows; r++) {
      const group = ids ? ids[r] : 0;
      if (outside(group, groups)) return 'index-out-of-range';
      for (let c = 0; c < columns; c++) {
        const at = r * columns + c;
        if (x) sums[c] += dout[at] * x[at];
        dx[at] = dout[at] * table[group * columns + c] + (residual ? residual[at] : 0);
      }
    }
    tableGrad?.set(sums);
  },

  doraFactors(call) {
    const { inputs, outputs, rank } = call.sizes;
    const [a, b, magnitude] = [call.floats('a'), call.floats('b'), call.floats('magnitude')];
    const weight = call.weight('weight').values;
    const [norms, out] = [call.floats('norms'), call.floats('out')];
    for (let n = 0; n < outputs; n++) {
      let squares = 0;
      for (let k = 0; k < inputs; k++) {
        let product = 0;
        for (let i = 0; i < rank; i++) product += b[n * rank + i] * a[i * inputs + k];
        squares += (weight[n * inputs + k] + call.constants.scaling * product) ** 2;
      }
      norms[n] = Math.sqrt(squares);
      out[n] = magnitude[n] / norms[n];
    }
  },

  doraFactorsGrad(call) {
    const [dout, norms, magnitudeGrad] = [call.floats('dout'), call.floats('norms'), call.floats('magnitudeGrad')];
    for (let n = 0; n < call.sizes.outputs; n++) magnitudeGrad[n] += dout[n] / norms[n];
  },
};

/** Four random words from four words: integer arithmetic that every machine has. */
function pcg4d(...input: [number, number, number, number]): [number, number, number, number] {
  let [x, y, z, w] = input.map((word) => (Math.imul(word, 1664525) + 1013904223) | 0);
  const mix = (): void => {
    x = (x + Math.imul(y, w)) | 0;
    y = (y + Math.imul(z, x)) | 0;
    z = (z + Math.imul(x, y)) | 0;
    w = (w + Math.imul(y, z)) | 0;
  };
  mix();
  [x, y, z, w] = [x, y, z, w].map((word) => word ^ (word >>> 16));
  mix();
  return [x >>> 0, y >>> 0, z >>> 0, w >>> 0];
}
