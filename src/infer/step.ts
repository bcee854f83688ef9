// One step of a model over a ragged batch: new tokens of several sequences, each with its own past in the cache, in one
// submission. Programs are encoded once per size bucket and kind of output, then run with new params. It knows rows of the
// cache, not requests, sampling or text.

import { counted } from '../errors.js';
import { adaptersOf } from '../model/adapter-set.js';
import type { Cache } from '../model/cache.js';
import type { OpenELM } from '../model/openelm.js';
import { RaggedParams, type RaggedSequence } from '../model/ragged.js';
import type { Backend, DeviceBuffer, Dim, Executable } from '../tensor/backend.js';
import { Ops, type Tensor } from '../tensor/ops.js';

/** New tokens of one sequence; their segments include them. */
export interface StepItem extends RaggedSequence {
  /** Which of the new tokens' outputs are wanted, as indices into `ids`; one may be wanted again, with another target. */
  readonly wanted: readonly number[];
  /** The adapter's number, of those around the model; default the usual one. */
  readonly adapter?: number;
  /** With outputs `score` and `best`: the token whose log-probability is asked of each wanted row. */
  readonly targets?: readonly number[];
}

/**
 * What is read back of the wanted rows: nothing, logits [wanted, vocabulary], the index of the largest logit, or that with the
 * log-probability of a target, and its own (`best`; rejects on logits that are no numbers). `hidden`: the states of all rows, wanted or not.
 */
export type OutputKind = 'none' | 'logits' | 'argmax' | 'score' | 'best' | 'hidden';

/** f32 [rows, columns] */
interface HiddenOutput {
  readonly states: Float32Array;
  readonly columns: number;
}

export interface StepOutput {
  readonly logits?: Float32Array;
  readonly argmax?: Int32Array;
  readonly logprobs?: Float32Array;
  /** Those of `argmax`. */
  readonly bestLogprobs?: Float32Array;
  /** Of each of `taps`. */
  readonly hidden?: readonly HiddenOutput[];
}

/** What is wrong with the first id that is none of the vocabulary; undefined when all are. */
export function wrongToken(ids: ArrayLike<number>, vocabSize: number): string | undefined {
  for (let i = 0; i < ids.length; i++) {
    if (!(Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < vocabSize))
      return `token ${i} has id ${ids[i]}, but the model's vocabulary has ${counted(vocabSize, 'id')}`;
  }
  return undefined;
}

/** Rows that one program takes at most; also the unit of cancelling. */
export const maxStepRows = 256;
/** Outputs wanted of one `score` step at most: their logits are computed together. */
export const maxScoreRows = 256;

const rowBuckets = [1, 16, 64, maxStepRows];

function bucketOf(rows: number): number {
  return rowBuckets.find((bucket) => bucket >= rows)!;
}

interface Encoded {
  readonly executable: Executable;
  readonly inputs: RaggedParams;
  readonly wantedCount: Dim & object;
  readonly wanted: DeviceBuffer;
  readonly targets: DeviceBuffer;
  /** Of each row, and of each wanted one. */
  readonly adapters: DeviceBuffer;
  readonly wantedAdapters: DeviceBuffer;
}

interface StepOptions {
  /** The most sequences in one step. */
  readonly maxSequences: number;
  /** The most rows whose logits or argmax are read at once; default one a sequence. */
  readonly maxWanted?: number;
  /** The most segments of all sequences together. */
  readonly maxSegments: number;
  /** What `hidden` reads, by the names that a `Tap` is shown; `transformer.norm` too. */
  readonly taps?: readonly string[];
}

export class Stepper {
  private readonly programs = new Map<string, Encoded>();
  /** [maxWanted, vocabSize]; made when logits are first asked for. */
  private logits?: DeviceBuffer<'f32'>;
  /** What outputs `argmax` give, which nothing else writes: the next step may begin with them. */
  private readonly picked: DeviceBuffer<'i32'>;
  private readonly argmax: DeviceBuffer<'i32'>;
  private readonly logprobs: DeviceBuffer<'f32'>;
  private readonly bestLogprobs: DeviceBuffer<'f32'>;
  /** [maxStepRows, columns] by name. */
  private readonly tapped = new Map<string, { buffer: DeviceBuffer<'f32'>; columns: number }>();
  private readonly vocabSize: number;
  private readonly maxWanted: number;

  constructor(
    private readonly backend: Backend,
    private readonly model: OpenELM,
    private readonly cache: Cache,
    private readonly options: StepOptions,
  ) {
    this.vocabSize = model.config.vocabSize;
    this.maxWanted = options.maxWanted ?? options.maxSequences;
    // Whole buckets, since a program that begins with them takes as many as its rows.
    this.picked = backend.create('i32', [bucketOf(this.maxWanted)]);
    this.argmax = backend.create('i32', [maxScoreRows]);
    this.logprobs = backend.create('f32', [maxScoreRows]);
    this.bestLogprobs = backend.create('f32', [maxScoreRows]);
  }

  /** Has the programs made that a text begins with and goes on with, where that takes a while. */
  prepare(): void {
    if (!this.backend.compilesAhead) return;
    for (const [rows, kind, picked] of [
      [64, 'logits', false],
      [1, 'logits', false],
      [1, 'argmax', false],
      [1, 'argmax', true],
    ] as const)
      if (!picked || (this.backend.runsAhead ?? 1) > 1) this.program(rows, kind, picked);
  }

  /**
   * Runs the items' tokens and returns the outputs of all wanted rows, in order. At most `maxStepRows` tokens in all, and
   * `maxScoreRows` wanted with outputs `score` and `best`, `maxWanted` with the others.
   * Rejects with `ExecutionError`; with code `cancelled` when the signal aborts while it runs.
   */
  run(items: readonly StepItem[], outputs: OutputKind, signal?: AbortSignal): Promise<StepOutput> {
    return this.submit(items, outputs, signal, false);
  }

  /**
   * A step with outputs `argmax` whose ids are those that the last such step picked for its wanted rows, in order, one each (those of the
   * items are not looked at): it may be submitted before that one has run. Rejects as `run`, and where an id is -1.
   */
  runPicked(items: readonly StepItem[], signal?: AbortSignal): Promise<StepOutput> {
    return this.submit(items, 'argmax', signal, true);
  }

  dispose(): void {
    for (const { executable } of this.programs.values()) executable.dispose();
    const tapped = [...this.tapped.values()].map(({ buffer }) => buffer);
    for (const buffer of [this.logits, this.picked, this.argmax, this.logprobs, this.bestLogprobs, ...tapped])
      if (buffer) this.backend.free(buffer);
  }

  private async submit(
    items: readonly StepItem[],
    outputs: OutputKind,
    signal: AbortSignal | undefined,
    picked: boolean,
  ): Promise<StepOutput> {
    const rows = items.reduce((sum, item) => sum + item.ids.length, 0);
    const wanted = outputs === 'none' ? 0 : items.reduce((sum, item) => sum + item.wanted.length, 0);
    const kind = wanted === 0 && outputs !== 'hidden' ? 'none' : outputs;
    const scores = kind === 'score' || kind === 'best';
    const size = scores ? Math.max(rows, wanted) : rows;
    const encoded = this.program(bucketOf(size), kind, picked);
    const submission = this.backend.submit(encoded.executable, this.fill(encoded, items, wanted > 0));
    const cancel = (): void => submission.cancel();
    if (signal?.aborted) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      // Reads are queued behind the run at once: one turn of the event loop a step, not two.
      const reads = this.readOutputs(kind, kind === 'hidden' ? rows : wanted);
      const [, output] = await Promise.all([submission.done, reads]);
      return output;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  private async readOutputs(kind: OutputKind, count: number): Promise<StepOutput> {
    const { backend } = this;
    switch (kind) {
      case 'none':
        return {};
      case 'logits':
        return { logits: await backend.read(this.logits!, 0, count * this.vocabSize) };
      case 'argmax':
        return { argmax: await backend.read(this.picked, 0, count) };
      case 'score':
      case 'best': {
        const { argmax, logprobs, bestLogprobs } = this;
        const read = <Type extends 'i32' | 'f32'>(buffer: DeviceBuffer<Type>) => backend.read(buffer, 0, count);
        const reads = [read(argmax), read(logprobs), kind === 'best' ? read(bestLogprobs) : undefined] as const;
        const [ids, found, best] = await Promise.all(reads);
        return { argmax: ids, logprobs: found, bestLogprobs: best };
      }
      case 'hidden': {
        const read = async (name: string): Promise<HiddenOutput> => {
          const { buffer, columns } = this.tapped.get(name)!;
          return { states: await backend.read(buffer, 0, count * columns), columns };
        };
        return { hidden: await Promise.all(this.options.taps!.map(read)) };
      }
    }
  }

  /** The program for at most `bucket` rows; encoded at first use. */
  private program(bucket: number, kind: OutputKind, picked: boolean): Encoded {
    const key = `${kind} ${bucket} ${picked}`;
    const known = this.programs.get(key);
    if (known) return known;
    const ops = new Ops();
    const maxSequences = Math.min(bucket, this.options.maxSequences);
    const maxWanted = kind === 'score' || kind === 'best' ? Math.min(bucket, maxScoreRows) : Math.min(bucket, this.maxWanted);
    const { maxSegments } = this.options;
    const inputs = new RaggedParams(ops, { maxRows: bucket, maxSequences, maxSegments });
    const wantedCount = ops.size(maxWanted);
    const [wanted, targets] = [ops.params(maxWanted), ops.params(maxWanted)];
    const { rows, positions, kvRows, ragged } = inputs;
    const ids = picked ? this.picked : inputs.ids;
    const around = adaptersOf(this.model);
    const [adapters, wantedAdapters] = [bucket, maxWanted].map((count) => ops.params(around ? count : 0));
    around?.rowGroups.assign(rows, adapters);
    around?.rowGroups.assign(wantedCount, wantedAdapters);
    const inside = kind === 'hidden';
    const hidden = this.model.forward(
      ops,
      {
        ...{ rows, ids, positions, kvRows, ragged },
        rope: this.cache.rope,
        cacheOf: (layer) => this.cache.layers[layer],
        wanted: inside ? undefined : { indices: wanted, count: wantedCount },
      },
      inside ? (name, tensor) => this.keep(ops, name, tensor) : undefined,
    );
    if (inside) this.keep(ops, 'transformer.norm', this.model.normalize(ops, hidden));
    else if (kind !== 'none') this.encodeOutputs(ops, kind, hidden, targets);
    const encoded = {
      executable: this.backend.compile(ops.finish()),
      inputs,
      wantedCount,
      wanted,
      targets,
      adapters,
      wantedAdapters,
    };
    this.programs.set(key, encoded);
    return encoded;
  }

  private keep(ops: Ops, name: string, states: Tensor): void {
    if (!this.options.taps?.includes(name)) return;
    const { columns } = states;
    const into = this.tapped.get(name) ?? { buffer: this.backend.create('f32', [maxStepRows, columns]), columns };
    this.tapped.set(name, into);
    ops.copy(states, into.buffer);
  }

  private encodeOutputs(ops: Ops, kind: Exclude<OutputKind, 'none' | 'hidden'>, hidden: Tensor, targets: DeviceBuffer): void {
    if (kind === 'logits') this.logits ??= this.backend.create('f32', [this.maxWanted, this.vocabSize]);
    const logits = this.model.logits(ops, hidden, kind === 'logits' ? { into: this.logits } : {});
    if (kind !== 'logits') ops.argmax(logits, kind === 'argmax' ? this.picked : this.argmax);
    if (kind === 'score' || kind === 'best') ops.tokenLogprob(logits, targets, this.logprobs);
    if (kind === 'best') ops.tokenLogprob(logits, this.argmax, this.bestLogprobs);
  }

  /** The params of this run. */
  private fill(encoded: Encoded, items: readonly StepItem[], withOutputs: boolean): Int32Array {
    const { executable, inputs, wantedCount, wanted, targets, adapters, wantedAdapters } = encoded;
    const params = new Int32Array(executable.program.paramsLength);
    inputs.fill(params, items);
    const around = adaptersOf(this.model);
    let row = 0;
    let want = 0;
    for (const item of items) {
      const adapter = item.adapter ?? around?.groupOf(undefined) ?? 0;
      if (around) params.fill(adapter, adapters.offset + row, adapters.offset + row + item.ids.length);
      for (const [k, index] of (withOutputs ? item.wanted : []).entries()) {
        params[wanted.offset + want] = row + index;
        params[targets.offset + want] = item.targets?.[k] ?? 0;
        if (around) params[wantedAdapters.offset + want] = adapter;
        want++;
      }
      row += item.ids.length;
    }
    params[wantedCount.param] = want;
    return params;
  }
}
