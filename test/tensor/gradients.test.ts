// Every rule of the gradient table against central differences of the forward definitions, through the tape and the reference
// backend. The loss is a sum of results with random weights, added up in double precision.

import { describe, expect, it } from 'vitest';
import { referenceBackend } from '../../src/backends/reference.js';
import { elementsOf } from '../../src/io/bytes.js';
import type { DeviceBuffer } from '../../src/tensor/backend.js';
import { gradientRules, parameterGrads, Tape } from '../../src/tensor/gradients.js';
import { Ops, type Tensor } from '../../src/tensor/ops.js';
import type { OpName } from '../../src/tensor/optable.js';
import { randomNumbers } from '../op-bench.js';

/** Half the distance of a difference: its error is about step^2, and that of f32 results about 1e-7 / step. */
const step = 4e-3;
const tolerance = 3e-4;

interface Derivation {
  readonly op: OpName;
  readonly name: string;
  /** Shapes of what is differentiated; names in `parameters` have their gradients added up in buffers of their own. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly parameters: readonly string[];
  /** Shapes of what the op reads beside them, but has no gradient. */
  readonly constants?: Readonly<Record<string, readonly number[]>>;
  readonly paddingId?: number;
  /** Adds the records; returns the results. `ints` makes params. */
  build(ops: Ops, inputs: Record<string, DeviceBuffer>, ints: (...values: number[]) => DeviceBuffer): Tensor[];
}

const rows = (buffer: DeviceBuffer): Tensor => ({ buffer, rows: buffer.shape[0], columns: elementsOf(buffer.shape.slice(1)) });
const heads = { queryHeads: 4, kvHeads: 2, headDim: 6 };

const derivations: Derivation[] = [
  {
    op: 'embedding',
    name: 'with a padding id',
    inputs: { table: [5, 3] },
    parameters: ['table'],
    paddingId: 2,
    // The padding's row does not appear: its difference would not be zero.
    build: (ops, { table }, ints) => [ops.embedding(table, ints(4, 0, 4, 1), 4)],
  },
  {
    op: 'rmsNorm',
    name: 'plain',
    inputs: { x: [3, 7], weight: [7] },
    parameters: ['weight'],
    build: (ops, { x, weight }) => [ops.rmsNorm(rows(x), weight, 1e-6)],
  },
  {
    op: 'rmsNorm',
    name: 'of a sum that is used again',
    inputs: { x: [3, 6], norm: [6], down: [6, 6] },
    parameters: ['norm', 'down'],
    build: (ops, { x, norm, down }) => {
      const first = ops.linear(ops.rmsNorm(rows(x), norm, 1e-6), down, { residual: rows(x) });
      return [ops.linear(ops.rmsNorm(first, norm, 1e-6), down, { residual: first })];
    },
  },
  {
    op: 'linear',
    name: 'with residual',
    inputs: { x: [4, 5], weight: [3, 5], residual: [4, 3] },
    parameters: ['weight'],
    build: (ops, { x, weight, residual }) => [ops.linear(rows(x), weight, { residual: rows(residual) })],
  },
  ...[true, false].map(
    (normed): Derivation => ({
      op: 'qkNormRope',
      name: normed ? 'with norms' : 'without norms',
      inputs: { qkv: [3, 48], ...(normed ? { query: [6], key: [6] } : {}) },
      parameters: ['query', 'key'],
      build: (ops, { qkv, query, key, rope }, ints) => {
        const cache = ops.keyValues(3, heads);
        const norms = query && key ? { query, key } : undefined;
        const out = ops.qkNormRope(rows(qkv), heads, cache, {
          ...{ positions: ints(4, 0, 2), kvRows: ints(2, 0, 1), rope, norms },
          eps: 1e-6,
        });
        return [out, rows(cache.keys), rows(cache.values)];
      },
    }),
  ),
  {
    op: 'attention',
    name: 'two sequences on a shared prefix',
    inputs: { query: [5, 24], keys: [9, 2, 6], values: [9, 2, 6] },
    parameters: [],
    build: (ops, { query, keys, values }, ints) => {
      const ragged = {
        sequences: ints(0, 3, 0, 2, 3, 2, 2, 2),
        sequenceCount: 2,
        segments: ints(0, 2, 2, 3, 0, 2, 6, 2),
        segmentCount: 4,
      };
      return [ops.attention(rows(query), heads, { keys, values }, ragged, true)];
    },
  },
  { op: 'swiglu', name: 'plain', inputs: { x: [3, 10] }, parameters: [], build: (ops, { x }) => [ops.swiglu(rows(x))] },
  {
    op: 'dropout',
    name: 'of what is used again',
    inputs: { x: [3, 50] },
    parameters: [],
    build: (ops, { x }) => {
      ops.randomness = { seed: 5, draw: 3 };
      return [ops.dropout(rows(x), 0.5, 1), ops.dropout(rows(x), 0.25, 2)];
    },
  },
  {
    op: 'scaleColumns',
    name: 'the same factors for all rows, with residual',
    inputs: { x: [4, 5], table: [1, 5], residual: [4, 5] },
    parameters: [],
    build: (ops, { x, table, residual }) => [ops.scaleColumns(rows(x), table, { residual: rows(residual) })],
  },
  {
    op: 'scaleColumns',
    name: 'factors by row',
    inputs: { x: [4, 5] },
    parameters: [],
    constants: { table: [3, 5] },
    build: (ops, { x, table }, ints) => [ops.scaleColumns(rows(x), table, { ids: ints(2, 0, 2, 1) })],
  },
  {
    op: 'doraFactors',
    name: 'by the magnitude alone',
    inputs: { magnitude: [4] },
    parameters: ['magnitude'],
    constants: { weight: [4, 6], a: [2, 6], b: [4, 2] },
    build: (ops, { weight, a, b, magnitude }) => [rows(ops.doraFactors(weight, a, b, magnitude, 1.5))],
  },
  { op: 'silu', name: 'plain', inputs: { x: [3, 5] }, parameters: [], build: (ops, { x }) => [ops.silu(rows(x))] },
];

/** Runs one program on the reference backend; results by the order of `outputs`. */
class Run {
  readonly backend = referenceBackend();
  readonly ops = new Ops();
  private readonly params: [number, number][] = [];
  private readonly outputs: DeviceBuffer<'f32'>[] = [];

  readonly ints = (...values: number[]): DeviceBuffer => {
    const view = this.ops.params(values.length);
    for (const [i, value] of values.entries()) this.params.push([view.offset + i, value]);
    return view;
  };

  buffer(shape: readonly number[], values?: Float32Array): DeviceBuffer<'f32'> {
    const buffer = this.backend.create('f32', shape);
    if (values) this.backend.write(buffer, values);
    return buffer;
  }

  /** Keeps a result beyond the program. */
  output({ buffer }: { buffer: DeviceBuffer }): void {
    const into = this.buffer(buffer.shape);
    this.ops.copy({ buffer, rows: 1, columns: elementsOf(buffer.shape) }, into);
    this.outputs.push(into);
  }

  /** Ends encoding; each call of the result runs the program and reads the outputs. */
  compile(): () => Promise<Float32Array[]> {
    const program = this.ops.finish();
    const executable = this.backend.compile(program);
    const values = new Int32Array(program.paramsLength);
    for (const [index, value] of this.params) values[index] = value;
    return async () => {
      await this.backend.submit(executable, values).done;
      const read: Float32Array[] = [];
      for (const output of this.outputs) read.push(await this.backend.read(output));
      return read;
    };
  }
}

function randomFloats(count: number, next: () => number): Float32Array {
  return Float32Array.from({ length: count }, next);
}

/** The slope of `loss` along every element of `values`, which it sees changed in place. */
async function centralDifferences(values: Float32Array, loss: () => Promise<number>): Promise<number[]> {
  const slopes: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    const [high, low] = [Math.fround(value + step), Math.fround(value - step)];
    values[i] = high;
    const above = await loss();
    values[i] = low;
    const below = await loss();
    values[i] = value;
    slopes.push((above - below) / (high - low));
  }
  return slopes;
}

function expectClose(found: ArrayLike<number>, expected: readonly number[], what: string): void {
  expect(found.length, what).toBe(expected.length);
  const largest = Math.max(...expected.map(Math.abs));
  expect(largest, what).toBeGreaterThan(0.01);
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - found[i])));
  expect(worst / largest, what).toBeLessThan(tolerance);
}

async function judge(derivation: Derivation): Promise<void> {
  const next = randomNumbers(7);
  const { inputs, parameters, build } = derivation;
  const values = Object.fromEntries(Object.entries(inputs).map(([name, shape]) => [name, randomFloats(elementsOf(shape), next)]));
  const fixed = Object.entries(derivation.constants ?? {}).map(
    ([name, shape]) => [name, shape, randomFloats(elementsOf(shape), next)] as const,
  );
  const rope = Float32Array.from({ length: 5 * heads.headDim }, (_, i) => {
    const [position, pair] = [Math.floor(i / heads.headDim), i % heads.headDim];
    const angle = position / 10 ** (pair % 3);
    return pair < 3 ? Math.cos(angle) : Math.sin(angle);
  });
  const place = (run: Run): Record<string, DeviceBuffer> => ({
    ...Object.fromEntries(Object.entries(inputs).map(([name, shape]) => [name, run.buffer(shape, values[name])])),
    ...Object.fromEntries(fixed.map(([name, shape, filled]) => [name, run.buffer(shape, filled)])),
    rope: run.buffer([5, heads.headDim], rope),
  });

  const forward = new Run();
  const placed = place(forward);
  const results = build(forward.ops, placed, forward.ints);
  for (const result of results) forward.output(result);
  const weights = results.map(({ buffer }) => randomFloats(elementsOf(buffer.shape), next));
  const compute = forward.compile();
  const loss = async (): Promise<number> => {
    for (const name of Object.keys(inputs)) forward.backend.write(placed[name], values[name]);
    const outputs = await compute();
    return outputs.reduce((sum, output, i) => output.reduce((all, value, j) => all + value * weights[i][j], sum), 0);
  };

  const backward = new Run();
  const held = place(backward);
  const trained = parameters.filter((name) => held[name]);
  const sums = trained.map((name) => [held[name], backward.buffer(inputs[name])] as const);
  const tape = new Tape(backward.ops, parameterGrads(sums), derivation.paddingId);
  for (const name of Object.keys(inputs)) if (!trained.includes(name)) tape.watch(held[name]);
  for (const [i, { buffer }] of build(backward.ops, held, backward.ints).entries()) {
    tape.seed(buffer, backward.buffer(buffer.shape, weights[i]));
  }
  const records = [...backward.ops.encoded];
  tape.observe(records);
  tape.backward(records);
  const names = Object.keys(inputs);
  for (const name of names) {
    const buffer = trained.includes(name) ? sums[trained.indexOf(name)][1] : tape.gradOf(held[name]);
    if (!buffer) throw new Error(`${name} has no gradient`);
    backward.output({ buffer });
  }
  const gradients = await backward.compile()();
  for (const [i, name] of names.entries()) {
    expectClose(gradients[i], await centralDifferences(values[name], loss), `${derivation.op}: ${name}`);
  }
}

describe('gradients', () => {
  it('has a derivation for every rule', () => {
    expect(new Set(derivations.map(({ op }) => op))).toEqual(new Set(Object.keys(gradientRules)));
  });

  for (const derivation of derivations) {
    it(`${derivation.op}: ${derivation.name}`, () => judge(derivation));
  }

  it('gives the padding id no gradient, and only it', async () => {
    const run = new Run();
    const [table, grad] = [run.buffer([3, 2], new Float32Array(6)), run.buffer([3, 2])];
    const tape = new Tape(run.ops, parameterGrads([[table, grad]]), 1);
    const out = run.ops.embedding(table, run.ints(0, 1, 2, 1), 4);
    tape.seed(out.buffer, run.buffer([4, 2], new Float32Array(8).fill(1)));
    tape.backward([...run.ops.encoded]);
    run.output({ buffer: grad });
    expect(Array.from((await run.compile()())[0])).toEqual([1, 1, 0, 0, 1, 1]);
  });

  for (const labelSmoothing of [0, 0.1]) {
    it(`crossEntropy: z-loss, an ignored row, label smoothing ${labelSmoothing}`, async () => {
      const next = randomNumbers(3);
      const [count, columns, vocabulary, zLoss, scale] = [4, 5, 7, 0.05, 0.3];
      const values = { x: randomFloats(count * columns, next), weight: randomFloats(vocabulary * columns, next) };
      const run = new Run();
      const [x, weight] = [run.buffer([count, columns]), run.buffer([vocabulary, columns])];
      const [losses, weightGrad] = [run.buffer([count, 2]), run.buffer([vocabulary, columns])];
      const scaleBuffer = run.buffer([1], Float32Array.of(scale));
      const options = { scale: scaleBuffer, losses, zLoss, labelSmoothing, differentiable: true, weightGrad };
      const dx = run.ops.crossEntropy(rows(x), weight, run.ints(3, -100, 0, 6), options);
      for (const buffer of [losses, weightGrad, dx!.buffer]) run.output({ buffer });
      const compute = run.compile();
      const results = async (): Promise<Float32Array[]> => {
        run.backend.write(x, values.x);
        run.backend.write(weight, values.weight);
        run.backend.write(weightGrad, new Float32Array(vocabulary * columns));
        return compute();
      };
      const loss = async (): Promise<number> => {
        const [found] = await results();
        return found.reduce((sum, value, i) => sum + scale * value * (i % 2 ? zLoss : 1), 0);
      };
      const [found, foundWeightGrad, foundDx] = await results();
      expect(Array.from(found.subarray(2, 4))).toEqual([0, 0]);
      expect(Array.from(foundDx.subarray(columns, 2 * columns))).toEqual(new Array(columns).fill(0));
      expectClose(foundDx, await centralDifferences(values.x, loss), 'x');
      expectClose(foundWeightGrad, await centralDifferences(values.weight, loss), 'weight');
    });
  }
});
