// What is trained when an adapter is: its matrices and magnitudes, beside a model that stays as it was loaded, in any precision.
// Made before the model, whose layers it wraps while they are loaded; filled afterwards.

import { type Adapter, adapterParameters, type ChosenModule, scalingOf } from '../model/adapter.js';
import { DoraLinear } from '../model/dora.js';
import type { LoadOptions } from '../model/load.js';
import { LoraEmbedding, LoraLinear, type LowRank } from '../model/lora.js';
import type { Backend, DeviceBuffer } from '../tensor/backend.js';
import { Ops } from '../tensor/ops.js';
import { TrainingParameters } from './parameters.js';

/**
 * What an adapter adds to a model (LoRA, Hu et al. 2021; DoRA, Liu et al. 2024), to be trained beside its frozen weights: load the model
 * with `wrapping`, then `begin`.
 */
export class AdapterParameters extends TrainingParameters {
  private readonly constants = new Map<string, DeviceBuffer>();
  /** The frozen weights of adapted linears, known once the model is loaded. */
  private readonly weights = new Map<string, DeviceBuffer>();

  constructor(
    private readonly device: Backend,
    readonly modules: readonly ChosenModule[],
  ) {
    super(device, modules.flatMap(adapterParameters));
  }

  /** For `loadModel`. The output layer of a tied model is not adapted with the embedding, as in CoreNet and PEFT. */
  get wrapping(): Required<Pick<LoadOptions, 'activations' | 'wrapLinear' | 'wrapEmbedding'>> {
    const byName = new Map(this.modules.map((module, op) => [module.name, { module, op }]));
    return {
      activations: 'f32',
      wrapLinear: (name, base) => {
        const found = byName.get(name);
        if (!found || found.module.embedding) return base;
        const { module, op } = found;
        this.weights.set(name, base.weight);
        const low = this.lowRank(module, op);
        if (!module.dora) return LoraLinear.fromBase(base, low);
        const factors = { magnitude: this.view(`${name}.lora_magnitude_vector`), scaling: scalingOf(module) };
        return DoraLinear.fromBase(base, low, factors, this.constant(base.outputs, -1));
      },
      wrapEmbedding: (name, base) => {
        const found = byName.get(name);
        return found ? LoraEmbedding.fromBase(base, this.lowRank(found.module, found.op)) : base;
      },
    };
  }

  /** Fills the parameters. Magnitudes that `values` does not have become the norms of the adapted weights. */
  async begin(values: ReadonlyMap<string, Float32Array>): Promise<void> {
    for (const { name } of this.list) if (values.has(name)) this.write(name, values.get(name)!);
    for (const module of this.modules) {
      const magnitude = `${module.name}.lora_magnitude_vector`;
      if (module.dora && !values.has(magnitude)) this.write(magnitude, await this.norms(module));
    }
  }

  /** All values as they are now. */
  async adapter(): Promise<Adapter> {
    const values = new Map<string, Float32Array>();
    for (const { name } of this.list) values.set(name, await this.read(name));
    return { modules: this.modules, values, dropout: this.modules[0]?.dropout ?? 0 };
  }

  override free(): void {
    super.free();
    for (const buffer of this.constants.values()) this.device.free(buffer);
  }

  private lowRank(module: ChosenModule, op: number): LowRank {
    const { name, rank, dropout: rate } = module;
    const scaling = this.constant(rank, scalingOf(module));
    // Of the embedding nothing is dropped: there is no x.
    const dropout = module.embedding || rate === 0 ? undefined : { rate, op };
    return { a: this.view(`${name}.lora_A`), b: this.view(`${name}.lora_B`), scaling, dropout };
  }

  /** f32 [1, columns] of one value. */
  private constant(columns: number, value: number): DeviceBuffer {
    const key = `${columns} ${value}`;
    const known = this.constants.get(key);
    if (known) return known;
    const made = this.device.create('f32', [1, columns]);
    this.device.write(made, new Float32Array(columns).fill(value));
    this.constants.set(key, made);
    return made;
  }

  private async norms(module: ChosenModule): Promise<Float32Array> {
    const { name, outputs } = module;
    const device = this.device;
    const [ones, out] = [device.create('f32', [outputs]), device.create('f32', [1, outputs])];
    device.write(ones, new Float32Array(outputs).fill(1));
    const ops = new Ops();
    const [a, b] = [this.view(`${name}.lora_A`), this.view(`${name}.lora_B`)];
    const factors = ops.doraFactors(this.weights.get(name)!, a, b, ones, scalingOf(module));
    ops.copy({ buffer: factors, rows: 1, columns: outputs }, out);
    const executable = device.compile(ops.finish());
    try {
      await device.submit(executable, new Int32Array(0)).done;
      return Float32Array.from(await device.read(out), (inverse) => 1 / inverse);
    } finally {
      executable.dispose();
      for (const buffer of [ones, out]) device.free(buffer);
    }
  }
}
