// CoreNet's checkpoints: a state_dict in a PyTorch file, alone or in a training checkpoint with the optimizer's moments. They hold no
// config: it lies beside them, or is told by the shapes; files written here carry it, and the texts, in the archive. The vocabulary
// is 32,128 there, of which the first 32,000 are pieces.

import { InputError } from '../errors.js';
import type { ByteSource, StoredTensor } from '../io/bytes.js';
import { decodeUtf8, parseJson } from '../io/json.js';
import { readTorch, type TorchContents, TorchTensor } from '../io/torch.js';
import { type ConfigFields, configFromHuggingFace, configFromWidths, type ModelConfig } from '../model/config.js';
import { canonicalName, parameterShapes } from '../model/parameters.js';
import type { ModelFile } from './model-file.js';

/** LLaMA's pieces, and the rows of CoreNet's table for them. */
export const llamaVocabulary = { pieces: 32_000, rows: 32_128 } as const;

/**
 * Reads a PyTorch file with a model's weights; `beside` is the config that lies beside it, if one does. Throws `InputError` when it
 * is damaged or holds something else.
 */
export async function readCoreNetModel(source: ByteSource, beside?: ModelConfig): Promise<ModelFile> {
  const contents = await readTorch(source);
  const weights = stateDict(contents, source.name);
  const own = contents.extras.get('config.json');
  const where = `${source.name}: config.json`;
  const config =
    own !== undefined
      ? configFromHuggingFace(parseJson(decodeUtf8(own, where), where), where)
      : (beside ?? configFromShapes(weights, source.name));
  return {
    format: 'corenet',
    config,
    metadata: scalarsOf(contents),
    text: async (name) => contents.extras.get(name),
    tensors: (of) => {
      const tensors = [...weights].map(([name, tensor]) => withoutPadding({ ...tensor.stored(name), source: of }, config));
      return new Map(tensors.map((tensor) => [tensor.name, tensor]));
    },
  };
}

/** Numbers and words beside the weights of a training checkpoint. */
function scalarsOf({ root }: TorchContents): Record<string, string> {
  const entries: [unknown, unknown][] = root instanceof Map ? [...root] : [];
  const scalars = entries.filter(
    ([key, value]) => typeof key === 'string' && ['number', 'string', 'boolean'].includes(typeof value),
  );
  return Object.fromEntries(scalars.map(([key, value]) => [key, String(value)]));
}

/** The weights by name: the file's own dict, or that of a training checkpoint. */
function stateDict({ root }: TorchContents, file: string): Map<string, TorchTensor> {
  const whole = root instanceof Map ? root : new Map<unknown, unknown>();
  const inner = ['model_state_dict', 'state_dict', 'model'].map((key) => whole.get(key)).find((found) => found instanceof Map);
  const weights = new Map<string, TorchTensor>();
  for (const [key, value] of (inner ?? whole) as Map<unknown, unknown>) {
    if (typeof key !== 'string' || !(value instanceof TorchTensor)) continue;
    weights.set(key.replace(/^(module\.|_orig_mod\.)+/, ''), value);
  }
  if (![...weights.keys()].some((name) => canonicalName(name) !== undefined)) {
    throw new InputError(`${file}: there are no weights of an OpenELM in it`);
  }
  return weights;
}

/** The table without the rows behind the pieces, where the config has fewer. */
function withoutPadding(tensor: StoredTensor, { vocabSize }: ModelConfig): StoredTensor {
  const name = canonicalName(tensor.name);
  const isTable = name === 'transformer.token_embeddings.weight' || name === 'transformer.classifier.weight';
  const [rows, columns] = tensor.shape;
  if (!isTable || tensor.shape.length !== 2 || rows !== paddedVocabulary(vocabSize)) return tensor;
  return { ...tensor, shape: [vocabSize, columns], bytes: (tensor.bytes / rows) * vocabSize };
}

/** Rows of CoreNet's table: room for a padding token, up to a multiple of 128. */
function paddedVocabulary(pieces: number): number {
  return Math.ceil((pieces + 1) / 128) * 128;
}

/** A config from the weights alone; what they do not tell is as OpenELM has it. */
function configFromShapes(weights: ReadonlyMap<string, TorchTensor>, file: string): ModelConfig {
  const shapes = new Map([...weights].map(([name, { shape }]) => [canonicalName(name), shape]));
  const shapeOf = (name: string): readonly number[] => {
    const shape = shapes.get(`transformer.${name}.weight`);
    if (shape?.length !== (name.endsWith('norm') ? 1 : 2)) {
      throw new InputError(`${file}: the weights tell no config without ${name}.weight: put the model's config.json beside it`);
    }
    return shape;
  };
  let layers = 0;
  while (shapes.has(`transformer.layers.${layers}.attn.qkv_proj.weight`)) layers++;
  shapeOf(`layers.${Math.max(0, layers - 1)}.attn.qkv_proj`);
  const [vocabulary, modelDim] = shapeOf('token_embeddings');
  const [headDim] = shapeOf('layers.0.attn.q_norm');
  const each = Array.from({ length: layers }, (_, i) => {
    const queryHeads = shapeOf(`layers.${i}.attn.out_proj`)[1] / headDim;
    const [width] = shapeOf(`layers.${i}.ffn.proj_1`);
    const [, ffnDim] = shapeOf(`layers.${i}.ffn.proj_2`);
    return { queryHeads, kvHeads: (shapeOf(`layers.${i}.attn.qkv_proj`)[0] / headDim - queryHeads) / 2, width, ffnDim };
  });
  const fields: ConfigFields = {
    num_transformer_layers: layers,
    model_dim: modelDim,
    head_dim: headDim,
    vocab_size: vocabulary === llamaVocabulary.rows ? llamaVocabulary.pieces : vocabulary,
    ffn_with_glu: each[0].width === 2 * each[0].ffnDim,
    normalize_qk_projections: true,
    share_input_output_layers: !shapes.has('transformer.classifier.weight'),
  };
  return configFromWidths(fields, each, file);
}

/** AdamW's state of a training checkpoint: steps taken, and the moments by parameter. */
export interface CoreNetTraining {
  readonly step: number;
  readonly moments: ReadonlyMap<string, { readonly first: StoredTensor; readonly second: StoredTensor }>;
}

/**
 * The optimizer's state beside the weights of a training checkpoint. Its parameters are numbered over groups that hold no names: those
 * with weight decay first (matrices), then the others, each in the model's order, as CoreNet's `parameter_list` makes them; or all in
 * one group (`no_decay_bn_filter_bias: false`).
 * Throws `InputError` when there is none or it does not fit.
 */
export async function readCoreNetTraining(source: ByteSource, config: ModelConfig): Promise<CoreNetTraining> {
  const contents = await readTorch(source);
  const weights = stateDict(contents, source.name);
  const root = contents.root as Map<unknown, unknown>;
  const optimizer = root.get('optim_state_dict');
  const [state, groups] = optimizer instanceof Map ? [optimizer.get('state'), optimizer.get('param_groups')] : [];
  const damaged = (what: string): InputError => new InputError(`${source.name}: ${what}`);
  if (!(state instanceof Map) || !Array.isArray(groups)) {
    throw damaged('no training checkpoint: there is no state of an optimizer in it (training_checkpoint_*.pt has one)');
  }
  const isMatrix = ({ shape }: TorchTensor): boolean => shape.length > 1;
  const all = [...weights];
  const ordered = groups.length === 1 ? all : [...all.filter(([, of]) => isMatrix(of)), ...all.filter(([, of]) => !isMatrix(of))];
  const numbers = groups.flatMap((group) =>
    group instanceof Map && Array.isArray(group.get('params')) ? group.get('params') : [],
  );
  if (numbers.length !== ordered.length) {
    throw damaged(`its optimizer has ${numbers.length} parameters, and the model ${ordered.length}`);
  }
  const moments = new Map<string, { first: StoredTensor; second: StoredTensor }>();
  for (const [i, [name, weight]] of ordered.entries()) {
    const entry: unknown = state.get(numbers[i]);
    const moment = (key: string): StoredTensor => {
      const found: unknown = entry instanceof Map ? entry.get(key) : undefined;
      if (!(found instanceof TorchTensor) || String(found.shape) !== String(weight.shape)) {
        throw damaged(`optim_state_dict has no ${key} of [${weight.shape}] for ${name}`);
      }
      return withoutPadding(found.stored(name), config);
    };
    const known = canonicalName(name);
    if (known !== undefined) moments.set(known, { first: moment('exp_avg'), second: moment('exp_avg_sq') });
  }
  const missing = parameterShapes(config).find(({ name }) => !moments.has(name));
  if (missing) throw damaged(`it holds nothing of ${missing.name}: it is of another model`);
  const step = root.get('iterations');
  if (typeof step !== 'number' || !Number.isSafeInteger(step) || step < 0) throw damaged('it does not say its iterations');
  return { step, moments };
}
