// What an adapter is: for some modules of a model a product of two narrow matrices that is added to the weight (LoRA, Hu et al.
// 2021), with DoRA's magnitudes perhaps. Which modules, by patterns as CoreNet's configs have them, with which sizes, and how they
// begin. The files are `peft.ts`, the layers `lora.ts` and `dora.ts`.

import { counted, editDistance, InputError } from '../errors.js';
import { PythonRandom } from '../python-random.js';
import type { ModelConfig } from './config.js';
import { type Parameter, parameterShapes } from './parameters.js';

/** Which modules are adapted, and how; names as in CoreNet's and PEFT's configs. */
export interface AdapterRule {
  /** A regular expression over module names (`layers.0.attn.qkv_proj`, `token_embeddings`), from their beginning; or a name's last part. */
  readonly pattern: string;
  readonly r: number;
  readonly alpha: number;
  readonly dropout: number;
  /** Scales by alpha / sqrt(r) instead of alpha / r. */
  readonly use_rslora: boolean;
  readonly use_dora: boolean;
  /** `true`: A uniform as torch's Linear, B zero; `gaussian`: A normal with deviation 1 / r. */
  readonly init: true | 'gaussian';
}

/** One adapted module. */
export interface AdapterModule {
  /** `transformer.layers.0.attn.qkv_proj` */
  readonly name: string;
  readonly embedding: boolean;
  /** Of the weight, [outputs, inputs]; an embedding's is [vocabulary, modelDim], its inputs are ids. */
  readonly inputs: number;
  readonly outputs: number;
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  readonly dora: boolean;
}

/** What the product is multiplied with. */
export function scalingOf({ alpha, rank, rslora }: Pick<AdapterModule, 'alpha' | 'rank' | 'rslora'>): number {
  return alpha / (rslora ? Math.sqrt(rank) : rank);
}

/**
 * The matrices of a module as they are computed with: a [rank, inputs] and b [outputs, rank]; of an embedding a lies by ids, [vocabulary,
 * rank]. DoRA adds a magnitude [outputs].
 */
export function adapterParameters({ name, embedding, inputs, outputs, rank, dora }: AdapterModule): Parameter[] {
  return [
    { name: `${name}.lora_A`, shape: embedding ? [inputs, rank] : [rank, inputs] },
    { name: `${name}.lora_B`, shape: [outputs, rank] },
    ...(dora ? [{ name: `${name}.lora_magnitude_vector`, shape: [outputs] }] : []),
  ];
}

/** An adapter's values, by the names of `adapterParameters`. */
export interface Adapter {
  readonly modules: readonly AdapterModule[];
  readonly values: ReadonlyMap<string, Float32Array>;
  readonly dropout: number;
}

/** The modules of a model that can be adapted, with their sizes: its matrices but a tied output layer. */
export function adaptableModules(config: ModelConfig): Pick<AdapterModule, 'name' | 'embedding' | 'inputs' | 'outputs'>[] {
  return parameterShapes(config)
    .filter(({ shape }) => shape.length === 2)
    .map(({ name, shape: [rows, columns] }) => {
      const embedding = name.includes('token_embeddings');
      const [outputs, inputs] = embedding ? [columns, rows] : [rows, columns];
      return { name: name.slice(0, -'.weight'.length), embedding, inputs, outputs };
    });
}

/** A module as rules chose it. */
export interface ChosenModule extends AdapterModule {
  readonly dropout: number;
  readonly init: AdapterRule['init'];
}

/**
 * The modules that rules choose to learn, each by the first that matches. An output layer of its own is none of them: training's loss
 * multiplies with its weight alone. Throws `InputError` for a rule that matches none, or cannot be.
 */
export function chooseModules(config: ModelConfig, rules: readonly AdapterRule[]): ChosenModule[] {
  const all = adaptableModules(config);
  const modules = all.filter(({ name }) => !name.endsWith('.classifier'));
  const chosen = new Map<string, ChosenModule>();
  for (const rule of rules) {
    const { pattern, r: rank, alpha, use_rslora: rslora, use_dora: dora, dropout, init } = rule;
    const matching = modules.filter(({ name }) => matches(pattern, name));
    if (matching.length === 0) {
      const output = all.some(({ name }) => matches(pattern, name));
      const found = output ? 'only the output layer, which adapters are not trained for' : 'no module';
      throw new InputError(`adapter: ${quoted(pattern)} matches ${found}; ${instead(pattern, modules)}`);
    }
    for (const module of matching) {
      if (chosen.has(module.name)) continue;
      if (dora && module.embedding) {
        throw new InputError(
          `adapter: ${quoted(pattern)} matches ${bare(module.name)}, and there is no DoRA for an embedding; set use_dora: false`,
        );
      }
      chosen.set(module.name, { ...module, rank, alpha, rslora, dora, dropout, init });
    }
  }
  return modules.flatMap(({ name }) => chosen.get(name) ?? []);
}

function matches(pattern: string, name: string): boolean {
  const short = bare(name);
  if (short === pattern || name.endsWith(`.${pattern}`)) return true;
  try {
    const expression = new RegExp(`^(?:${pattern})`);
    return expression.test(short) || expression.test(name);
  } catch {
    throw new InputError(`adapter: ${quoted(pattern)} is no regular expression`);
  }
}

const bare = (name: string): string => name.replace(/^transformer\./, '');
const quoted = (text: string): string => JSON.stringify(text);

/** What a pattern may have meant: the last parts of the modules' names, those nearest in spelling first. */
function instead(pattern: string, modules: readonly { readonly name: string }[]): string {
  const last = [...new Set(modules.map(({ name }) => name.slice(name.lastIndexOf('.') + 1)))];
  const wanted = pattern.replace(/[^\w]/g, '');
  const ranked = last.map((name) => [name, editDistance(wanted, name)] as const).sort((a, b) => a[1] - b[1]);
  return `there are ${ranked.map(([name]) => name).join(', ')}`;
}

/** The values that training begins with, as PEFT's; DoRA's magnitudes are the base's norms, which are not known here. */
export function initialValues(modules: readonly ChosenModule[], seed: number): Map<string, Float32Array> {
  const random = new PythonRandom(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random.random())) * Math.cos(2 * Math.PI * random.random());
  const values = new Map<string, Float32Array>();
  for (const { name, embedding, inputs, outputs, rank, init } of modules) {
    const bound = 1 / Math.sqrt(inputs);
    const draw = init === 'gaussian' ? () => normal() / rank : () => (2 * random.random() - 1) * bound;
    // Of an embedding it is B that is drawn: a row of A is learned when its id comes up.
    values.set(
      `${name}.lora_A`,
      embedding ? new Float32Array(inputs * rank) : Float32Array.from({ length: rank * inputs }, draw),
    );
    values.set(
      `${name}.lora_B`,
      embedding ? Float32Array.from({ length: outputs * rank }, normal) : new Float32Array(outputs * rank),
    );
  }
  return values;
}

/** A matrix [rows, columns] as [columns, rows]. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c];
  return out;
}

/** Throws `InputError` naming the first module that the model has not, or not in that size. `where` names the adapter. */
export function checkAdapter({ modules }: Pick<Adapter, 'modules'>, config: ModelConfig, where: string): void {
  const known = new Map(adaptableModules(config).map((module) => [module.name, module]));
  for (const { name, inputs, outputs } of modules) {
    const own = known.get(name);
    if (!own) throw new InputError(`${where}: an adapter for another base: the model has no ${bare(name)}`);
    if (own.inputs !== inputs || own.outputs !== outputs) {
      throw new InputError(
        `${where}: an adapter for another base: its ${bare(name)} takes ${counted(inputs, 'input')} and has ${counted(outputs, 'output')}, the model's ${own.inputs} and ${own.outputs}`,
      );
    }
  }
}
