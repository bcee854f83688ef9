// Token ids in, token ids out: requests share one model and one cache, join and leave between steps, and each step takes the
// next tokens of all of them (a piece of one's prompt beside another's next token). A slot keeps its tokens after its
// request has ended, so a prompt that begins alike starts there. Text, templates and stop strings are `text.ts`.

import { counted, InputError } from '../errors.js';
import { adaptersOf } from '../model/adapter-set.js';
import { type Cache, type CacheArray, copyRows, createCache, readHeads, readRows, writeRows } from '../model/cache.js';
import { checkContext } from '../model/config.js';
import type { OpenELM } from '../model/openelm.js';
import type { Backend } from '../tensor/backend.js';
import { ExecutionError } from '../tensor/execution.js';
import { commonPrefix } from '../tokenizer/prefix.js';
import { attentionWeights } from './attention.js';
import { Assistant, mostDrafts } from './drafts.js';
import type {
  EmbedOptions,
  EngineOptions,
  FinishReason,
  GenerateOptions,
  GenerateResult,
  HiddenOptions,
  ScoreResult,
} from './engine-options.js';
import { type HiddenRows, HiddenStates, hiddenTap, MeanPool } from './hidden.js';
import { logprobsOf, maxTopLogprobs, type TokenLogprobs } from './logprobs.js';
import { NotFiniteError, notFiniteIn } from './not-finite.js';
import { Request } from './request.js';
import { Sampler } from './sampler.js';
import { Pace, PlainSteps, type Share, shareStep } from './schedule.js';
import { leastShared, type Slot, Slots } from './slots.js';
import { maxScoreRows, maxStepRows, type OutputKind, type StepItem, type StepOutput, Stepper, wrongToken } from './step.js';
import { Turns } from './turn.js';

export type * from './engine-options.js';

/** How many tokens of a request may wait for their reader: the next is computed while one is being looked at. More where steps run ahead. */
const runAhead = 2;

export class Engine {
  readonly context: number;
  private readonly cache: Cache;
  private readonly stepper: Stepper;
  private readonly slots: Slots;
  private embedder?: HiddenStates;
  private readonly assistant?: Assistant;
  /** For steps with guesses, which want several rows of a sequence. */
  private checker?: Stepper;
  private readonly plain = new PlainSteps();
  private readonly requests = new Set<Request>();
  private readonly pace = new Pace();
  private aside: Promise<unknown> = Promise.resolve();
  private pumping = false;
  private readonly runsAhead: number;

  /** Throws `InputError` on a context the model cannot have, `ExecutionError` when memory is short. */
  constructor(
    private readonly backend: Backend,
    readonly model: OpenELM,
    options: EngineOptions = {},
  ) {
    const { config } = model;
    this.context = options.context ?? config.maxContextLength;
    const { slots: count = 1, cacheType = 'f16' } = options;
    checkContext(this.context, config);
    if (!Number.isInteger(count) || count < 1 || count > maxStepRows) {
      throw new InputError(`${count} slots are out of range: 1 to ${maxStepRows}`);
    }
    this.cache = createCache(backend, config, this.context * count, this.context, cacheType);
    this.stepper = new Stepper(backend, model, this.cache, { maxSequences: count, maxSegments: 2 * count });
    this.stepper.prepare();
    this.slots = new Slots(count, this.context);
    this.runsAhead = backend.runsAhead ?? 1;
    if (options.assistant) {
      const about = { vocabSize: config.vocabSize, context: this.context, slots: count, cacheType };
      this.assistant = new Assistant(backend, options.assistant, about);
    }
  }

  /** Requests that run at once. */
  get slotCount(): number {
    return this.slots.count;
  }

  /**
   * Continues a prompt. Yields ids as they are sampled (an end-of-sequence token is not yielded) and returns why it ended.
   * With `topLogprobs`, `onLogprobs` is told of each token before it is yielded, and of the end-of-sequence token too.
   * Throws `InputError` on an empty or too long prompt, an id outside the vocabulary or an option out of range.
   */
  async *generate(
    prompt: ArrayLike<number>,
    options: GenerateOptions = {},
    onLogprobs?: (token: TokenLogprobs) => void,
  ): AsyncGenerator<number, GenerateResult> {
    const began = performance.now();
    this.checkTokens(prompt);
    const maxTokens = options.maxTokens ?? Number.POSITIVE_INFINITY;
    if (!(maxTokens >= 0)) throw new InputError(`maxTokens is ${options.maxTokens}; it must be 0 or more`);
    checkTop(options.topLogprobs ?? 0);
    const { promptLookup } = options;
    if (promptLookup !== undefined && !(Number.isInteger(promptLookup) && promptLookup >= 1 && promptLookup <= mostDrafts))
      throw new InputError(`promptLookup is ${promptLookup}; it must be a whole number from 1 to ${mostDrafts}`);
    const { eosTokenIds, vocabSize } = this.model.config;
    const sampler = new Sampler(options);
    const slot = await this.slots.take(prompt, this.adapterOf(options.adapter), options.signal);
    if (!slot) return { reason: 'abort', reusedTokens: 0, promptMs: performance.now() - began, generateMs: 0 };
    const request = new Request(slot, sampler, options, { prompt, maxTokens, eosIds: eosTokenIds, vocabSize });
    let firstAt: number | undefined;
    const ended = (reason: FinishReason): GenerateResult => {
      const now = performance.now();
      return {
        reason,
        reusedTokens: request.reused,
        promptMs: (firstAt ?? now) - began,
        generateMs: firstAt === undefined ? 0 : now - firstAt,
        ...(request.speculates || this.assistant
          ? { speculation: { ...request.speculation, plainMs: this.plain.milliseconds } }
          : {}),
      };
    };
    const onAbort = (): void => request.wake();
    options.signal?.addEventListener('abort', onAbort);
    this.requests.add(request);
    try {
      for (let produced = 0; ; ) {
        if (options.signal?.aborted) return ended('abort');
        if (request.ready.length === 0 && request.isOver) return ended('stop');
        if (produced >= maxTokens) return ended('length');
        if (request.ready.length === 0) {
          // The context is full when its last token has no room to be computed.
          if (request.tokens.length > this.context) {
            if (options.overflow !== 'slide') return ended('length');
            request.slide(this.context);
          }
          await this.nextToken(request);
          continue;
        }
        const { id, logprobs } = request.ready.shift()!;
        firstAt ??= performance.now();
        if (logprobs) onLogprobs?.(logprobs);
        if (request.isEos(id)) return ended('stop');
        produced++;
        this.pump(); // the next step starts before the caller looks at this token
        yield id;
      }
    } finally {
      options.signal?.removeEventListener('abort', onAbort);
      this.requests.delete(request);
      await request.inFlight; // the step that ran ahead still writes to the slot
      this.slots.release(slot);
    }
  }

  /**
   * Log-probability of each token given all before it, in one pass; the tokens must fit the context, but for the last, which
   * nothing comes after. `top`: tell the likeliest ids at each place too, 1 to 20; more than 1 is slower, as all logits are read.
   * Throws `InputError` as `generate` does, and the signal's reason when it aborts before its turn.
   */
  async score(ids: ArrayLike<number>, signal?: AbortSignal, adapter?: string | null, top = 0): Promise<ScoreResult> {
    checkTop(top);
    this.checkTokens(ids, this.context + 1);
    const slot = await this.slots.take([], this.adapterOf(adapter), signal);
    if (!slot) throw signal?.reason;
    try {
      const result: ScoreResult = { logprobs: [null], greedy: [null], ...(top > 0 ? { top: [null] } : {}) };
      const kind = top > 1 ? 'logits' : top === 1 ? 'best' : 'score';
      const most = top > 1 ? Math.min(this.slots.count, maxScoreRows) : maxScoreRows;
      const turns = new Turns();
      for (let start = 0; start < ids.length - 1; ) {
        const length = Math.min(most, this.rowsBeside(), ids.length - 1 - start);
        const tokens = Array.from({ length }, (_, i) => ids[start + i]);
        const targets = tokens.map((_, i) => ids[start + i + 1]);
        const wanted = tokens.map((_, i) => i);
        const segments = [[slot.firstRow, start + length]] as const;
        const item = { ids: tokens, past: start, segments, wanted, targets, adapter: slot.adapter };
        const output = await this.beside(() => this.stepper.run([item], kind, signal)).catch((error: unknown) => {
          const failed = error instanceof ExecutionError && error.op === 'tokenLogprob';
          const notFinite = failed && error.code === 'index-out-of-range'; // no id is the best
          throw notFinite ? new NotFiniteError(`for a token after ${start}`) : error;
        });
        slot.cached.push(...tokens);
        for (let i = 0; i < length; i++) {
          this.addScore(result, output, i, targets[i], top);
          await turns.rest();
        }
        start += length;
      }
      return result;
    } finally {
      this.slots.release(slot);
    }
  }

  /** Rows that work beside the generations may take at once: few while somebody speaks. */
  private rowsBeside(): number {
    return this.requests.size > 0 ? this.pace.rows : maxStepRows;
  }

  /** Such work takes turns, so that a generation's next step waits for one piece of it at most. */
  private beside<T>(work: () => Promise<T>): Promise<T> {
    const result = this.aside.then(work);
    this.aside = result.catch(() => {});
    return result;
  }

  private addScore({ logprobs, greedy, top }: ScoreResult, output: StepOutput, row: number, target: number, count: number): void {
    let [logprob, best] = [output.logprobs?.[row] ?? Number.NaN, output.argmax?.[row] ?? -1];
    if (output.logits) {
      const { vocabSize } = this.model.config;
      const own = output.logits.subarray(row * vocabSize, (row + 1) * vocabSize);
      if (notFiniteIn(own) === undefined) {
        const told = logprobsOf(own, target, count);
        [logprob, best] = [told.logprob, told.top[0].id];
        top!.push(told.top);
      }
    } else if (top) {
      top.push([{ id: best, logprob: output.bestLogprobs![row] }]);
    }
    if (!Number.isFinite(logprob) || best < 0) throw new NotFiniteError(`for token ${logprobs.length}`);
    logprobs.push(logprob);
    greedy.push(best === target);
  }

  /**
   * Each sequence's embedding f32 [modelDim]: the mean of its tokens' last hidden states, of length 1. Throws `InputError` on one that
   * is empty, longer than the context or has an id outside the vocabulary, and the signal's reason when it aborts.
   */
  async embed(sequences: readonly ArrayLike<number>[], options: EmbedOptions = {}): Promise<Float32Array[]> {
    const pool = new MeanPool();
    const embeddings: Float32Array[] = [];
    this.embedder ??= this.tapping([hiddenTap(this.model.config.layers.length, this.model.config.layers.length)]);
    await this.look(this.embedder, sequences, options, (rows) => {
      const embedding = pool.add(rows, sequences[rows.sequence].length);
      if (!embedding) return;
      embeddings.push(embedding);
      options.onProgress?.(embeddings.length, sequences.length);
    });
    return embeddings;
  }

  /** The hidden states of a sequence's tokens: for each of `layers` (see `HiddenStates`) f32 [tokens, modelDim]. Throws as `embed` does. */
  async hiddenStates(ids: ArrayLike<number>, layers: readonly number[], options: HiddenOptions = {}): Promise<Float32Array[]> {
    const { modelDim, layers: all } = this.model.config;
    const hidden = this.tapping(layers.map((layer) => hiddenTap(layer, all.length)));
    try {
      const states = layers.map(() => new Float32Array(ids.length * modelDim));
      await this.look(hidden, [ids], options, (rows) => {
        for (const [i, own] of rows.taps.entries()) states[i].set(own, rows.position * modelDim);
      });
      return states;
    } finally {
      hidden.dispose();
    }
  }

  /**
   * How much each token of a sequence looks at each before it in a layer: f32 [queryHeads, tokens, tokens], rows of probabilities.
   * Throws as `embed`, and `InputError` for a layer that is not there.
   */
  async attention(ids: ArrayLike<number>, layer: number, options: HiddenOptions = {}): Promise<Float32Array> {
    const heads = this.model.config.layers[layer];
    if (!heads) throw new InputError(`there is no layer ${layer}: this model has 0 to ${this.model.config.layers.length - 1}`);
    const hidden = this.tapping([`transformer.layers.${layer}.attn.query`]);
    try {
      const columns = heads.queryHeads * heads.headDim;
      const queries = new Float32Array(ids.length * columns);
      const see = (rows: HiddenRows): void => queries.set(rows.taps[0], rows.position * columns);
      const { keys } = this.cache.layers[layer];
      const keysOf = ({ firstRow }: Slot) => readHeads(this.backend, keys, heads.headDim, firstRow, ids.length);
      return attentionWeights(queries, await this.look(hidden, [ids], options, see, keysOf), heads);
    } finally {
      hidden.dispose();
    }
  }

  private tapping(taps: readonly string[]): HiddenStates {
    return new HiddenStates(this.backend, this.model, this.cache, this.context, taps);
  }

  /** `after` is asked while the slot still has the sequence. */
  private async look<Result = void>(
    hidden: HiddenStates,
    sequences: readonly ArrayLike<number>[],
    { adapter, signal }: HiddenOptions,
    see: (rows: HiddenRows) => void,
    after?: (slot: Slot) => Promise<Result>,
  ): Promise<Result> {
    for (const [i, ids] of sequences.entries()) {
      this.checkTokens(ids, this.context, sequences.length > 1 ? `text ${i + 1}` : 'the text');
    }
    const slot = await this.slots.take([], this.adapterOf(adapter), signal);
    if (!slot) throw signal?.reason;
    try {
      const steps = { rows: () => this.rowsBeside(), run: <T>(step: () => Promise<T>) => this.beside(step) };
      for await (const rows of hidden.run(sequences, slot, signal, steps)) see(rows);
      return (await after?.(slot)) as Result;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      this.slots.release(slot);
    }
  }

  /** How many of a prompt's tokens some slot has, which need not be computed. */
  cachedOf(prompt: ArrayLike<number>, adapter?: string | null): number {
    return this.slots.nearest(prompt, this.adapterOf(adapter))?.shared ?? 0;
  }

  /** Keys and values of tokens that a slot has: of each layer, keys and values of all tokens; undefined when none has them all. */
  async cachedRows(tokens: ArrayLike<number>, adapter?: string | null): Promise<CacheArray[] | undefined> {
    const found = this.slots.nearest(tokens, this.adapterOf(adapter));
    return found?.shared === tokens.length ? readRows(this.backend, this.cache, found.slot.firstRow, tokens.length) : undefined;
  }

  /**
   * Puts tokens' keys and values in a slot, as `cachedRows` gave them. The last token is computed anew: when it does not come out the
   * same to the bit, they are another model's or another arithmetic's, and false is returned with nothing kept.
   */
  async restoreRows(tokens: readonly number[], rows: readonly CacheArray[], options: HiddenOptions = {}): Promise<boolean> {
    this.checkTokens(tokens);
    const slot = await this.slots.take([], this.adapterOf(options.adapter), options.signal);
    if (!slot) throw options.signal?.reason;
    try {
      const past = tokens.length - 1;
      writeRows(this.backend, this.cache, slot.firstRow, rows);
      const item = {
        ids: [tokens[past]],
        past,
        segments: [[slot.firstRow, past + 1]] as const,
        wanted: [],
        adapter: slot.adapter,
      };
      await this.beside(() => this.stepper.run([item], 'none', options.signal));
      const last = await readRows(this.backend, this.cache, slot.firstRow + past, 1);
      const same = last.every((row, i) => row.every((value, k) => Object.is(value, rows[i][rows[i].length - row.length + k])));
      if (same) slot.cached.push(...tokens);
      return same;
    } finally {
      this.slots.release(slot);
    }
  }

  /** Ends what runs and frees the cache; the model stays. */
  async dispose(): Promise<void> {
    for (const request of this.requests) {
      request.failure = new Error('the engine was disposed');
      request.wake();
    }
    this.slots.close();
    await Promise.all([...this.requests].map((request) => request.inFlight));
    this.stepper.dispose();
    this.embedder?.dispose();
    this.checker?.dispose();
    this.assistant?.dispose();
    this.cache.free();
  }

  /** Throws `InputError` for an adapter that is not here. */
  private adapterOf(name: string | null | undefined): number {
    const adapters = adaptersOf(this.model);
    if (!adapters && typeof name === 'string')
      throw new InputError(`there is no adapter ${name}: the model was loaded without any`);
    return adapters?.groupOf(name) ?? 0;
  }

  private checkTokens(ids: ArrayLike<number>, most = this.context, what = 'the prompt'): void {
    if (ids.length === 0) throw new InputError(`${what} is empty: give at least one token`);
    if (ids.length > most) {
      throw new InputError(
        `${what} has ${counted(ids.length, 'token')}, the context takes ${this.context}; shorten it or raise the context`,
      );
    }
    const wrong = wrongToken(ids, this.model.config.vocabSize);
    if (wrong !== undefined) throw new InputError(what === 'the prompt' ? wrong : `${what}: ${wrong}`);
  }

  /** Waits until the request has a token ready, failed or was aborted. */
  private async nextToken(request: Request): Promise<void> {
    while (request.ready.length === 0 && request.failure === undefined && !request.signal?.aborted) {
      const woken = new Promise<void>((resolve) => {
        request.wake = resolve;
      });
      this.pump();
      await woken;
    }
    if (request.failure !== undefined && !request.signal?.aborted) throw request.failure;
  }

  /** Runs steps as long as a request wants tokens. */
  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    void (async () => {
      for (let batch = this.schedule(); batch.length > 0; batch = this.schedule()) {
        const step = this.step(batch);
        for (const { request } of batch) request.inFlight = step;
        await step;
      }
      this.pumping = false; // in the same turn as the last look: a request that comes now starts the pump anew
    })();
  }

  /** Who takes part in the next step, with how many tokens; a prompt whose beginning another one computes waits for that. */
  private schedule(): Share<Request>[] {
    const wanting = [...this.requests].filter((request) => this.wants(request));
    const prompting = wanting.filter((request) => request.pending > 1);
    const own = wanting.filter((request) => request.pending === 1 || !this.follows(request, prompting));
    return shareStep(
      own.map((request) => ({ request, pending: request.pending })),
      this.pace.rows,
    );
  }

  /** Whether a request has something to compute, when `flying` steps that give it a token each have landed. */
  private wants({ failure, complete, signal, ready, tokens, left }: Request, flying = 0): boolean {
    if (failure !== undefined || complete || signal?.aborted || left <= flying) return false;
    return ready.length + flying < runAhead + this.runsAhead - 1 && tokens.length + flying <= this.context;
  }

  /** Whether one that came earlier is about to compute more of the prompt's beginning than the slot has. */
  private follows({ tokens, slot }: Request, prompting: readonly Request[]): boolean {
    for (const other of prompting) {
      if (other.slot === slot) return false;
      if (other.slot.adapter !== slot.adapter) continue;
      const shared = Math.min(commonPrefix(other.tokens, tokens), tokens.length - 1);
      if (shared >= slot.cached.length + leastShared && shared > other.slot.cached.length) return true;
    }
    return false;
  }

  /** Copies what another slot has of the request's beginning, where that is worth it. */
  private async share(request: Request): Promise<void> {
    const { slot, tokens } = request;
    const from = slot.cached.length;
    const found = this.slots.mostLike(slot, tokens);
    if (!found || found.shared < from + leastShared) return;
    await copyRows(this.backend, this.cache, found.slot.firstRow + from, slot.firstRow + from, found.shared - from);
    for (let i = from; i < found.shared; i++) slot.cached.push(tokens[i]);
    request.reused = found.shared;
  }

  /** Has those that speak guess what they will say, as far as the step and the context have room. */
  private async draft(batch: readonly Share<Request>[]): Promise<void> {
    const speaking = batch.filter(
      ({ request, count }) => count === 1 && request.pending === 1 && request.step > request.promptLength,
    );
    const guessing = speaking.filter(({ request }) => request.speculates || this.assistant);
    if (guessing.length === 0 || !this.plain.isKnown) return;
    const rows = batch.reduce((sum, { count }) => sum + count, 0);
    const room = Math.min(mostDrafts, Math.floor((maxStepRows - rows) / guessing.length));
    for (const { request } of guessing) {
      const { slot, tokens } = request;
      await request.draft(Math.min(room, this.context - tokens.length), slot.firstRow / this.context, this.assistant);
    }
  }

  private checkerOf(): Stepper {
    const count = this.slots.count;
    const limits = { maxSequences: count, maxSegments: 2 * count, maxWanted: Math.min(maxStepRows, count * (1 + mostDrafts)) };
    this.checker ??= new Stepper(this.backend, this.model, this.cache, limits);
    return this.checker;
  }

  private async step(shares: readonly Share<Request>[]): Promise<void> {
    /** Steps under way, each of which goes on from the one before. */
    const flying: Promise<StepOutput>[] = [];
    try {
      // A prompt begins with what others have of it.
      const beginning = shares.filter(({ request, count }) => count > 1 && request.step === request.promptLength);
      if (beginning.length > 0) await Promise.all(beginning.map(({ request }) => this.share(request)));
      const batch = shares.map(({ request, count }) => ({ request, count: Math.min(count, request.pending) }));
      await this.draft(batch);
      const items = batch.map(({ request, count }): StepItem => {
        const { slot, tokens, drafts } = request;
        const past = slot.cached.length;
        const ids = [...tokens.slice(past, past + count), ...drafts];
        const last = past + count === tokens.length;
        const wanted = last ? Array.from({ length: 1 + drafts.length }, (_, i) => count - 1 + i) : [];
        return { ids, past, segments: [[slot.firstRow, past + ids.length]], wanted, adapter: slot.adapter };
      });
      const done = batch.filter((_, i) => items[i].wanted.length > 0);
      const outputs: OutputKind = done.every(({ request }) => request.greedy) ? 'argmax' : 'logits';
      const only = batch.length === 1 ? batch[0].request.signal : undefined;
      let began = performance.now();
      const checks = batch.some(({ request }) => request.drafts.length > 0);
      flying.push((checks ? this.checkerOf() : this.stepper).run(items, outputs, only));
      // What may come next is found out while the step runs.
      for (const { request } of done) request.prepare();
      // The greedy id of each is what the device goes on with: steps behind this one need not wait until the host has seen it.
      const guessing = this.assistant || batch.some(({ request }) => request.speculates);
      const most = outputs === 'argmax' && done.length === batch.length && !guessing ? this.runsAhead : 1;
      for (let [landing, rows] = [batch, rowsOf(items)]; flying.length > 0; ) {
        while (flying.length < most && this.goesOn(batch, flying.length)) {
          const behind = this.stepper.runPicked(
            batch.map(({ request }) => nextItem(request, flying.length)),
            only,
          );
          behind.catch(() => {}); // awaited in its turn
          flying.push(behind);
        }
        const output = await flying.shift()!;
        this.pace.add(rows, performance.now() - began);
        if (rows === 1) this.plain.add(performance.now() - began);
        began = performance.now();
        await this.land(landing, done, output);
        // What goes on from no number is none either, and fails: the others' steps are computed anew.
        if (output.argmax?.some((id) => id < 0)) await Promise.allSettled(flying.splice(0));
        [landing, rows] = [batch.map(({ request }) => ({ request, count: 1 })), batch.length];
      }
    } catch (error) {
      for (const { request } of shares) {
        request.failure = error;
        request.wake();
      }
      await Promise.allSettled(flying);
    }
  }

  /** Whether the next step has the same requests again, when the steps under way have landed. */
  private goesOn(batch: readonly Share<Request>[], flying: number): boolean {
    const own = new Set(batch.map(({ request }) => request));
    const stay = [...own].every((request) => this.requests.has(request) && this.wants(request, flying));
    return stay && [...this.requests].every((request) => own.has(request) || !this.wants(request));
  }

  /** Gives a step's requests what came of it; those that ended meanwhile want nothing of what was computed past their end. */
  private async land(batch: readonly Share<Request>[], done: readonly Share<Request>[], output: StepOutput): Promise<void> {
    for (const { request, count } of batch) {
      if (request.complete) continue;
      const past = request.slot.cached.length;
      for (let j = past; j < past + count; j++) request.slot.cached.push(request.tokens[j]);
    }
    const turns = new Turns();
    let row = 0;
    for (const { request } of done) {
      const { slot, drafts, complete } = request;
      try {
        if (!complete) slot.cached.push(...drafts.slice(0, request.take(output, row)));
      } catch (error) {
        request.failure = error; // its own: the others of the step go on
      }
      row += 1 + drafts.length;
      request.wake();
      if (output.logits) await turns.rest();
    }
  }
}

function rowsOf(items: readonly StepItem[]): number {
  return items.reduce((sum, { ids }) => sum + ids.length, 0);
}

/** The token that a request will have when `flying` steps have landed. */
function nextItem({ slot, tokens }: Request, flying: number): StepItem {
  const past = tokens.length - 1 + flying;
  return { ids: [0], past, segments: [[slot.firstRow, past + 1]], wanted: [0], adapter: slot.adapter };
}

function checkTop(count: number): void {
  if (Number.isInteger(count) && count >= 0 && count <= maxTopLogprobs) return;
  throw new InputError(`log-probabilities of ${counted(count, 'id')} at each place are out of range: 0 to ${maxTopLogprobs}`);
}
