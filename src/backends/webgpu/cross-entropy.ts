// The planner of the loss: a block of rows at a time, whose logits are all that is held of [rows, vocabulary]: logits, a pass over
// each row for its loss that leaves their gradient in their place, and from it dx and the weight's gradient.

import { maxOf } from '../../tensor/plan.js';
import type { Dispatch, Planner } from './dispatch.js';
import { read, updated, written } from './planning.js';
import { extentNow, partOf, product, whole } from './products.js';
import { blocksOfWeight } from './weight-rows.js';
import { weightOfRows } from './weights.js';

/** Of a block's logits, in bytes. */
const logitsBytes = 64 * 2 ** 20;

export const planCrossEntropy: Planner<'crossEntropy'> = (call) => {
  const [rows, columns, vocabulary] = [call.size('rows'), call.fixed('columns'), call.fixed('vocabulary')];
  const [x, dx, weightGrad] = [call.operand('x'), call.maybe('dx'), call.maybe('weightGrad')];
  const rowWeights = call.maybe('rowWeights');
  const stride = 4 * Math.ceil(vocabulary / 4);
  const fitting = Math.max(1, Math.floor(Math.min(logitsBytes, call.device.bindingBytes) / (4 * stride)));
  const each = Math.min(maxOf(rows), fitting > 128 ? fitting - (fitting % 128) : fitting);
  const logits = call.scratch(4 * each * stride);
  const weights = blocksOfWeight(call, call.weight('weight'));
  const gradParts = weightGrad ? weightOfRows(weightGrad, call.device.bindingBytes).parts : [];
  // What is decoded stays so where it all fits.
  const decoded = (first: number, decode: readonly Dispatch[]): readonly Dispatch[] =>
    weights.length > 1 || first === 0 ? decode : [];

  const dispatches: Dispatch[] = [];
  for (let first = 0; first < maxOf(rows); first += each) {
    const here = { size: rows, first, most: Math.min(each, maxOf(rows) - first) };
    const xHere = { slice: partOf(x, first * columns, here.most * columns), stride: columns };
    for (const { decode, lines, firstRow, rows: some } of weights) {
      dispatches.push(
        ...decoded(first, decode),
        ...product(call, {
          a: { ...xHere, inner: true },
          b: { ...lines, inner: true },
          c: { slice: partOf(logits, firstRow, here.most * stride - firstRow), stride },
          ...{ m: here, n: some, k: whole(columns) },
        }),
      );
    }
    dispatches.push({
      shader: 'crossEntropyRows',
      constants: { gradient: dx !== null || weightGrad !== null },
      bindings: {
        logits: updated(logits),
        targets: read(call.operand('targets'), 'i32'),
        scale: read(call.operand('scale')),
        row_weights: read(rowWeights),
        losses: written(call.operand('losses')),
      },
      uniforms: {
        ...{ rows, first_row: first, block_rows: here.most, vocabulary, stride },
        ...{ z_loss: { f32: call.constant('zLoss') }, label_smoothing: { f32: call.constant('labelSmoothing') } },
      },
      workgroups: (now) => [extentNow(here, now), 1, 1],
    });
    for (const [i, { decode, lines, firstRow, rows: some }] of dx ? weights.entries() : []) {
      dispatches.push(
        ...(weights.length > 1 ? decode : []),
        ...product(call, {
          a: {
            slice: partOf(logits, firstRow, here.most * stride - firstRow),
            stride,
            inner: true,
            padded: i === weights.length - 1,
          },
          b: { ...lines, inner: false },
          c: { slice: partOf(dx!, first * columns, here.most * columns), stride: columns },
          accumulate: i > 0,
          ...{ m: here, n: columns, k: whole(some) },
        }),
      );
    }
    for (const part of gradParts) {
      dispatches.push(
        ...product(call, {
          a: { slice: partOf(logits, part.firstRow, here.most * stride - part.firstRow), stride, inner: false },
          b: { ...xHere, inner: false },
          c: { slice: part.codes, stride: columns },
          accumulate: true,
          ...{ m: whole(part.rows), n: columns, k: here },
        }),
      );
    }
  }
  return dispatches;
};
