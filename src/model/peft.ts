// Adapters in PEFT's files, adapter_config.json and adapter_model.safetensors, both ways: Python's PEFT loads what is written here.
// Only LoRA and DoRA without biases; a config that asks for more is refused by name rather than half applied.

import { InputError, shown } from '../errors.js';
import type { ByteSink, StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { jsonBytes } from '../io/json.js';
import { type TensorSpec, writeSafetensors } from '../io/safetensors.js';
import { type Adapter, type AdapterModule, adapterParameters, transposed } from './adapter.js';

/** Names of an adapter's files in PEFT's layout. */
export const peftFiles = { config: 'adapter_config.json', weights: 'adapter_model.safetensors' } as const;

const prefix = 'base_model.model.';
const parts = /^(.+)\.(lora_A\.weight|lora_B\.weight|lora_embedding_A|lora_embedding_B|lora_magnitude_vector(?:\.weight)?)$/;

/**
 * Keys of adapter_config.json that change what is computed in ways that are not known here, and the values that do not. `bias` and
 * `fan_in_fan_out` change nothing: these models have no biases, and PEFT turns the other off for their linears.
 */
const unsupported: Readonly<Record<string, readonly unknown[]>> = {
  lora_bias: [false],
  use_qalora: [false],
  use_bdlora: [null, false],
  modules_to_save: [null],
  trainable_token_indices: [null],
  layer_replication: [null],
  target_parameters: [null],
  alora_invocation_tokens: [null],
  arrow_config: [null],
  kasa_config: [null],
  monteclora_config: [null],
  velora_config: [null],
};

/** Beginnings of `init_lora_weights` that took something out of the base weights, which the adapter alone does not tell. */
const residual = /^(pissa|corda|olora|loftq|lora_ga)/i;

/** Reads an adapter; `where` names it in messages. Throws `InputError` when something is missing, or of another kind. */
export async function readPeft(config: unknown, tensors: ReadonlyMap<string, StoredTensor>, where: string): Promise<Adapter> {
  const file = `${where}/${peftFiles.config}`;
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    throw new InputError(`${file}: expected keys and values`);
  const keys = config as Record<string, unknown>;
  if (keys.peft_type !== 'LORA') throw new InputError(`${file}: peft_type is ${shown(keys.peft_type)}; only LORA is known`);
  for (const [key, harmless] of Object.entries(unsupported)) {
    const value = keys[key];
    const empty = Array.isArray(value) && value.length === 0;
    if (value !== undefined && !empty && !harmless.includes(value)) {
      throw new InputError(`${file}: ${key} is ${shown(value)}, which is not supported`);
    }
  }
  if (typeof keys.init_lora_weights === 'string' && residual.test(keys.init_lora_weights)) {
    throw new InputError(
      `${file}: init_lora_weights is ${shown(keys.init_lora_weights)}, which changed the base as well; save the adapter as plain LoRA ` +
        '(PEFT: save_pretrained with path_initial_model_for_weight_conversion, or merge it there)',
    );
  }
  const alpha = numberOf(keys.lora_alpha, 8, `${file}: lora_alpha`);
  const dropout = numberOf(keys.lora_dropout, 0, `${file}: lora_dropout`);
  const [rslora, dora] = ['use_rslora', 'use_dora'].map((key) => flagOf(keys[key], `${file}: ${key}`));
  const byModule = new Map<string, Map<string, StoredTensor>>();
  for (const tensor of tensors.values()) {
    const [, module, part] = parts.exec(tensor.name.startsWith(prefix) ? tensor.name.slice(prefix.length) : tensor.name) ?? [];
    if (module === undefined) throw new InputError(`${where}: tensor ${tensor.name} is no part of a LoRA adapter`);
    const name = module.startsWith('transformer.') ? module : `transformer.${module}`;
    byModule.set(name, (byModule.get(name) ?? new Map()).set(part.replace(/(?<=vector)\.weight$/, ''), tensor));
  }
  if (byModule.size === 0) throw new InputError(`${where}/${peftFiles.weights}: there are no tensors`);
  const values = new Map<string, Float32Array>();
  const modules: AdapterModule[] = [];
  for (const [name, tensorsHere] of byModule) {
    const embedding = tensorsHere.has('lora_embedding_A') || tensorsHere.has('lora_embedding_B');
    const need = (part: string): StoredTensor => {
      const tensor = tensorsHere.get(part);
      if (!tensor) throw new InputError(`${where}: tensor ${prefix}${name}.${part} is missing`);
      return tensor;
    };
    const [a, b] = embedding
      ? [need('lora_embedding_A'), need('lora_embedding_B')]
      : [need('lora_A.weight'), need('lora_B.weight')];
    const [rank, inputs] = a.shape;
    const [outputs, rankOfB] = b.shape;
    if (a.shape.length !== 2 || b.shape.length !== 2 || rank !== rankOfB) {
      throw new InputError(`${where}: ${a.name} is [${a.shape}] and ${b.name} [${b.shape}]; they do not fit together`);
    }
    if (embedding && dora) throw new InputError(`${where}: DoRA on the embedding (${name}) is not supported`);
    const asked = patternValue(keys.rank_pattern, name, `${file}: rank_pattern`) ?? keys.r ?? rank;
    if (rank !== asked)
      throw new InputError(`${where}: ${a.name} is [${a.shape}], but its rank by ${peftFiles.config} is ${shown(asked)}`);
    const hisAlpha = patternValue(keys.alpha_pattern, name, `${file}: alpha_pattern`) ?? alpha;
    const module: AdapterModule = { name, embedding, inputs, outputs, rank, alpha: hisAlpha, rslora, dora };
    modules.push(module);
    const found = await readFloat32(a);
    values.set(`${name}.lora_A`, embedding ? transposed(found, rank, inputs) : found);
    values.set(`${name}.lora_B`, await readFloat32(b));
    if (dora) {
      const magnitude = need('lora_magnitude_vector');
      if (magnitude.shape.join() !== String(outputs)) {
        throw new InputError(`${where}: ${magnitude.name} is [${magnitude.shape}], ${outputs} outputs expected`);
      }
      values.set(`${name}.lora_magnitude_vector`, await readFloat32(magnitude));
    }
  }
  return { modules, values, dropout };
}

function numberOf(value: unknown, otherwise: number, where: string): number {
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new InputError(`${where} is ${shown(value)}; expected a number`);
  return value;
}

function flagOf(value: unknown, where: string): boolean {
  if (value !== undefined && value !== null && typeof value !== 'boolean')
    throw new InputError(`${where} is ${shown(value)}; expected true or false`);
  return value === true;
}

/** A module's value by its name: the first key that is the end of it, or matches as a regular expression. */
function patternValue(patterns: unknown, name: string, where: string): number | undefined {
  if (patterns === undefined || patterns === null) return undefined;
  if (typeof patterns !== 'object')
    throw new InputError(`${where} is ${shown(patterns)}; expected numbers by the names of modules`);
  for (const [key, value] of Object.entries(patterns)) {
    let pattern: RegExp;
    try {
      pattern = new RegExp(`^(.*\\.)?(${key})$`);
    } catch {
      throw new InputError(`${where}: ${shown(key)} is no regular expression`);
    }
    if (pattern.test(name)) return numberOf(value, Number.NaN, `${where}.${key}`);
  }
  return undefined;
}

/** Writes an adapter's two files through `write`; `base` is the model it belongs to. Throws `InputError` for what PEFT cannot express. */
export async function writePeft(
  write: (name: string, fill: (sink: ByteSink) => Promise<void>) => Promise<void>,
  { modules, values, dropout }: Adapter,
  base: string | null,
): Promise<void> {
  const [first] = modules;
  if (modules.some(({ dora, rslora }) => dora !== first.dora || rslora !== first.rslora)) {
    throw new InputError(
      'PEFT has one use_dora and one use_rslora for all of an adapter: this one mixes them, and cannot be written',
    );
  }
  const others = (of: (module: AdapterModule) => number): Record<string, number> =>
    Object.fromEntries(modules.filter((module) => of(module) !== of(first)).map((module) => [module.name, of(module)]));
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base,
    inference_mode: true,
    r: first.rank,
    lora_alpha: first.alpha,
    lora_dropout: dropout,
    use_rslora: first.rslora,
    use_dora: first.dora,
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
    modules_to_save: null,
    target_modules: modules.map(({ name }) => name), // whole: a last part would name those of all layers
    rank_pattern: others(({ rank }) => rank),
    alpha_pattern: others(({ alpha }) => alpha),
  };
  await write(peftFiles.config, (sink) => sink.write(jsonBytes(config)));
  type Spec = TensorSpec & { values: Float32Array };
  const specs = modules.flatMap((module): Spec[] => {
    const { name, embedding, rank, inputs } = module;
    return adapterParameters(module).map(({ name: parameter, shape }) => {
      const own = values.get(parameter)!;
      const part = parameter.slice(name.length + 1);
      const isA = part === 'lora_A';
      const suffix = embedding
        ? part.replace('lora_', 'lora_embedding_')
        : part === 'lora_magnitude_vector'
          ? part
          : `${part}.weight`;
      return {
        name: `${prefix}${name}.${suffix}`,
        dtype: 'F32',
        shape: embedding && isA ? [rank, inputs] : shape,
        values: embedding && isA ? transposed(own, inputs, rank) : own,
      };
    });
  });
  await write(peftFiles.weights, (sink) =>
    writeSafetensors(sink, specs, ({ values: own }) => [new Uint8Array(own.buffer, own.byteOffset, own.byteLength)], {
      format: 'pt',
    }),
  );
}
