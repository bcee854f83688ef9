// Speed of the kernels of a training step, one at a time: GFLOP/s of products, attention and the loss, GB/s of the optimizer, with
// 1 thread and with all. The best of many runs, as other work may share the machine; `a core` is the mean by CPU time, which
// neighbours on the CPUs hardly lengthen (spinning at the end of a stage counts). Whole steps, and other trainers, are not here.
import { parseArgs } from 'node:util';
import { type NativeBackend, nativeBackend } from '../src/backends/native.js';
import { InputError } from '../src/errors.js';
import type { DeviceBuffer } from '../src/tensor/backend.js';
import { Ops } from '../src/tensor/ops.js';
import { type Row, report } from './report.js';

const usage = `npm run bench -- train-kernels [options]
  --threads LIST   thread counts (default: 1,2)
  --seconds N      time for each kernel (default: 1)
  --only TEXT      kernels whose name contains this`;

/** Sizes of a model of which a step's products are typical. */
interface Shape {
  readonly name: string;
  /** Tokens of a step: of one sequence, times sequences. */
  readonly context: number;
  readonly batch: number;
  readonly width: number;
  readonly ffn: number;
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
}

const shapes: readonly Shape[] = [
  { name: '6M', context: 512, batch: 4, width: 256, ffn: 640, queryHeads: 8, kvHeads: 2, headDim: 32, vocabulary: 4096 },
  { name: '60M', context: 512, batch: 4, width: 640, ffn: 1408, queryHeads: 8, kvHeads: 2, headDim: 64, vocabulary: 32000 },
  { name: '270M', context: 512, batch: 1, width: 1280, ffn: 5120, queryHeads: 16, kvHeads: 4, headDim: 64, vocabulary: 32000 },
  { name: '270M', context: 2048, batch: 1, width: 1280, ffn: 5120, queryHeads: 16, kvHeads: 4, headDim: 64, vocabulary: 32000 },
];

/** One kernel on one shape: what it does in a run, counted in `unit`. */
interface Kernel {
  readonly kernel: string;
  readonly unit: 'GFLOP/s' | 'GB/s';
  /** Operations or bytes. */
  readonly work: number;
  build(ops: Ops): void;
}

/** The command: measures, prints the table and writes bench/results/train-kernels.json. */
export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      threads: { type: 'string', default: '1,2' },
      seconds: { type: 'string', default: '1' },
      only: { type: 'string', default: '' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const rows: Row[] = [];
  for (const threads of values.threads.split(',').map(Number)) {
    for (const shape of shapes) {
      const opened = nativeBackend({ threads });
      if ('reason' in opened) throw new InputError(`the native backend is not there: ${opened.reason}`);
      for (const kernel of kernelsOf(opened.backend, shape)) {
        const name = `${kernel.kernel} ${shape.name}`;
        if (!name.includes(values.only)) continue;
        const best = await bestTime(opened.backend, kernel, Number(values.seconds));
        const model = `${shape.name} ${shape.batch} x ${shape.context}`;
        const [speed, core] = [best.wall, best.cpu].map((seconds) => kernel.work / seconds / 1e9);
        rows.push({ kernel: kernel.kernel, model, threads, ms: best.wall * 1e3, speed, 'a core': core, unit: kernel.unit });
      }
      await opened.backend.dispose();
    }
  }
  report('train-kernels', rows);
}

async function bestTime(backend: NativeBackend, kernel: Kernel, seconds: number): Promise<{ wall: number; cpu: number }> {
  const ops = new Ops();
  kernel.build(ops);
  const program = ops.finish();
  const params = new Int32Array(program.paramsLength);
  for (const [index, value] of pendingParams.splice(0)) params[index] = value;
  const executable = backend.compile(program);
  let best = Number.POSITIVE_INFINITY;
  let runs = 0;
  let cpu = 0;
  const end = performance.now() + seconds * 1000;
  while (runs < 3 || performance.now() < end) {
    const start = performance.now();
    const before = process.cpuUsage();
    await backend.submit(executable, params).done;
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, (performance.now() - start) / 1000);
    cpu += (user + system) / 1e6;
    runs++;
  }
  executable.dispose();
  return { wall: best, cpu: cpu / runs };
}

/** Params of the program that is being built. */
const pendingParams: [index: number, value: number][] = [];

function ints(ops: Ops, values: readonly number[]): DeviceBuffer {
  const view = ops.params(values.length);
  for (const [i, value] of values.entries()) pendingParams.push([view.offset + i, value]);
  return view;
}

function* kernelsOf(backend: NativeBackend, shape: Shape): Generator<Kernel> {
  const { context, batch, width, queryHeads, kvHeads, headDim, vocabulary } = shape;
  const tokens = context * batch;
  const made: DeviceBuffer[] = [];
  const buffer = (...sizes: number[]): DeviceBuffer => {
    const result = backend.create('f32', sizes);
    let state = 1;
    const values = Float32Array.from({ length: sizes.reduce((a, b) => a * b, 1) }, () => {
      state = Math.imul(state, 1664525) + 1013904223;
      return state / 2 ** 33;
    });
    backend.write(result, values);
    made.push(result);
    return result;
  };
  const free = (): void => {
    for (const one of made.splice(0)) backend.free(one);
  };
  for (const [inputs, outputs] of [
    [width, 2 * shape.ffn],
    [shape.ffn, width],
    [width, (queryHeads + 2 * kvHeads) * headDim],
  ]) {
    const [x, weight, out] = [buffer(tokens, inputs), buffer(outputs, inputs), buffer(tokens, outputs)];
    const work = 2 * tokens * inputs * outputs;
    const size = `${tokens} x ${inputs} x ${outputs}`;
    const unit = 'GFLOP/s';
    yield {
      kernel: `linear ${size}`,
      unit,
      work,
      build: (ops) => void ops.linear({ buffer: x, rows: tokens, columns: inputs }, weight, { into: out }),
    };
    const dx = buffer(tokens, inputs);
    yield {
      kernel: `linearInputGrad ${size}`,
      unit,
      work,
      build: (ops) => ops.derivative('linearInputGrad', [out, weight, null, dx], [tokens, inputs, outputs]),
    };
    yield {
      kernel: `linearWeightGrad ${size}`,
      unit,
      work,
      build: (ops) => ops.derivative('linearWeightGrad', [out, x, weight], [tokens, inputs, outputs]),
    };
    free();
  }
  const heads = { queryHeads, kvHeads, headDim };
  const query = buffer(tokens, queryHeads * headDim);
  const cache = { keys: buffer(tokens, kvHeads, headDim), values: buffer(tokens, kvHeads, headDim) };
  const ragged = (ops: Ops) => ({
    sequences: ints(ops, Array.from({ length: batch }, (_, s) => [s * context, context, s, 1]).flat()),
    sequenceCount: batch,
    segments: ints(ops, Array.from({ length: batch }, (_, s) => [s * context, context]).flat()),
    segmentCount: batch,
  });
  const pairs = (batch * queryHeads * headDim * context * (context + 1)) / 2;
  yield {
    kernel: 'attention',
    unit: 'GFLOP/s',
    work: 4 * pairs,
    build: (ops) =>
      void ops.attention({ buffer: query, rows: tokens, columns: queryHeads * headDim }, heads, cache, ragged(ops), true),
  };
  const like = (one: DeviceBuffer): DeviceBuffer => buffer(...one.shape);
  const [out, dout, dquery, dkeys, dvalues] = [like(query), like(query), like(query), like(cache.keys), like(cache.keys)];
  const logsumexp = buffer(tokens, queryHeads);
  yield {
    kernel: 'attentionGrad',
    unit: 'GFLOP/s',
    work: 10 * pairs,
    build: (ops) => {
      const { sequences, segments } = ragged(ops);
      ops.derivative(
        'attentionGrad',
        [query, cache.keys, cache.values, sequences, segments, out, logsumexp, dout, dquery, dkeys, dvalues],
        [tokens, batch, batch, queryHeads, kvHeads, headDim, tokens],
        [headDim ** -0.5],
      );
    },
  };
  free();
  const [x, weight, weightGrad] = [buffer(tokens, width), buffer(vocabulary, width), buffer(vocabulary, width)];
  const [scale, losses] = [buffer(1), buffer(tokens, 2)];
  yield {
    kernel: 'crossEntropy',
    unit: 'GFLOP/s',
    work: 6 * tokens * width * vocabulary,
    build: (ops) => {
      const targets = ints(
        ops,
        Array.from({ length: tokens }, (_, i) => i % vocabulary),
      );
      const options = { scale, losses, zLoss: 1e-4, labelSmoothing: 0, differentiable: true, weightGrad };
      ops.crossEntropy({ buffer: x, rows: tokens, columns: width }, weight, targets, options);
    },
  };
  free();
  // What a step does per token and layer beside these is bound by memory too; the optimizer is the largest of them.
  const count = 1 << 25;
  const state = { parameters: buffer(count), grad: buffer(count), firstMoment: buffer(count), secondMoment: buffer(count) };
  const [norms, schedule] = [buffer(3), buffer(3)];
  backend.write(norms, Float32Array.of(1, 1, 0));
  backend.write(schedule, Float32Array.of(1e-3, 0.1, 0.001));
  yield {
    kernel: 'adamw',
    unit: 'GB/s',
    work: 32 * count,
    build: (ops) => ops.adamw(state, norms, schedule, { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 }),
  };
  yield { kernel: 'globalNorm', unit: 'GB/s', work: 4 * count, build: (ops) => ops.globalNorm(state.grad, norms, 1) };
  free();
}
