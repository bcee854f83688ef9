// A generation under way: its tokens and what is to come of the next row of logits. It knows its slot, sampler and constraint; when
// it is computed, and beside whom, is the engine's business.

import { counted } from '../errors.js';
import type { Constraint, Place } from './constraint.js';
import { type Assistant, DraftLength, type Guess, lookUp } from './drafts.js';
import { logprobsOf, type TokenLogprobs } from './logprobs.js';
import { NotFiniteError, notFiniteIn } from './not-finite.js';
import { isGreedy, type LogitBias, Sampler, type SamplingOptions } from './sampler.js';
import type { Slot } from './slots.js';
import type { StepOutput } from './step.js';

/** A token on its way to the caller. */
export interface Sampled {
  readonly id: number;
  readonly logprobs?: TokenLogprobs;
}

export interface RequestOptions extends SamplingOptions {
  readonly logitBias?: LogitBias;
  readonly ignoreEos?: boolean;
  readonly topLogprobs?: number;
  readonly constraint?: Constraint;
  readonly promptLookup?: number;
  readonly signal?: AbortSignal;
}

/** What came of guesses. */
export interface Speculation {
  /** Tokens that were guessed, and those of them that were right. */
  readonly drafted: number;
  readonly accepted: number;
  /** Steps that checked guesses. */
  readonly steps: number;
}

interface RequestFacts {
  readonly prompt: ArrayLike<number>;
  readonly maxTokens: number;
  /** The model's. */
  readonly eosIds: readonly number[];
  readonly vocabSize: number;
}

export class Request {
  /** Prompt and output; those past `slot.cached.length` are still to be computed. */
  readonly tokens: number[];
  readonly promptLength: number;
  /** Sampled, not yet taken by the caller. */
  readonly ready: Sampled[] = [];
  /** Whether the next id is the argmax of the logits. */
  readonly greedy: boolean;
  readonly signal?: AbortSignal;
  /** No more tokens are to be computed: an end-of-sequence token came, or as many as were asked for. */
  complete: boolean;
  /** Counts on when the context slides, so that no random number is used twice. */
  step: number;
  /** Prompt tokens that were not computed. */
  reused: number;
  failure?: unknown;
  wake: () => void = () => {};
  /** The step or the copy under way that writes to the slot; never rejects. */
  inFlight?: Promise<void>;
  /** Guesses that the step under way checks. */
  drafts: readonly number[] = [];
  readonly speculation = { drafted: 0, accepted: 0, steps: 0 };
  private readonly length: DraftLength;
  private guesser?: Sampler;
  /** Those that end this generation. */
  private readonly eosIds: readonly number[];
  /** Where the text stands in the constraint. */
  private place?: Place;
  private sampled = 0;

  constructor(
    readonly slot: Slot,
    private readonly sampler: Sampler,
    private readonly options: RequestOptions,
    private readonly about: RequestFacts,
  ) {
    this.tokens = Array.from(about.prompt);
    this.promptLength = this.step = about.prompt.length;
    this.greedy = isGreedy(options) && options.topLogprobs === undefined && options.constraint === undefined;
    this.signal = options.signal;
    this.complete = about.maxTokens === 0;
    this.reused = slot.cached.length;
    this.eosIds = options.ignoreEos ? [] : about.eosIds;
    this.place = options.constraint?.start;
    this.length = options.promptLookup === undefined ? new DraftLength(16, 5) : new DraftLength(options.promptLookup);
  }

  /** Tokens that are still to be computed. */
  get pending(): number {
    return this.tokens.length - this.slot.cached.length;
  }

  /** Tokens that may still be sampled. */
  get left(): number {
    return this.about.maxTokens - this.sampled;
  }

  isEos(id: number): boolean {
    return this.eosIds.includes(id);
  }

  /** Whether the constraint lets nothing follow; without a token that could say so a text ends as soon as it may. */
  get isOver(): boolean {
    const { place } = this;
    const { constraint } = this.options;
    if (!constraint || !place) return false;
    return constraint.isOver(place) || (this.about.eosIds.length === 0 && !place.first && constraint.isComplete(place));
  }

  /** Finds out what may come next, to be there when it is asked for; what is wrong with it is said then. */
  prepare(): void {
    try {
      if (this.place) this.options.constraint?.allowed(this.place, this.eosIds);
    } catch {}
  }

  /** Whether it guesses from its own text. */
  get speculates(): boolean {
    return this.options.promptLookup !== undefined;
  }

  /** Guesses what comes next, at most `room` tokens: from the text itself, or by the assistant. */
  async draft(room: number, slot: number, assistant: Assistant | undefined): Promise<void> {
    const { promptLookup } = this.options;
    const count = Math.min(room, this.left - 1, this.length.count);
    this.drafts = [];
    if (count < 1) return;
    if (promptLookup !== undefined) this.drafts = lookUp(this.tokens, count);
    else if (assistant) this.drafts = await assistant.draft(slot, this.tokens, count, this.guess());
  }

  /** The assistant draws as the model will: by the same options, from the same random numbers, within the same constraint. */
  private guess(): Guess {
    const { constraint } = this.options;
    const { vocabSize } = this.about;
    this.guesser ??= new Sampler({ ...this.options, seed: this.sampler.seed });
    const guesser = this.guesser;
    let { place } = this;
    return {
      greedy: this.greedy,
      next: ({ logits, argmax }, tokens) => {
        const allowed = place && constraint?.allowed(place, this.eosIds);
        const step = this.step + tokens.length - this.tokens.length;
        const id = logits ? guesser.sample(logits.subarray(0, vocabSize), tokens, step, allowed) : argmax![0];
        if (this.isEos(id)) return undefined;
        place = place && constraint?.after(place, id);
        return constraint && place && constraint.isOver(place) ? undefined : id;
      },
    };
  }

  /**
   * The next token from its row of a step's output, and as long as guesses were right those after it; returns how many were. Throws
   * `NotFiniteError`.
   */
  take(output: StepOutput, row: number): number {
    const { drafts } = this;
    let accepted = 0;
    while (this.takeOne(output, row + accepted) === drafts[accepted]) {
      accepted++;
      if (this.complete) break;
    }
    if (drafts.length > 0) {
      this.speculation.drafted += drafts.length;
      this.speculation.accepted += accepted;
      this.speculation.steps++;
      this.length.learn(accepted);
      this.drafts = [];
    }
    return accepted;
  }

  /** Draws the token as it would be drawn without guesses. */
  private takeOne({ logits, argmax }: StepOutput, row: number): number {
    const { vocabSize } = this.about;
    const own = logits?.subarray(row * vocabSize, (row + 1) * vocabSize);
    const bad = own ? notFiniteIn(own) : undefined;
    if (bad !== undefined || (argmax && argmax[row] < 0)) {
      throw new NotFiniteError(`at step ${this.step - this.promptLength + 1} (after ${counted(this.step, 'token')})`, bad);
    }
    const { constraint, topLogprobs } = this.options;
    const allowed = this.place && constraint?.allowed(this.place, this.eosIds);
    const id = own ? this.sampler.sample(own, this.tokens, this.step, allowed) : argmax![row];
    const logprobs = topLogprobs === undefined ? undefined : logprobsOf(own!, id, topLogprobs);
    this.step++;
    this.tokens.push(id);
    this.ready.push({ id, logprobs });
    this.sampled++;
    if (this.place && !this.isEos(id)) this.place = constraint?.after(this.place, id);
    this.complete = this.sampled >= this.about.maxTokens || this.isEos(id) || this.isOver;
    return id;
  }

  /** Keeps the first token and the newer half of the rest: they are computed anew, as if they had been the prompt. */
  slide(context: number): void {
    const kept = Math.max(1, Math.floor(context / 2));
    this.tokens.splice(1, this.tokens.length - 1 - kept);
    this.slot.cached.length = Math.min(1, this.slot.cached.length);
  }
}
