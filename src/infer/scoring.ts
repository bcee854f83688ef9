// How likely are the last tokens of many sequences? Sequences that begin alike share what they have in common: they are walked
// in lexicographic order, depth first through the tree of their prefixes, so that each distinct prefix is computed once and its
// cache rows are freed when the walk has left it. Steps are always full: a step takes the walk's next tokens, whichever
// sequences they belong to. Ids in, log-probabilities out; which ids a request consists of is the caller's (eval/local.ts).

import { counted, InputError } from '../errors.js';
import { type Cache, createCache } from '../model/cache.js';
import type { OpenELM } from '../model/openelm.js';
import type { CacheType } from '../model/parameters.js';
import type { Backend } from '../tensor/backend.js';
import { commonPrefix } from '../tokenizer/prefix.js';
import { NotFiniteError } from './not-finite.js';
import { maxScoreRows, maxStepRows, type StepItem, Stepper, wrongToken } from './step.js';

/** The last `scored` of `ids`, each given all before it; at least the first id is only context. */
export interface ScoringRequest {
  readonly ids: ArrayLike<number>;
  readonly scored: number;
}

export interface SequenceScore {
  /** Sum of the scored tokens' log-probabilities, natural logarithm. */
  readonly logprob: number;
  /** Whether each of them is the most probable token at its place. */
  readonly greedy: boolean;
  /** [scored] */
  readonly tokenLogprobs: Float32Array;
}

export interface SequenceScorerOptions {
  /** Ids a sequence may have, less the last, which nothing comes after; default the config's `maxContextLength`. */
  readonly context?: number;
  /** Tokens computed in one step; default and at most 256. */
  readonly stepRows?: number;
  /** Default f32. */
  readonly cacheType?: CacheType;
}

interface ScoringCallOptions {
  /** Called after a step with the number of sequences that are done. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Scores sequences on a cache of its own. Calls wait for one another. */
export class SequenceScorer {
  readonly context: number;
  private readonly stepRows: number;
  private readonly cache: Cache;
  private readonly stepper: Stepper;
  private readonly maxSegments: number;
  private last: Promise<unknown> = Promise.resolve();

  /** Throws `InputError` on sizes that the model cannot have, `ExecutionError` when memory is short. */
  constructor(
    backend: Backend,
    private readonly model: OpenELM,
    options: SequenceScorerOptions = {},
  ) {
    const { config } = model;
    this.context = options.context ?? config.maxContextLength;
    this.stepRows = options.stepRows ?? maxStepRows;
    inRange('a context', this.context, 1, config.ropeMaxLength);
    inRange('a step', this.stepRows, 1, maxStepRows);
    // The path that is being walked, and what the step under way adds to it or leaves.
    const cacheRows = this.context + this.stepRows;
    this.maxSegments = Math.max(4 * this.stepRows, this.context);
    this.cache = createCache(backend, config, cacheRows, this.context, options.cacheType ?? 'f32');
    this.stepper = new Stepper(backend, model, this.cache, { maxSequences: this.stepRows, maxSegments: this.maxSegments });
  }

  /**
   * Scores in the order of the requests. Throws `InputError` on a sequence that is empty, too long or has an id outside the
   * vocabulary; rejects with the signal's reason when it aborts.
   */
  score(requests: readonly ScoringRequest[], options: ScoringCallOptions = {}): Promise<SequenceScore[]> {
    const result = this.last.then(() => this.run(requests, options));
    this.last = result.catch(() => {});
    return orAborted(result, options.signal);
  }

  /** Frees the cache once the calls made so far have ended. */
  async dispose(): Promise<void> {
    await this.last;
    this.stepper.dispose();
    this.cache.free();
  }

  private async run(requests: readonly ScoringRequest[], { onProgress, signal }: ScoringCallOptions): Promise<SequenceScore[]> {
    signal?.throwIfAborted();
    for (const [i, request] of requests.entries()) this.check(request, i);
    const logprobs = requests.map(({ scored }) => new Float32Array(scored));
    const greedy = requests.map(() => true);
    const left = requests.map(({ scored }) => scored);
    let done = 0;
    const runStep = async ({ items, answers }: PlannedStep): Promise<void> => {
      const output = await this.stepper.run(items, 'score', signal);
      for (const [row, { target, places }] of answers.entries()) {
        for (const { request, index } of places) {
          const logprob = output.logprobs![row];
          if (!Number.isFinite(logprob) || output.argmax![row] < 0) {
            throw new NotFiniteError(`for scored token ${index + 1} of sequence ${request}`);
          }
          logprobs[request][index] = logprob;
          if (output.argmax![row] !== target) greedy[request] = false;
          if (--left[request] === 0) done++;
        }
      }
      onProgress?.(done, requests.length);
    };
    const { stepRows, maxSegments } = this;
    const planner = new Planner({ context: this.context, cacheRows: this.cache.rows, stepRows, maxSegments });
    // The next step is planned and queued while one runs.
    let running = Promise.resolve();
    let next = running;
    try {
      for (const step of planner.steps(walk(requests))) {
        next = runStep(step);
        await running;
        running = next;
      }
      await running;
    } catch (error) {
      await next.catch(() => {});
      signal?.throwIfAborted();
      throw error;
    }
    return logprobs.map((tokenLogprobs, i) => ({
      logprob: tokenLogprobs.reduce((sum, value) => sum + value, 0),
      greedy: greedy[i],
      tokenLogprobs,
    }));
  }

  private check({ ids, scored }: ScoringRequest, i: number): void {
    if (!(Number.isInteger(scored) && scored >= 1 && scored < ids.length)) {
      throw new InputError(
        `sequence ${i}: ${scored} of ${counted(ids.length, 'token')} cannot be scored: at least one, after at least one`,
      );
    }
    if (ids.length - 1 > this.context) {
      throw new InputError(`sequence ${i} has ${counted(ids.length, 'token')}, the context takes ${this.context} and one more`);
    }
    const wrong = wrongToken(ids, this.model.config.vocabSize);
    if (wrong !== undefined) throw new InputError(`sequence ${i}: ${wrong}`);
  }
}

/** The result, or a rejection as soon as the signal aborts: one that waits for its turn need not wait for it to give up. */
async function orAborted<T>(result: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return result;
  let giveUp = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    else signal.addEventListener('abort', giveUp);
  });
  try {
    return await Promise.race([result, aborted]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

function inRange(what: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new InputError(`${what} of ${counted(value, 'token')} is out of range: ${least} to ${most} here`);
}

/** Who wants the log-probability of `target` after the token at `position`: the `index`-th scored token of each request. */
interface Answer {
  readonly position: number;
  readonly target: number;
  readonly places: { readonly request: number; readonly index: number }[];
}

/** A sequence as the walk meets it: the tokens from `shared` on are new, those before are the last sequence's too. */
interface Branch {
  readonly ids: ArrayLike<number>;
  readonly shared: number;
  readonly end: number;
  /** What is wanted of the new tokens, by this sequence and by those after it that share them; by position, then target. */
  readonly answers: readonly Answer[];
}

/** The sequences in lexicographic order of what the model reads of them: all ids but the last. */
function walk(requests: readonly ScoringRequest[]): Branch[] {
  const order = requests.map((_, i) => i).sort((a, b) => compare(requests[a].ids, requests[b].ids) || a - b);
  const owners: number[] = []; // by position: which branch computes the token there
  const wanted: Answer[][] = [];
  const branches = order.map((request, at) => {
    const { ids, scored } = requests[request];
    const end = ids.length - 1;
    const shared = at === 0 ? 0 : sharedOf(requests[order[at - 1]].ids, ids);
    owners.length = shared;
    for (let position = shared; position < end; position++) owners.push(at);
    wanted.push([]);
    for (let position = end - scored; position < end; position++) {
      const place = { request, index: position - (end - scored) };
      wanted[owners[position]].push({ position, target: ids[position + 1], places: [place] });
    }
    return { ids, shared, end };
  });
  return branches.map((branch, at) => ({ ...branch, answers: merge(wanted[at]) }));
}

function merge(answers: Answer[]): Answer[] {
  const merged: Answer[] = [];
  for (const answer of answers.sort((a, b) => a.position - b.position || a.target - b.target)) {
    const last = merged.at(-1);
    if (last?.position === answer.position && last.target === answer.target) last.places.push(...answer.places);
    else merged.push(answer);
  }
  return merged;
}

/** How much of one is read of the other too: the last id of neither is read. */
function sharedOf(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.min(commonPrefix(a, b), a.length - 1, b.length - 1);
}

function compare(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const i = sharedOf(a, b);
  const [left, right] = [a.length - 1, b.length - 1];
  return i < left && i < right ? a[i] - b[i] : left - right;
}

interface PlannedStep {
  readonly items: StepItem[];
  /** One for each wanted row. */
  readonly answers: Answer[];
}

interface PlannerLimits {
  readonly context: number;
  readonly cacheRows: number;
  readonly stepRows: number;
  readonly maxSegments: number;
}

/** An item of the step being filled. */
interface OpenItem {
  readonly ids: number[];
  readonly past: number;
  readonly segments: [start: number, length: number][];
  readonly wanted: number[];
  readonly targets: number[];
}

/**
 * Cuts the walk into steps. A row is given back when the step that leaves it is complete: what was computed earlier in that
 * step still reads it, and later steps run after it.
 */
class Planner {
  /** Cache rows of the tokens on the way from the root to where the walk is. */
  private readonly path: Int32Array;
  private depth = 0;
  private readonly used: Uint8Array;
  private lowest = 0;
  private left: number[] = [];
  private items: OpenItem[] = [];
  private answers: Answer[] = [];
  private rows = 0;
  private segments = 0;

  constructor(private readonly limits: PlannerLimits) {
    this.path = new Int32Array(limits.context);
    this.used = new Uint8Array(limits.cacheRows);
  }

  *steps(branches: readonly Branch[]): Generator<PlannedStep> {
    for (const { ids, shared, end, answers } of branches) {
      while (this.depth > shared) this.left.push(this.path[--this.depth]);
      let continues = false;
      let answer = 0;
      for (let position = shared; position < end; position++) {
        let wanted = answer;
        while (wanted < answers.length && answers[wanted].position === position) wanted++;
        // Once, unless more is wanted of one token than a step can give: then it is computed again for the rest.
        do {
          if (this.rows === this.limits.stepRows) {
            yield this.finish();
            continues = false;
          }
          if (position === this.depth) this.path[this.depth++] = this.allocate(position);
          const room = maxScoreRows - this.answers.length;
          if (this.rows > 0 && (wanted - answer > room || !this.segmentsFit(position, continues))) {
            yield this.finish();
            continues = false;
          }
          const count = Math.min(wanted - answer, maxScoreRows);
          this.place(ids[position], position, continues, answers.slice(answer, answer + count));
          continues = true;
          answer += count;
        } while (answer < wanted);
      }
    }
    if (this.rows > 0) yield this.finish();
  }

  private allocate(position: number): number {
    let row = position === 0 ? 0 : this.path[position - 1] + 1;
    if (row >= this.used.length || this.used[row]) {
      while (this.used[this.lowest]) this.lowest++;
      row = this.lowest;
    }
    this.used[row] = 1;
    return row;
  }

  /** Counts the segments that a token adds: one at most to an item that goes on, those of the whole path to a new one. */
  private segmentsFit(position: number, continues: boolean): boolean {
    let count = 0;
    for (let p = continues ? position : 0; p <= position; p++) {
      if (p === 0 || this.path[p] !== this.path[p - 1] + 1) count++;
    }
    return this.segments + count <= this.limits.maxSegments;
  }

  private place(id: number, position: number, continues: boolean, answers: readonly Answer[]): void {
    let item = this.items.at(-1);
    if (!item || !continues) {
      item = { ids: [], past: position, segments: [], wanted: [], targets: [] };
      this.items.push(item);
      for (let p = 0; p < position; p++) this.extend(item, this.path[p]);
    }
    this.extend(item, this.path[position]);
    for (const answer of answers) {
      item.wanted.push(item.ids.length);
      item.targets.push(answer.target);
      this.answers.push(answer);
    }
    item.ids.push(id);
    this.rows++;
  }

  private extend({ segments }: OpenItem, row: number): void {
    const last = segments.at(-1);
    if (last && last[0] + last[1] === row) {
      last[1]++;
    } else {
      segments.push([row, 1]);
      this.segments++;
    }
  }

  private finish(): PlannedStep {
    const step = { items: this.items, answers: this.answers };
    for (const row of this.left) {
      this.used[row] = 0;
      this.lowest = Math.min(this.lowest, row);
    }
    [this.items, this.answers, this.left, this.rows, this.segments] = [[], [], [], 0, 0];
    return step;
  }
}
