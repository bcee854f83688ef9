// Encodes ops into a program. Every method checks shapes and dtypes at once (the error names the op), makes its output in the
// arena or writes into the buffer it is given, and appends one record. Nothing is computed here.

import { elementsOf } from '../io/bytes.js';
import type { DeviceBuffer, Dim, OpRecord, Program } from './backend.js';
import type { OpName } from './optable.js';
import { bytesOf, checkRecord, maxOf } from './plan.js';
import { codedHeadWords } from './quantize.js';

/** Activations: a row a token. `rows` may be known only when the program runs. */
export interface Tensor {
  readonly buffer: DeviceBuffer;
  readonly rows: Dim;
  readonly columns: number;
}

/** A key/value cache of one layer: `keys` and `values` are [rows, kvHeads, headDim], f16 or f32, or i32 words of 8-bit codes (`qkNormRope` in the op table). */
export interface KeyValues {
  readonly keys: DeviceBuffer;
  readonly values: DeviceBuffer;
}

/** Where attention looks: int32 views of the params (see `attention` in the op table) and how much of them is in use. */
export interface Ragged {
  readonly sequences: DeviceBuffer;
  readonly sequenceCount: Dim;
  readonly segments: DeviceBuffer;
  readonly segmentCount: Dim;
}

export interface HeadShape {
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** What a program's dropout draws by: a seed, and a number that differs from run to run. */
export interface Randomness {
  readonly seed: number;
  readonly draw: Dim;
}

export class Ops {
  /** Set where a program is for training; without it nothing is dropped. */
  randomness?: Randomness;
  private readonly records: OpRecord[] = [];
  private readonly arena: DeviceBuffer[] = [];
  private paramsLength = 0;
  private finished = false;

  /** Reserves `length` int32 params: a view that ops read, whose `offset` is where the caller puts them. */
  params(length: number): DeviceBuffer {
    const offset = this.paramsLength;
    this.paramsLength += length;
    return { kind: 'params', id: 0, dtype: 'i32', layout: 'rows', shape: [length], bytes: length * 4, offset };
  }

  /** Reserves one param that holds a size of at most `max`. */
  size(max: number): { param: number; max: number } {
    return { param: this.params(1).offset, max };
  }

  /** table: weight [tableRows, columns]; ids: i32 [>= rows] */
  embedding(table: DeviceBuffer, ids: DeviceBuffer, rows: Dim): Tensor {
    const [tableRows, columns] = this.matrix('embedding', table);
    this.atLeast('embedding', 'ids', ids, maxOf(rows));
    const out = this.output(rows, columns);
    this.record('embedding', [table, ids, out.buffer], [rows, columns, tableRows]);
    return out;
  }

  /** weight: f32 [columns] */
  rmsNorm(x: Tensor, weight: DeviceBuffer, eps: number): Tensor {
    this.exactly('rmsNorm', 'weight', weight, [x.columns]);
    const out = this.output(x.rows, x.columns);
    this.record('rmsNorm', [x.buffer, weight, out.buffer], [x.rows, x.columns], [eps]);
    return out;
  }

  /** x weight^T (+ residual); weight: [outputs, inputs]; into: f32 [>= rows, outputs], instead of a new arena buffer */
  linear(x: Tensor, weight: DeviceBuffer, options: { residual?: Tensor; int8?: boolean; into?: DeviceBuffer } = {}): Tensor {
    const [outputs, inputs] = this.matrix('linear', weight);
    if (inputs !== x.columns) throw new Error(`linear: the weight takes ${inputs} inputs, x has ${x.columns} columns`);
    const residual = options.residual;
    if (residual && (residual.columns !== outputs || maxOf(residual.rows) < maxOf(x.rows))) {
      throw new Error(
        `linear: the residual is [${maxOf(residual.rows)}, ${residual.columns}], the output [${maxOf(x.rows)}, ${outputs}]`,
      );
    }
    const out = this.output(x.rows, outputs, options.into);
    const operands = [x.buffer, weight, residual?.buffer ?? null, out.buffer];
    this.record('linear', operands, [x.rows, inputs, outputs, options.int8 ? 1 : 0]);
    return out;
  }

  /** qkv: [rows, (queryHeads + 2 kvHeads) headDim]; rope: f32 [ropeRows, headDim]; positions, kvRows: i32 [>= rows] */
  qkNormRope(
    qkv: Tensor,
    heads: HeadShape,
    cache: KeyValues,
    options: {
      positions: DeviceBuffer;
      kvRows: DeviceBuffer;
      rope: DeviceBuffer;
      norms?: { query: DeviceBuffer; key: DeviceBuffer };
      eps: number;
    },
  ): Tensor {
    const { queryHeads, kvHeads, headDim } = heads;
    const { positions, kvRows, rope, norms, eps } = options;
    const width = (queryHeads + 2 * kvHeads) * headDim;
    if (qkv.columns !== width) throw new Error(`qkNormRope: qkv has ${qkv.columns} columns, ${width} expected`);
    if (headDim % 2) throw new Error(`qkNormRope: the head dimension ${headDim} is odd`);
    if (norms) {
      this.exactly('qkNormRope', 'queryNorm', norms.query, [headDim]);
      this.exactly('qkNormRope', 'keyNorm', norms.key, [headDim]);
    }
    const cacheRows = this.cacheRows('qkNormRope', cache, kvHeads, headDim);
    const ropeRows = rope.shape[0];
    this.exactly('qkNormRope', 'rope', rope, [ropeRows, headDim]);
    this.atLeast('qkNormRope', 'positions', positions, maxOf(qkv.rows));
    this.atLeast('qkNormRope', 'kvRows', kvRows, maxOf(qkv.rows));
    const query = this.output(qkv.rows, queryHeads * headDim);
    this.record(
      'qkNormRope',
      [qkv.buffer, norms?.query ?? null, norms?.key ?? null, rope, positions, kvRows, query.buffer, cache.keys, cache.values],
      [qkv.rows, queryHeads, kvHeads, headDim, cacheRows, ropeRows],
      [eps],
    );
    return query;
  }

  /**
   * query: [rows, queryHeads headDim], rotated; scale 1/sqrt(headDim). With `differentiable` the softmax's denominators are kept
   * for the gradient.
   */
  attention(query: Tensor, heads: HeadShape, cache: KeyValues, ragged: Ragged, differentiable = false): Tensor {
    const { queryHeads, kvHeads, headDim } = heads;
    if (query.columns !== queryHeads * headDim) throw new Error(`attention: query has ${query.columns} columns`);
    if (queryHeads % kvHeads) throw new Error(`attention: ${queryHeads} query heads do not share ${kvHeads} kv heads evenly`);
    const cacheRows = this.cacheRows('attention', cache, kvHeads, headDim);
    this.atLeast('attention', 'sequences', ragged.sequences, 4 * maxOf(ragged.sequenceCount));
    this.atLeast('attention', 'segments', ragged.segments, 2 * maxOf(ragged.segmentCount));
    const out = this.output(query.rows, query.columns);
    const logsumexp = differentiable ? this.output(query.rows, queryHeads).buffer : null;
    this.record(
      'attention',
      [query.buffer, cache.keys, cache.values, ragged.sequences, ragged.segments, out.buffer, logsumexp],
      [query.rows, ragged.sequenceCount, ragged.segmentCount, queryHeads, kvHeads, headDim, cacheRows],
      [1 / Math.sqrt(headDim)],
    );
    return out;
  }

  /** x: [rows, 2 columns], the gate first */
  swiglu(x: Tensor): Tensor {
    if (x.columns % 2) throw new Error(`swiglu: ${x.columns} columns are no pair of halves`);
    const out = this.output(x.rows, x.columns / 2);
    this.record('swiglu', [x.buffer, out.buffer], [x.rows, out.columns]);
    return out;
  }

  silu(x: Tensor): Tensor {
    const out = this.output(x.rows, x.columns);
    this.record('silu', [x.buffer, out.buffer], [x.rows, x.columns]);
    return out;
  }

  /** indices: i32 [>= rows] */
  gatherRows(x: Tensor, indices: DeviceBuffer, rows: Dim): Tensor {
    this.atLeast('gatherRows', 'indices', indices, maxOf(rows));
    const out = this.output(rows, x.columns);
    this.record('gatherRows', [x.buffer, indices, out.buffer], [rows, x.columns, x.rows]);
    return out;
  }

  /** into: i32 [>= rows] */
  argmax(x: Tensor, into: DeviceBuffer): void {
    this.atLeast('argmax', 'into', into, maxOf(x.rows));
    this.record('argmax', [x.buffer, into], [x.rows, x.columns]);
  }

  /** targets: i32 [>= rows]; into: f32 [>= rows] */
  tokenLogprob(logits: Tensor, targets: DeviceBuffer, into: DeviceBuffer): void {
    this.atLeast('tokenLogprob', 'targets', targets, maxOf(logits.rows));
    this.atLeast('tokenLogprob', 'into', into, maxOf(logits.rows));
    this.record('tokenLogprob', [logits.buffer, targets, into], [logits.rows, logits.columns]);
  }

  /** into: f32 [>= rows, columns] */
  copy(x: Tensor, into: DeviceBuffer): void {
    const out = this.output(x.rows, x.columns, into);
    this.record('copy', [x.buffer, out.buffer], [x.rows, x.columns]);
  }

  /** x in half the memory: 16-bit codes and a scale for each 64 of a row. f32 words that only `unpackInt16` understands. */
  packInt16(x: Tensor): DeviceBuffer {
    const packed = this.output(x.rows, int16Words(x.columns));
    this.record('packInt16', [x.buffer, packed.buffer], [x.rows, x.columns]);
    return packed.buffer;
  }

  unpackInt16(packed: DeviceBuffer, rows: Dim, columns: number): Tensor {
    this.exactly('unpackInt16', 'packed', packed, [maxOf(rows), int16Words(columns)]);
    const out = this.output(rows, columns);
    this.record('unpackInt16', [packed, out.buffer], [rows, columns]);
    return out;
  }

  /** x with a part of its elements dropped; x itself where nothing is. `op`: a number that no other dropout of the program has. */
  dropout(x: Tensor, rate: number, op: number): Tensor {
    if (!this.randomness || rate === 0) return x;
    const { seed, draw } = this.randomness;
    const out = this.output(x.rows, x.columns);
    this.record('dropout', [x.buffer, null, out.buffer], [x.rows, x.columns, op, draw, seed], [rate]);
    return out;
  }

  /** x times a row of factors, the same for all rows, or the one of `ids`. table: f32 [groups, columns]; ids: i32 [>= rows] */
  scaleColumns(
    x: Tensor,
    table: DeviceBuffer,
    options: { ids?: DeviceBuffer; residual?: Tensor; into?: DeviceBuffer } = {},
  ): Tensor {
    const { ids, residual, into } = options;
    const [groups, columns] = this.matrix('scaleColumns', table);
    if (columns !== x.columns) throw new Error(`scaleColumns: ${columns} factors, x has ${x.columns} columns`);
    if (ids) this.atLeast('scaleColumns', 'ids', ids, maxOf(x.rows));
    if (residual) this.atLeast('scaleColumns', 'residual', residual.buffer, maxOf(x.rows) * columns);
    const out = this.output(x.rows, columns, into);
    const operands = [x.buffer, table, ids ?? null, residual?.buffer ?? null, out.buffer];
    this.record('scaleColumns', operands, [x.rows, columns, groups]);
    return out;
  }

  /** f32 [1, outputs]: what DoRA multiplies each output with. weight: [outputs, inputs]; a: [rank, inputs]; b: [outputs, rank] */
  doraFactors(weight: DeviceBuffer, a: DeviceBuffer, b: DeviceBuffer, magnitude: DeviceBuffer, scaling: number): DeviceBuffer {
    const [outputs, inputs] = this.matrix('doraFactors', weight);
    const [rank] = this.matrix('doraFactors', a);
    this.exactly('doraFactors', 'a', a, [rank, inputs]);
    this.exactly('doraFactors', 'b', b, [outputs, rank]);
    this.exactly('doraFactors', 'magnitude', magnitude, [outputs]);
    const [norms, out] = [this.allocate([outputs]), this.allocate([1, outputs])];
    this.record('doraFactors', [weight, a, b, magnitude, norms, out], [inputs, outputs, rank], [scaling]);
    return out;
  }

  /** Room for the keys and values of `rows` tokens inside this program: training's cache. */
  keyValues(rows: Dim, { kvHeads, headDim }: HeadShape): KeyValues {
    const make = (): DeviceBuffer => this.allocate([maxOf(rows), kvHeads, headDim]);
    return { keys: make(), values: make() };
  }

  /**
   * Cross-entropy with z-loss of logits x weight^T (see the op table). x: [rows, columns]; weight: [vocabulary, columns];
   * targets: i32 [>= rows], below 0 ignored; scale: f32 [1]; losses: f32 [>= 2 rows]. With `differentiable` the gradient by x is
   * computed too and returned; with `weightGrad` that by the weight is added there. rowWeights: f32 [>= rows], of the gradient
   * only; `losses` are those of the rows as they are.
   */
  crossEntropy(
    x: Tensor,
    weight: DeviceBuffer,
    targets: DeviceBuffer,
    options: {
      scale: DeviceBuffer;
      rowWeights?: DeviceBuffer;
      losses: DeviceBuffer;
      zLoss: number;
      labelSmoothing: number;
      differentiable?: boolean;
      weightGrad?: DeviceBuffer;
    },
  ): Tensor | undefined {
    const [vocabulary, columns] = this.matrix('crossEntropy', weight);
    if (columns !== x.columns) throw new Error(`crossEntropy: the weight takes ${columns} inputs, x has ${x.columns} columns`);
    this.atLeast('crossEntropy', 'targets', targets, maxOf(x.rows));
    this.atLeast('crossEntropy', 'losses', options.losses, 2 * maxOf(x.rows));
    const { scale, rowWeights, losses, differentiable, weightGrad } = options;
    if (rowWeights) this.atLeast('crossEntropy', 'rowWeights', rowWeights, maxOf(x.rows));
    if (weightGrad) this.exactly('crossEntropy', 'weightGrad', weightGrad, [vocabulary, columns]);
    const dx = differentiable ? this.output(x.rows, columns) : undefined;
    this.record(
      'crossEntropy',
      [x.buffer, weight, targets, scale, rowWeights ?? null, losses, dx?.buffer ?? null, weightGrad ?? null],
      [x.rows, columns, vocabulary],
      [options.zLoss, options.labelSmoothing],
    );
    return dx;
  }

  /**
   * Losses of preference pairs and how they change with each row's cross-entropy (see the op table). losses: f32 [>= 2 rows];
   * pairs: i32 [>= 4 pairs]; reference: f32 [>= 2 pairs]; results: f32 [>= 3 pairs]; returns the rows' weights, f32 [rows].
   */
  preferenceLoss(
    rows: Dim,
    pairCount: Dim,
    buffers: { losses: DeviceBuffer; pairs: DeviceBuffer; reference: DeviceBuffer; results: DeviceBuffer },
    options: { kind: number; beta: number; labelSmoothing: number },
  ): DeviceBuffer {
    const { losses, pairs, reference, results } = buffers;
    this.atLeast('preferenceLoss', 'losses', losses, 2 * maxOf(rows));
    this.atLeast('preferenceLoss', 'pairs', pairs, 4 * maxOf(pairCount));
    this.atLeast('preferenceLoss', 'reference', reference, 2 * maxOf(pairCount));
    this.atLeast('preferenceLoss', 'results', results, 3 * maxOf(pairCount));
    const rowWeights = this.allocate([maxOf(rows)]);
    const { kind, beta, labelSmoothing } = options;
    this.record(
      'preferenceLoss',
      [losses, pairs, reference, results, rowWeights],
      [rows, pairCount, kind],
      [beta, labelSmoothing],
    );
    return rowWeights;
  }

  /** norms: f32 [3]: the norm of x, the factor that clips it to maxNorm, and whether it is not finite */
  globalNorm(x: DeviceBuffer, norms: DeviceBuffer, maxNorm: number): void {
    this.exactly('globalNorm', 'norms', norms, [3]);
    this.record('globalNorm', [x, norms], [elementsOf(x.shape)], [maxNorm]);
  }

  /** All of one shape; schedule: f32 [3]: learning rate, 1 - beta1^t, 1 - beta2^t */
  adamw(
    state: { parameters: DeviceBuffer; grad: DeviceBuffer; firstMoment: DeviceBuffer; secondMoment: DeviceBuffer },
    norms: DeviceBuffer,
    schedule: DeviceBuffer,
    options: { beta1: number; beta2: number; eps: number; weightDecay: number },
  ): void {
    const { parameters, grad, firstMoment, secondMoment } = state;
    for (const [name, buffer] of Object.entries(state)) this.exactly('adamw', name, buffer, [...parameters.shape]);
    this.record(
      'adamw',
      [parameters, grad, firstMoment, secondMoment, norms, schedule],
      [elementsOf(parameters.shape)],
      [options.beta1, options.beta2, options.eps, options.weightDecay],
    );
  }

  /** The records so far: what a tape walks back over. */
  get encoded(): readonly OpRecord[] {
    return this.records;
  }

  /** Appends a derivative's record; `gradients.ts` knows its operands. Outputs are made by `outputLike`. */
  derivative(op: OpName, operands: (DeviceBuffer | null)[], ints: readonly Dim[], floats: readonly number[] = []): void {
    this.record(op, operands, [...ints], [...floats]);
  }

  /** A new f32 arena buffer of a buffer's shape. */
  outputLike(buffer: DeviceBuffer): DeviceBuffer {
    return this.allocate(buffer.shape);
  }

  /** Ends encoding; the handles made here are of no use afterwards. */
  finish(): Program {
    this.finished = true;
    return { records: this.records, arena: this.arena, paramsLength: this.paramsLength };
  }

  private output(rows: Dim, columns: number, into?: DeviceBuffer): Tensor {
    if (into) {
      if (elementsOf(into.shape) < maxOf(rows) * columns) {
        throw new Error(`a buffer of [${into.shape}] cannot take [${maxOf(rows)}, ${columns}]`);
      }
      return { buffer: into, rows, columns };
    }
    return { buffer: this.allocate([maxOf(rows), columns]), rows, columns };
  }

  private allocate(shape: readonly number[]): DeviceBuffer {
    const bytes = bytesOf('f32', elementsOf(shape));
    const buffer: DeviceBuffer = { kind: 'arena', id: this.arena.length, dtype: 'f32', layout: 'rows', shape, bytes, offset: 0 };
    this.arena.push(buffer);
    return buffer;
  }

  private record(op: OpName, operands: (DeviceBuffer | null)[], ints: Dim[], floats: number[] = []): void {
    if (this.finished) throw new Error(`${op}: this program is finished`);
    const record: OpRecord = { op, operands, ints, floats };
    checkRecord(record, { arena: this.arena, paramsLength: this.paramsLength });
    this.records.push(record);
  }

  private matrix(op: OpName, weight: DeviceBuffer): readonly [number, number] {
    if (weight.shape.length !== 2) throw new Error(`${op}: the weight has shape [${weight.shape}], not two dimensions`);
    return [weight.shape[0], weight.shape[1]];
  }

  private cacheRows(op: OpName, cache: KeyValues, kvHeads: number, headDim: number): number {
    const rows = cache.keys.shape[0];
    const width = cache.keys.dtype === 'i32' ? codedHeadWords(headDim) : headDim;
    this.exactly(op, 'keys', cache.keys, [rows, kvHeads, width]);
    this.exactly(op, 'values', cache.values, [rows, kvHeads, width]);
    if (cache.keys.dtype !== cache.values.dtype)
      throw new Error(`${op}: keys are ${cache.keys.dtype}, values ${cache.values.dtype}`);
    return rows;
  }

  private exactly(op: OpName, name: string, buffer: DeviceBuffer, shape: number[]): void {
    if (buffer.shape.length !== shape.length || buffer.shape.some((size, i) => size !== shape[i])) {
      throw new Error(`${op}: '${name}' has shape [${buffer.shape}], [${shape}] expected`);
    }
  }

  private atLeast(op: OpName, name: string, buffer: DeviceBuffer, elements: number): void {
    if (elementsOf(buffer.shape) < elements)
      throw new Error(`${op}: '${name}' has ${elementsOf(buffer.shape)} elements, ${elements} needed`);
  }
}

/** Words of a row that `packInt16` packed: its scales and its codes. */
function int16Words(columns: number): number {
  return Math.ceil(columns / 64) + Math.ceil(columns / 2);
}
