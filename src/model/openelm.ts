// OpenELM (Mehta et al. 2024), the whole decoder, read top to bottom: pre-norm blocks of grouped-query attention with
// normalized queries and keys and rotary positions, and a gated feed-forward network, each layer with widths of its own;
// RMSNorm everywhere, no biases, input and output embeddings tied. After CoreNet's `general_gpt.py`. Property names are the
// checkpoint's keys. It encodes ops; where sequences start, what is cached and which rows are wanted is the caller's.

import type { DeviceBuffer, Dim } from '../tensor/backend.js';
import type { HeadShape, KeyValues, Ops, Ragged, Tensor } from '../tensor/ops.js';
import type { LayerConfig, ModelConfig } from './config.js';
import type { Embedding, Linear, LinearOptions } from './linear.js';

/** Where a model finds its weights, by the checkpoint's module names (`transformer.layers.0.attn.qkv_proj`). */
export interface Weights {
  linear(name: string): Linear;
  embedding(name: string): Embedding;
  /** A norm's weight, f32. */
  vector(name: string): DeviceBuffer;
  /** The output layer when it is the embedding table itself. */
  tied(name: string): Linear;
}

/** One step's ragged batch, tokens of several sequences end to end: views of the params, and the caches of all layers. */
export interface StepInputs {
  readonly rows: Dim;
  /** i32 [rows] each: token ids, positions in their sequences, cache rows that take the new keys and values. */
  readonly ids: DeviceBuffer;
  readonly positions: DeviceBuffer;
  readonly kvRows: DeviceBuffer;
  readonly ragged: Ragged;
  /** f32 [positions, headDim], from `ropeTable`. */
  readonly rope: DeviceBuffer;
  /** The cache of a layer; in training, room for this step's keys and values alone. */
  cacheOf(layer: number): KeyValues;
  /** Keep what the gradient needs. Not with `wanted`. */
  readonly differentiable?: boolean;
  /** The rows whose output is wanted, in their order (default: all): the last layer computes no others after its attention. */
  readonly wanted?: RowChoice;
}

/** i32 [count] indices of rows; one may occur again. */
export interface RowChoice {
  readonly indices: DeviceBuffer;
  readonly count: Dim;
}

/** Runs a layer; training may run it again on the way back instead of keeping what is inside. */
export type AroundLayer = (forward: (x: Tensor) => Tensor, x: Tensor) => Tensor;

/** Is shown intermediate results under names as `hidden.3`; for tests and tools that look inside. */
export type Tap = (name: string, tensor: Tensor) => void;

class RMSNorm {
  constructor(
    private readonly weight: DeviceBuffer,
    private readonly eps: number,
  ) {}

  forward(ops: Ops, x: Tensor): Tensor {
    return ops.rmsNorm(x, this.weight, this.eps);
  }
}

/** Attention with `queryHeads` heads over `kvHeads` shared key/value heads. */
class MultiHeadCausalAttention {
  private readonly heads: HeadShape;
  private readonly norms: { query: DeviceBuffer; key: DeviceBuffer } | undefined;
  private readonly qkv_proj: Linear;
  private readonly out_proj: Linear;
  private readonly eps: number;

  constructor(weights: Weights, name: string, config: ModelConfig, layer: LayerConfig) {
    this.heads = layer;
    this.eps = config.normEps;
    this.qkv_proj = weights.linear(`${name}.qkv_proj`);
    this.norms = config.normalizeQk
      ? { query: weights.vector(`${name}.q_norm`), key: weights.vector(`${name}.k_norm`) }
      : undefined;
    this.out_proj = weights.linear(`${name}.out_proj`);
  }

  /** `tap` is shown the queries as they meet the keys. */
  forward(
    ops: Ops,
    x: Tensor,
    residual: Tensor,
    cache: KeyValues,
    step: StepInputs,
    wanted?: RowChoice,
    tap?: (query: Tensor) => void,
  ): Tensor {
    const qkv = this.qkv_proj.forward(ops, x); // [rows, (queryHeads + 2 kvHeads) headDim]
    const { positions, kvRows, rope } = step;
    const { norms, eps } = this;
    const query = ops.qkNormRope(qkv, this.heads, cache, { positions, kvRows, rope, norms, eps });
    tap?.(query);
    const mixed = ops.attention(query, this.heads, cache, step.ragged, step.differentiable); // [rows, queryHeads headDim]
    if (!wanted) return this.out_proj.forward(ops, mixed, { residual });
    const [chosen, chosenResidual] = [mixed, residual].map((rows) => ops.gatherRows(rows, wanted.indices, wanted.count));
    return this.out_proj.forward(ops, chosen, { residual: chosenResidual });
  }
}

class FeedForwardNetwork {
  private readonly proj_1: Linear;
  private readonly proj_2: Linear;
  private readonly gated: boolean;

  constructor(weights: Weights, name: string, config: ModelConfig) {
    this.gated = config.ffnWithGlu;
    this.proj_1 = weights.linear(`${name}.proj_1`);
    this.proj_2 = weights.linear(`${name}.proj_2`);
  }

  forward(ops: Ops, x: Tensor, residual: Tensor): Tensor {
    const inner = this.proj_1.forward(ops, x); // [rows, 2 ffnDim]: gate, then up
    return this.proj_2.forward(ops, this.gated ? ops.swiglu(inner) : ops.silu(inner), { residual });
  }
}

class DecoderLayer {
  private readonly attn_norm: RMSNorm;
  private readonly attn: MultiHeadCausalAttention;
  private readonly ffn_norm: RMSNorm;
  private readonly ffn: FeedForwardNetwork;

  constructor(
    weights: Weights,
    private readonly name: string,
    config: ModelConfig,
    layer: LayerConfig,
  ) {
    this.attn_norm = new RMSNorm(weights.vector(`${name}.attn_norm`), config.normEps);
    this.attn = new MultiHeadCausalAttention(weights, `${name}.attn`, config, layer);
    this.ffn_norm = new RMSNorm(weights.vector(`${name}.ffn_norm`), config.normEps);
    this.ffn = new FeedForwardNetwork(weights, `${name}.ffn`, config);
  }

  /** x: the residual stream [rows, modelDim] */
  forward(ops: Ops, x: Tensor, cache: KeyValues, step: StepInputs, tap?: Tap, wanted?: RowChoice): Tensor {
    const attentionInput = this.attn_norm.forward(ops, x);
    tap?.(`${this.name}.attn_norm`, attentionInput);
    const tapQuery = tap && ((query: Tensor) => tap(`${this.name}.attn.query`, query));
    const attended = this.attn.forward(ops, attentionInput, x, cache, step, wanted, tapQuery);
    tap?.(`${this.name}.attended`, attended);
    const ffnInput = this.ffn_norm.forward(ops, attended);
    tap?.(`${this.name}.ffn_norm`, ffnInput);
    const out = this.ffn.forward(ops, ffnInput, attended);
    tap?.(`${this.name}.out`, out);
    return out;
  }
}

export class OpenELM {
  private readonly token_embeddings: Embedding;
  private readonly layers: readonly DecoderLayer[];
  private readonly norm: RMSNorm;
  private readonly classifier: Linear;

  constructor(
    weights: Weights,
    readonly config: ModelConfig,
  ) {
    const name = 'transformer';
    this.token_embeddings = weights.embedding(`${name}.token_embeddings`);
    this.layers = config.layers.map((layer, i) => new DecoderLayer(weights, `${name}.layers.${i}`, config, layer));
    this.norm = new RMSNorm(weights.vector(`${name}.norm`), config.normEps);
    this.classifier = config.tieEmbeddings ? weights.tied(`${name}.token_embeddings`) : weights.linear(`${name}.classifier`);
  }

  /** The residual stream after the last layer, [rows (or wanted rows), modelDim]; fills the caches. */
  forward(ops: Ops, step: StepInputs, tap?: Tap, around: AroundLayer = (forward, x) => forward(x)): Tensor {
    let x = this.token_embeddings.forward(ops, step.ids, step.rows);
    tap?.('transformer.token_embeddings', x);
    const last = this.layers.length - 1;
    for (const [i, layer] of this.layers.entries()) {
      const wanted = i === last ? step.wanted : undefined;
      x = around((input) => layer.forward(ops, input, step.cacheOf(i), step, tap, wanted), x);
    }
    return x;
  }

  /** The output layer's weight [vocabSize, modelDim]: with tied embeddings their table. */
  get head(): DeviceBuffer {
    return this.classifier.weight;
  }

  /** The output layer's input: residual rows through the last norm. */
  normalize(ops: Ops, x: Tensor): Tensor {
    return this.norm.forward(ops, x);
  }

  /** Logits [rows, vocabSize] of residual rows. */
  logits(ops: Ops, x: Tensor, options: LinearOptions & { tap?: Tap } = {}): Tensor {
    const normed = this.normalize(ops, x);
    options.tap?.('transformer.norm', normed);
    return this.classifier.forward(ops, normed, options);
  }
}

/**
 * Cosines, then sines, of the headDim/2 rotation angles of each position, in f32 steps as CoreNet computes them
 * (`RotaryEmbedding`: inverse frequencies and angles in f32).
 */
export function ropeTable(positions: number, headDim: number, freqConstant: number): Float32Array {
  const half = headDim / 2;
  const table = new Float32Array(positions * headDim);
  for (let i = 0; i < half; i++) {
    const inverse = Math.fround(1 / Math.fround(freqConstant ** Math.fround((2 * i) / headDim)));
    for (let p = 0; p < positions; p++) {
      const angle = Math.fround(p * inverse);
      table[p * headDim + i] = Math.cos(angle);
      table[p * headDim + half + i] = Math.sin(angle);
    }
  }
  return table;
}
