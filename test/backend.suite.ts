// The conformance suite: every op of the table, on random inputs of many shapes, against the reference backend, and how a backend
// behaves. Each backend's test calls it. An op without a case (op.cases.ts and its like), or without a kernel there, is a failing test.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { referenceBackend } from '../src/backends/reference.js';
import { cacheTypes } from '../src/model/parameters.js';
import type { Backend } from '../src/tensor/backend.js';
import type { Tensor } from '../src/tensor/ops.js';
import { opNames } from '../src/tensor/optable.js';
import { adapterCases, adapterFailures } from './adapter.cases.js';
import { behaviourSuite, type Open } from './behaviour.suite.js';
import { gradientCases, gradientFailures } from './gradient.cases.js';
import { opCases, opFailures } from './op.cases.js';
import { type Bench, type Case, type Executed, execute, type Failure, relativeError } from './op-bench.js';
import { inputsOf, isQuantized, weightTypes } from './weight-types.js';

const cases: Case[] = [...opCases, ...gradientCases, ...adapterCases];
const failures: Failure[] = [...opFailures, ...gradientFailures, ...adapterFailures];

/** Ops that mix numbers of a row: from `first`, `count` of a fixed set of rows, which must come out the same in any company. */
interface RowCase {
  readonly name: string;
  readonly rows: number;
  readonly build: (bench: Bench, first: number, count: number) => Promise<void> | void;
}

function someRows(b: Bench, all: Tensor, first: number, count: number): Tensor {
  return b.ops.gatherRows(all, b.ints(...Array.from({ length: count }, (_, i) => first + i)), count);
}

const rowCases: RowCase[] = [];
for (const dtype of weightTypes) {
  for (const int8 of isQuantized(dtype) ? [false, true] : [false]) {
    for (const [some, outputs] of [
      [600, 72],
      [51, 37],
    ]) {
      const inputs = inputsOf(dtype, some);
      rowCases.push({
        name: `linear ${dtype}${int8 ? ', int8 activations' : ''}, ${inputs} x ${outputs}`,
        rows: 36,
        build: async (b, first, count) => {
          const [x, residual] = [b.floats(36, inputs, 31), b.floats(36, outputs, 32)].map((all) =>
            someRows(b, all, first, count),
          );
          b.output(b.ops.linear(x, await b.weight(outputs, inputs, dtype, 33), { int8, residual }));
        },
      });
    }
  }
}
for (const dtype of cacheTypes) {
  for (const [queryHeads, kvHeads, headDim] of [
    [4, 1, 16],
    [6, 2, 64],
    [2, 2, 12],
    [2, 1, 128],
    [3, 1, 40],
  ]) {
    rowCases.push({
      name: `attention ${queryHeads}/${kvHeads} heads of ${headDim}, ${dtype}`,
      rows: 36,
      build: (b, first, count) => {
        const query = someRows(b, b.floats(36, queryHeads * headDim, 34), first, count);
        const ragged = {
          sequences: b.ints(0, count, 0, 1),
          sequenceCount: 1,
          segments: b.ints(3, 150 + first + count),
          segmentCount: 1,
        };
        b.output(b.ops.attention(query, { queryHeads, kvHeads, headDim }, b.cache(190, kvHeads, headDim, dtype, 35), ragged));
      },
    });
  }
}

const references = new Map<Case, Promise<Executed>>();

/** What the reference backend makes of a case: computed once for all suites of a file, as it takes longer than what is judged. */
function expectedOf(item: Case): Promise<Executed> {
  const known = references.get(item);
  if (known) return known;
  const reference = referenceBackend();
  const made = execute(reference, item.build).finally(() => reference.dispose());
  references.set(item, made);
  return made;
}

export interface SuiteOptions {
  /** Whether it is the reference backend itself, which has nothing to be compared with. */
  readonly reference?: boolean;
  /** By how much a row may differ in other company, relative to the largest of its numbers; default: to no bit. */
  readonly company?: number;
}

/** Judges the backend that `open` makes: what its ops compute, and how it behaves. */
export function backendSuite(name: string, open: Open, options: SuiteOptions = {}): void {
  conformanceSuite(name, open, options);
  describe(`${name}: behaviour`, () => behaviourSuite(open));
}

/** What ops compute alone, for a backend that differs from one which was judged whole by its kernels. */
export function conformanceSuite(name: string, open: Open, { reference, company }: SuiteOptions = {}): void {
  describe(`${name}: conformance`, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await open();
    });
    afterAll(() => backend.dispose());

    it('has a kernel and a case for every op', () => {
      for (const op of opNames) {
        expect(backend.supports(op), op).toBe(true);
        expect(
          cases.some((item) => item.op === op),
          op,
        ).toBe(true);
      }
    });

    for (const item of reference ? [] : cases) {
      it(`${item.op}: ${item.name}`, async () => {
        const expected = await expectedOf(item);
        const found = await execute(backend, item.build);
        expect(expected.program.records.some((record) => record.op === item.op)).toBe(true);
        expect(found.results.length).toBe(expected.results.length);
        for (const [i, result] of found.results.entries()) {
          expect(relativeError(result, expected.results[i])).toBeLessThanOrEqual(item.tolerance);
        }
      });
    }

    // What a seed gives must not depend on how a prompt was cut, what of it was cached or who else was in the step.
    for (const { name: what, rows, build } of rowCases) {
      it(`gives a row the same bits in any company: ${what}`, async () => {
        const whole = (await execute(backend, (b) => build(b, 0, rows))).results[0];
        const width = whole.length / rows;
        for (let first = 0, count = 1; first < rows; first += count, count++) {
          count = Math.min(count, rows - first);
          const { results } = await execute(backend, (b) => build(b, first, count));
          const expected = Array.from(whole).slice(first * width, (first + count) * width);
          const what = `rows ${first} to ${first + count - 1}`;
          if (company === undefined) expect(Array.from(results[0]), what).toEqual(expected);
          else expect(relativeError(results[0], expected), what).toBeLessThanOrEqual(company);
        }
      });
    }

    for (const { name: what, op, build } of failures) {
      it(`${op}: reports a ${what}`, async () => {
        await expect(execute(backend, build)).rejects.toMatchObject({ name: 'ExecutionError', op, code: 'index-out-of-range' });
      });
    }
  });
}
