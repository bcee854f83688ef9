// Several adapters on one model, each row of a step with its own or none: their matrices lie side by side, so a step is the same two
// products whatever it mixes, and a table by adapter keeps of them what is a row's. Made before the model, whose layers it wraps while
// they are loaded. For inference; what trains one is `train/adapter.ts`.

import { InputError } from '../errors.js';
import { bytesInMemory, type StoredTensor } from '../io/bytes.js';
import type { Backend, DeviceBuffer } from '../tensor/backend.js';
import { Ops } from '../tensor/ops.js';
import { view } from '../tensor/plan.js';
import { type Adapter, type AdapterModule, scalingOf, transposed } from './adapter.js';
import { DoraLinear } from './dora.js';
import type { LoadOptions } from './load.js';
import { LoraEmbedding, LoraLinear, type LowRank, RowGroups } from './lora.js';
import type { OpenELM } from './openelm.js';

/** A module as one of the adapters has it. */
interface Part {
  /** From 1; 0 is the base alone. */
  readonly group: number;
  readonly module: AdapterModule;
  readonly adapter: Adapter;
}

interface Stack {
  readonly parts: readonly Part[];
  readonly low: LowRank;
  /** f32 [groups, outputs]: with DoRA. */
  readonly factors?: DeviceBuffer<'f32'>;
  /** The frozen weight, once the layer was made. */
  weight?: DeviceBuffer;
}

const sets = new WeakMap<OpenELM, AdapterSet>();

/** The adapters that lie around a model's layers. */
export function adaptersOf(model: OpenELM): AdapterSet | undefined {
  return sets.get(model);
}

export class AdapterSet {
  /** Which group each row of a program belongs to. */
  readonly rowGroups = new RowGroups();
  private readonly groups: ReadonlyMap<string, number>;
  private readonly stacks = new Map<string, Stack>();
  private readonly made: DeviceBuffer[] = [];

  private constructor(
    private readonly backend: Backend,
    private readonly adapters: ReadonlyMap<string, Adapter>,
    /** The adapter of requests that name none; default the base alone. */
    private readonly usual?: string,
  ) {
    this.groups = new Map([...adapters.keys()].map((name, i) => [name, i + 1]));
  }

  /** Uploads adapters that were checked against the model. Rejects with `ExecutionError` when memory is short. */
  static async create(
    backend: Backend,
    adapters: ReadonlyMap<string, Adapter>,
    options: { readonly dtype: 'f32' | 'f16'; readonly usual?: string },
  ): Promise<AdapterSet> {
    const set = new AdapterSet(backend, adapters, options.usual);
    try {
      for (const name of new Set([...adapters.values()].flatMap(({ modules }) => modules.map((module) => module.name)))) {
        set.stacks.set(name, await set.stack(name, options.dtype));
      }
      return set;
    } catch (error) {
      set.free();
      throw error;
    }
  }

  /** The number of an adapter; 0 for `null`, the base alone. Throws `InputError` for a name that is not here. */
  groupOf(name: string | null | undefined): number {
    if (name === null) return 0;
    const wanted = name ?? this.usual;
    if (wanted === undefined) return 0;
    const group = this.groups.get(wanted);
    if (group === undefined)
      throw new InputError(`there is no adapter ${wanted}; there are ${[...this.groups.keys()].join(', ')}`);
    return group;
  }

  /** For `loadModel`. The output layer of a tied model is not adapted with the embedding, as in CoreNet and PEFT. */
  get wrapping(): Required<Pick<LoadOptions, 'wrapLinear' | 'wrapEmbedding'>> {
    return {
      wrapLinear: (name, base) => {
        const stack = this.stacks.get(name);
        if (!stack || stack.parts[0].module.embedding) return base;
        stack.weight = base.weight;
        const { low, factors } = stack;
        return factors ? DoraLinear.fromBase(base, low, { table: factors }) : LoraLinear.fromBase(base, low);
      },
      wrapEmbedding: (name, base) => {
        const stack = this.stacks.get(name);
        return stack ? LoraEmbedding.fromBase(base, stack.low) : base;
      },
    };
  }

  /** Once the model is loaded: what DoRA divides by, which is the weights'. */
  async attach(model: OpenELM): Promise<void> {
    sets.set(model, this);
    for (const { parts, factors, weight } of this.stacks.values()) {
      if (!factors) continue;
      const { outputs } = parts[0].module;
      this.backend.write(factors, new Float32Array(factors.shape[0] * outputs).fill(1));
      for (const { group, module, adapter } of parts) {
        if (module.dora) await this.fillFactors(view(factors, group * outputs, [1, outputs]), weight!, module, adapter);
      }
    }
  }

  free(): void {
    for (const buffer of this.made.splice(0)) this.backend.free(buffer);
  }

  private async stack(name: string, dtype: 'f32' | 'f16'): Promise<Stack> {
    const parts = [...this.adapters.values()].flatMap((adapter, i): Part[] => {
      const module = adapter.modules.find((other) => other.name === name);
      return module ? [{ group: i + 1, module, adapter }] : [];
    });
    const { embedding, inputs, outputs } = parts[0].module;
    const ranks = parts.reduce((sum, { module }) => sum + module.rank, 0);
    const [a, byRank] = [new Float32Array(ranks * inputs), new Float32Array(ranks * outputs)];
    const scaling = new Float32Array((this.adapters.size + 1) * ranks);
    let first = 0;
    for (const { group, module, adapter } of parts) {
      const [ownA, ownB] = [adapter.values.get(`${name}.lora_A`)!, adapter.values.get(`${name}.lora_B`)!];
      a.set(embedding ? transposed(ownA, inputs, module.rank) : ownA, first * inputs);
      byRank.set(transposed(ownB, outputs, module.rank), first * outputs);
      scaling.fill(scalingOf(module), group * ranks + first, group * ranks + first + module.rank);
      first += module.rank;
    }
    const table = this.create([this.adapters.size + 1, ranks]);
    this.backend.write(table, scaling);
    const low: LowRank = {
      a: embedding
        ? await this.upload(transposed(a, ranks, inputs), [inputs, ranks], dtype)
        : await this.upload(a, [ranks, inputs], dtype),
      b: await this.upload(transposed(byRank, ranks, outputs), [outputs, ranks], dtype),
      scaling: table,
      groups: this.rowGroups,
    };
    const dora = parts.some(({ module }) => module.dora);
    return { parts, low, factors: dora ? this.create([this.adapters.size + 1, outputs]) : undefined };
  }

  private async fillFactors(
    into: DeviceBuffer<'f32'>,
    weight: DeviceBuffer,
    module: AdapterModule,
    adapter: Adapter,
  ): Promise<void> {
    const { backend } = this;
    const { name, inputs, outputs, rank } = module;
    const shapes = { lora_A: [rank, inputs], lora_B: [outputs, rank], lora_magnitude_vector: [outputs] };
    const buffers = Object.entries(shapes).map(([part, shape]) => {
      const buffer = backend.create('f32', shape);
      backend.write(buffer, adapter.values.get(`${name}.${part}`)!);
      return buffer;
    });
    const [a, b, magnitude] = buffers;
    const ops = new Ops();
    ops.copy({ buffer: ops.doraFactors(weight, a, b, magnitude, scalingOf(module)), rows: 1, columns: outputs }, into);
    const executable = backend.compile(ops.finish());
    try {
      await backend.submit(executable, new Int32Array(0)).done;
    } finally {
      executable.dispose();
      for (const buffer of buffers) backend.free(buffer);
    }
  }

  private create(shape: readonly number[]): DeviceBuffer<'f32'> {
    const buffer = this.backend.create('f32', shape);
    this.made.push(buffer);
    return buffer;
  }

  private async upload(values: Float32Array, shape: readonly number[], dtype: 'f32' | 'f16'): Promise<DeviceBuffer> {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const source = bytesInMemory('adapter', bytes);
    const tensor: StoredTensor = { name: 'adapter', dtype: 'F32', shape, source, offset: 0, bytes: bytes.length };
    const buffer = await this.backend.upload(tensor, dtype);
    this.made.push(buffer);
    return buffer;
  }
}
