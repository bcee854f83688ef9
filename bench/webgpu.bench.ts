// Inference on a GPU: tokens a second of models with random weights of the true sizes, beside what the GPU reads and computes at best,
// measured in the same run, beside the same kernels without subgroups and beside the plain ones. `alone`: the products of a token one after another, without what comes
// between them. Needs the package `webgpu`; a software GPU is told apart and gets less work.
import { parseArgs } from 'node:util';
import type { WebgpuBackend } from '../src/backends/webgpu/backend.js';
import { WebgpuExecutable } from '../src/backends/webgpu/executable.js';
import { findGpu, nodeWebgpuBackend } from '../src/backends/webgpu/node.js';
import { messageOf } from '../src/errors.js';
import { ggufTensor } from '../src/formats/gguf.js';
import { maxStepRows, Stepper } from '../src/infer/step.js';
import { type ByteSource, elementsOf, type StoredTensor } from '../src/io/bytes.js';
import { encodeFloat16 } from '../src/io/float16.js';
import { type Cache, createCache } from '../src/model/cache.js';
import { configFromName, type ModelConfig } from '../src/model/config.js';
import { type LoadedModel, loadModel } from '../src/model/load.js';
import { type Precision, parameterShapes, weightBytes } from '../src/model/parameters.js';
import type { DeviceBuffer, Executable, Program } from '../src/tensor/backend.js';
import { Ops } from '../src/tensor/ops.js';
import { type Row, report } from './report.js';
import { type KernelKind, kernelKinds, kernelRows } from './webgpu-kernels.js';
import { measurePeaks, type Peaks } from './webgpu-probe.js';

const usage = `npm run bench -- webgpu [options]
  --models LIST      shapes (default: OpenELM-270M,OpenELM-1_1B; of a software GPU none but OpenELM-270M)
  --precisions LIST  of f32,f16,bf16,q8,q4 (default: q8,q4,f16; f16 of the first model only)
  --contexts LIST    tokens before those that are decoded (default: 100,1000)
  --prefill N        tokens of a prompt (default: 512)
  --seconds N        stop after about so long (default: 150)
  --no-plain         leave out the plain kernels
  --no-lone          leave out the fast kernels without subgroups
  --least-limits     a device with no more than WebGPU's least limits: five dispatches a layer instead of four
  --kernels          instead of models each fast kernel beside itself without subgroups and beside the plain one`;

/** The command: measures, prints the table and writes bench/results/webgpu.json. */
export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      models: { type: 'string' },
      precisions: { type: 'string' },
      contexts: { type: 'string', default: '100,1000' },
      prefill: { type: 'string', default: '512' },
      seconds: { type: 'string', default: '150' },
      'no-plain': { type: 'boolean', default: false },
      'no-lone': { type: 'boolean', default: false },
      'least-limits': { type: 'boolean', default: false },
      kernels: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const end = performance.now() + Number(values.seconds) * 1000;
  const { software } = await findGpu();
  const backend = await nodeWebgpuBackend({ leastLimits: values['least-limits'] });
  console.log(backend.description + (software ? ', a program of the CPU' : ''));
  if (values.kernels) {
    const found: Row[] = [];
    const tensor = (shape: readonly number[], precision: Precision) => randomTensor('weight', shape, precision);
    for await (const row of kernelRows(backend, software, tensor)) {
      found.push(row);
      console.error(Object.values(row).join(' '));
    }
    report('webgpu-kernels', found, { gpu: backend.description, unit: software ? 'ms of CPU' : 'ms' });
    return await backend.dispose();
  }
  const peaks = await measurePeaks(backend.device, software, backend.traits.dot4);
  console.log(sentence(peaks));
  const models = values.models?.split(',') ?? (software ? ['OpenELM-270M'] : ['OpenELM-270M', 'OpenELM-1_1B']);
  const rows: Row[] = [];
  for (const [i, model] of models.entries()) {
    const precisions = values.precisions?.split(',') ?? (i === 0 ? ['q8', 'q4', 'f16'] : ['q8', 'q4']);
    for (const precision of precisions as Precision[]) {
      if (performance.now() > end) {
        console.log(`No time was left for ${model} ${precision}.`);
        continue;
      }
      const bench = new ModelBench(backend, peaks, configFromName(model), precision, software);
      const measured = bench.rows({
        contexts: values.contexts.split(',').map(Number),
        prefill: Number(values.prefill),
        kinds: kernelKinds(backend.traits).filter(
          ({ name }) => !(values['no-plain'] && name === 'plain') && !(values['no-lone'] && name === 'lone'),
        ),
        end,
      });
      for await (const row of measured) {
        rows.push({ model: model.replace('OpenELM-', ''), weights: precision, ...row });
        console.error(Object.values(rows[rows.length - 1]).join(' '));
      }
    }
  }
  report('webgpu', rows, { gpu: backend.description, peaks });
  await backend.dispose();
}

function sentence({ read, copy, f32, f16, int8, roundTrip, dispatch }: Peaks): string {
  const giga = (rate: number | undefined): string => (rate === undefined ? '-' : (rate / 1e9).toFixed(0));
  return (
    `reads ${giga(read)} GB/s, copies ${giga(copy)} GB/s; f32 ${giga(f32)} GFLOP/s, f16 ${giga(f16)}, packed bytes ${giga(int8)} GOP/s; ` +
    `an empty submission ${roundTrip.toFixed(2)} ms, a dispatch that waits for another ${dispatch.toFixed(1)} us`
  );
}

interface Wanted {
  readonly contexts: readonly number[];
  readonly prefill: number;
  readonly kinds: readonly KernelKind[];
  /** When to stop. */
  readonly end: number;
}

class ModelBench {
  private loaded!: LoadedModel;
  private cache!: Cache;
  private compiled: Executable[] = [];

  constructor(
    private readonly backend: WebgpuBackend,
    private readonly peaks: Peaks,
    private readonly config: ModelConfig,
    private readonly precision: Precision,
    private readonly software: boolean,
  ) {}

  /** Rows of the table; what fails is told, and the rest goes on. */
  async *rows({ contexts, prefill, kinds, end }: Wanted): AsyncGenerator<Row> {
    const { backend, config, precision } = this;
    const usual = { ...backend.traits };
    try {
      const began = performance.now();
      const tensors = new Map(parameterShapes(config).map(({ name, shape }) => [name, randomTensor(name, shape, precision)]));
      this.loaded = await loadModel(backend, config, { tensors, dtype: precision, ignored: [] }, { dtype: precision });
      const room = Math.max(...contexts) + 64 + prefill;
      this.cache = createCache(backend, config, room, Math.max(room, config.ropeMaxLength), 'f16');
      console.error(`${precision} made in ${((performance.now() - began) / 1000).toFixed(1)} s`);
      for (const { name: kind, traits } of kinds) {
        Object.assign(backend.traits, traits);
        const parts: [name: string, row: () => Promise<Row>][] = [
          ...contexts.map((past): [string, () => Promise<Row>] => [`decode at ${past}`, () => this.decode(past)]),
          [`prefill ${prefill}`, () => this.prefill(prefill)],
          ['products alone', () => this.products()],
        ];
        for (const [name, measure] of parts) {
          if (performance.now() > end) console.log(`No time was left for ${name}, ${kind}.`);
          else yield { what: name, kernels: kind, ...(await measure().catch((error) => ({ failed: messageOf(error) }))) };
        }
      }
    } catch (error) {
      console.log(`${config.layers.length} layers in ${precision}: ${messageOf(error)}`);
    } finally {
      Object.assign(backend.traits, usual);
      this.cache?.free();
      this.loaded?.free();
    }
  }

  /**
   * A token after another: each asked for when the one before is known, then as the engine does it, which goes on from ids that it has not
   * seen; then many at once, which is the device's own time.
   */
  private async decode(past: number): Promise<Row> {
    const { stepper, dispatches } = this.stepper();
    const items = [{ ids: [1], past, segments: [[0, past + 1]] as const, wanted: [0] }];
    const step = () => stepper.run(items, 'argmax');
    const flying = [step(), stepper.runPicked(items)];
    await Promise.all(flying.splice(0));
    const [count, began] = [this.software ? 2 : 50, performance.now()];
    for (let i = 0; i < count; i++) await step();
    const each = (performance.now() - began) / count;
    const spent = hostTime(this.backend);
    const chained = performance.now();
    for (let i = 0; i < count; i++) {
      flying.push(stepper.runPicked(items));
      if (flying.length >= this.backend.runsAhead) await flying.shift();
    }
    await Promise.all(flying);
    const goingOn = (performance.now() - chained) / count;
    const host = spent() / count;
    const ahead = performance.now();
    await Promise.all(Array.from({ length: count }, step));
    const device = (performance.now() - ahead) / count;
    stepper.dispose();
    const bytes = weightBytes(this.config, this.precision) + this.cacheBytes() * past;
    return {
      'tokens/s': 1000 / goingOn,
      'one by one': 1000 / each,
      'device ms': device,
      'GB/s': bytes / device / 1e6,
      share: percent((bytes / device) * 1e3, this.peaks.read),
      dispatches: dispatches(),
      'host us': host * 1000,
    };
  }

  private async prefill(tokens: number): Promise<Row> {
    const { stepper, dispatches } = this.stepper();
    const pass = async (): Promise<void> => {
      const steps: Promise<unknown>[] = [];
      for (let past = 0; past < tokens; past += maxStepRows) {
        const count = Math.min(maxStepRows, tokens - past);
        const last = past + count === tokens;
        const ids = new Int32Array(count).fill(1);
        const item = { ids, past, segments: [[0, past + count]] as const, wanted: last ? [count - 1] : [] };
        steps.push(stepper.run([item], last ? 'argmax' : 'none'));
      }
      await Promise.all(steps);
    };
    if (!this.software) await pass();
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < (this.software ? 1 : 4); i++) {
      const began = performance.now();
      await pass();
      best = Math.min(best, (performance.now() - began) / 1000);
    }
    stepper.dispose();
    const shapes = parameterShapes(this.config).filter(({ shape, name }) => shape.length === 2 && !name.includes('embeddings'));
    const operations = 2 * tokens * shapes.reduce((sum, { shape }) => sum + elementsOf(shape), 0);
    const peak = this.peaks.f16 ?? this.peaks.f32;
    return {
      'tokens/s': tokens / best,
      'device ms': best * 1000,
      'GFLOP/s': operations / best / 1e9,
      share: `${percent(operations / best, peak)} of ${this.peaks.f16 ? 'f16' : 'f32'}`,
      dispatches: dispatches(),
    };
  }

  /** One product after another, of one row, by every matrix that a token meets. */
  private async products(): Promise<Row> {
    const { backend, config } = this;
    const ops = new Ops();
    const widest = Math.max(...config.layers.map(({ ffnDim }) => ffnDim), config.modelDim);
    const x = backend.create('f32', [widest]);
    const outputs = Math.max(config.vocabSize, ...config.layers.map(({ proj1Dim }) => proj1Dim));
    const into = backend.create('f32', [outputs]);
    const matrices = this.matrices();
    for (const weight of matrices) {
      ops.linear({ buffer: x, rows: 1, columns: weight.shape[1] }, weight, { int8: true, into });
    }
    const program: Program = ops.finish();
    const executable = backend.compile(program);
    const params = new Int32Array(program.paramsLength);
    await backend.submit(executable, params).done;
    const count = this.software ? 2 : 20;
    const began = performance.now();
    await Promise.all(Array.from({ length: count }, () => backend.submit(executable, params).done));
    const device = (performance.now() - began) / count;
    const dispatches = (executable as WebgpuExecutable).plan.dispatches.length;
    executable.dispose();
    for (const buffer of [x, into]) backend.free(buffer);
    const bytes = weightBytes(config, this.precision);
    return {
      'tokens/s': 1000 / device,
      'device ms': device,
      'GB/s': bytes / device / 1e6,
      share: percent((bytes / device) * 1e3, this.peaks.read),
      dispatches,
    };
  }

  /** The weights of all products of a token, found where the model uses them. */
  private matrices(): DeviceBuffer[] {
    const found: DeviceBuffer[] = [];
    const { records } = this.programOf(1);
    for (const { op, operands } of records) if (op === 'linear') found.push(operands[1]!);
    return found;
  }

  private programOf(rows: number): Program {
    const before = this.compiled.length;
    const { stepper } = this.stepper();
    void stepper.run([{ ids: new Int32Array(rows).fill(1), past: 0, segments: [[0, rows]], wanted: [0] }], 'argmax');
    return this.compiled[before].program;
  }

  private stepper(): { stepper: Stepper; dispatches: () => number } {
    const { backend, compiled } = this;
    const proxy = new Proxy(backend, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (typeof value !== 'function') return value;
        if (name !== 'compile') return value.bind(target);
        return (program: Program) => {
          compiled.push(target.compile(program));
          return compiled[compiled.length - 1];
        };
      },
    });
    const stepper = new Stepper(proxy, this.loaded.model, this.cache, { maxSequences: 1, maxSegments: 1 });
    return { stepper, dispatches: () => (compiled[compiled.length - 1] as WebgpuExecutable).plan.dispatches.length };
  }

  /** Bytes of keys and values of a token, f16. */
  private cacheBytes(): number {
    return this.config.layers.reduce((sum, { kvHeads, headDim }) => sum + 4 * kvHeads * headDim, 0);
  }
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(0)}%`;
}

/** Counts the milliseconds that this thread hands work over to the device in, until the given function is called for them. */
function hostTime({ device }: WebgpuBackend): () => number {
  let sum = 0;
  const timed = <Name extends string>(owner: { [name in Name]: (...args: never[]) => unknown }, name: Name): (() => void) => {
    const original = owner[name];
    owner[name] = function (this: unknown, ...args: never[]) {
      const began = performance.now();
      const result = original.apply(this, args);
      sum += performance.now() - began;
      return result;
    };
    return () => {
      owner[name] = original;
    };
  };
  const encoders = Object.getPrototypeOf(device.createCommandEncoder()) as GPUCommandEncoder;
  const queues = Object.getPrototypeOf(device.queue) as GPUQueue;
  const undo = [
    timed(WebgpuExecutable.prototype, 'begin'),
    timed(WebgpuExecutable.prototype, 'encode'),
    timed(encoders, 'finish'),
    timed(queues, 'submit'),
  ];
  return () => {
    for (const each of undo) each();
    return sum;
  };
}

/** A tensor whose bytes repeat: made in no time, since speed does not depend on them. */
function randomTensor(name: string, shape: readonly number[], precision: Precision): StoredTensor {
  if (shape.length === 1 || precision === 'f32' || precision === 'bf16' || precision === 'f16') {
    const dtype = shape.length === 1 ? 'F32' : ({ f32: 'F32', bf16: 'BF16', f16: 'F16' } as const)[precision as 'f16'];
    const bytes = elementsOf(shape) * (dtype === 'F32' ? 4 : 2);
    return { name, dtype, shape, source: repeated(name, pool(dtype), bytes), offset: 0, bytes };
  }
  const type = precision === 'q8' ? 'Q8_0' : 'Q4_0';
  const bytes = (elementsOf(shape) / 32) * (precision === 'q8' ? 34 : 18);
  const part = { name, type, shape: [...shape], offset: 0, bytes } as const;
  return ggufTensor(name, [part], repeated(name, pool(type), bytes));
}

const pools = new Map<string, Uint8Array>();

/** Some megabytes of whole blocks of a type. */
function pool(type: 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0'): Uint8Array {
  const known = pools.get(type);
  if (known) return known;
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  const count = 1 << 18;
  let bytes: Uint8Array;
  if (type === 'F32') bytes = new Uint8Array(Float32Array.from({ length: count }, next).buffer);
  else if (type === 'F16') bytes = new Uint8Array(encodeFloat16(Float32Array.from({ length: count }, () => next() / 32)).buffer);
  else if (type === 'BF16') bytes = Uint8Array.from({ length: 2 * count }, (_, i) => (i % 2 ? 0x3c : next() * 127));
  else {
    const size = type === 'Q8_0' ? 34 : 18;
    const scale = encodeFloat16(Float32Array.of(type === 'Q8_0' ? 1 / 4096 : 1 / 256));
    bytes = Uint8Array.from({ length: (count / 8) * size }, () => (next() + 1) * 128);
    for (let at = 0; at < bytes.length; at += size) {
      bytes[at] = scale[0] & 255;
      bytes[at + 1] = scale[0] >> 8;
    }
  }
  pools.set(type, bytes);
  return bytes;
}

function repeated(name: string, bytes: Uint8Array, size: number): ByteSource {
  return {
    name,
    size,
    async read(offset, length) {
      const from = offset % bytes.length;
      if (from + length <= bytes.length) return bytes.slice(from, from + length);
      const out = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const at = (offset + done) % bytes.length;
        const count = Math.min(length - done, bytes.length - at);
        out.set(bytes.subarray(at, at + count), done);
        done += count;
      }
      return out;
    },
    async close() {},
  };
}
