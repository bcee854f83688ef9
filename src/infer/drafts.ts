// Guesses of the next tokens, to be checked in one step together: where the text repeats itself (prompt lookup, Saxena 2023) or by
// a smaller model (Leviathan et al. 2023). Drafts only make a text faster: each token is still drawn from the model's own logits as
// without them, so none of them changes an id. What comes of them is `request.ts`.

import { counted, InputError } from '../errors.js';
import { type Cache, createCache } from '../model/cache.js';
import type { OpenELM } from '../model/openelm.js';
import type { CacheType } from '../model/parameters.js';
import type { Backend } from '../tensor/backend.js';
import { commonPrefix } from '../tokenizer/prefix.js';
import { maxStepRows, type StepOutput, Stepper } from './step.js';

/** Tokens that are drafted at once at most. */
export const mostDrafts = 32;

/** How the assistant's next token is chosen, from its row of a step's output, after tokens that the main model has not seen. */
export interface Guess {
  /** Whether the argmax is all that is asked. */
  readonly greedy: boolean;
  /** Undefined where the draft should end. */
  next(output: StepOutput, tokens: readonly number[]): number | undefined;
}

/** The longest run of tokens at the end that is looked for, and the shortest: a single token says little. */
const [longestRun, shortestRun] = [4, 2];

/**
 * What followed when the text's last tokens came before: the latest time, the longest run of them first. Where that reaches the end of
 * the text, which then repeats itself, the draft goes on in itself.
 */
export function lookUp(tokens: readonly number[], count: number): number[] {
  for (let run = Math.min(longestRun, tokens.length - 1); run >= shortestRun; run--) {
    const end = tokens.length - run;
    for (let at = end - 1; at >= 0; at--) {
      let same = 0;
      while (same < run && tokens[at + same] === tokens[end + same]) same++;
      if (same < run) continue;
      const draft: number[] = [];
      for (let next = at + run; draft.length < count; next++) {
        draft.push(next < tokens.length ? tokens[next] : draft[next - tokens.length]);
      }
      return draft;
    }
  }
  return [];
}

/** How many tokens to draft: as many again as were right the last time, and two more to find out whether it goes on. */
export class DraftLength {
  constructor(
    private readonly most: number,
    public count: number = most,
  ) {}

  learn(accepted: number): void {
    this.count = Math.min(2 * accepted + 2, this.most);
  }
}

/** Drafts below this probability of the assistant are not gone on with (transformers' `assistant_confidence_threshold`). */
const leastConfidence = Math.log(0.4);

/** A smaller model with the same vocabulary, and what it has read of each slot's text. */
export class Assistant {
  /** Tokens that it can read. */
  readonly context: number;
  private readonly cache: Cache;
  private readonly stepper: Stepper;
  private readonly cached: number[][];

  /** Throws `InputError` when the vocabularies differ in size, `ExecutionError` when memory is short. */
  constructor(
    backend: Backend,
    model: OpenELM,
    options: { readonly vocabSize: number; readonly context: number; readonly slots: number; readonly cacheType: CacheType },
  ) {
    const { vocabSize, ropeMaxLength } = model.config;
    if (vocabSize !== options.vocabSize)
      throw new InputError(
        `the assistant's vocabulary has ${counted(vocabSize, 'id')}, the model's ${options.vocabSize}: it cannot guess for it`,
      );
    this.context = Math.min(options.context, ropeMaxLength);
    this.cache = createCache(backend, model.config, this.context * options.slots, this.context, options.cacheType);
    this.stepper = new Stepper(backend, model, this.cache, { maxSequences: 1, maxSegments: 2 });
    this.cached = Array.from({ length: options.slots }, () => []);
  }

  /** At most `count` guesses of what follows the tokens of a slot. */
  async draft(slot: number, tokens: readonly number[], count: number, guess: Guess): Promise<number[]> {
    const cached = this.cached[slot];
    cached.length = Math.min(commonPrefix(cached, tokens), tokens.length - 1);
    const text = [...tokens];
    const most = Math.min(count, this.context - tokens.length + 1);
    while (text.length - tokens.length < most) {
      const output = await this.read(slot, cached, text, guess.greedy ? 'best' : 'logits');
      const id = guess.next(output, text);
      if (id === undefined) break;
      text.push(id);
      if (guess.greedy && output.bestLogprobs![0] < leastConfidence) break;
    }
    return text.slice(tokens.length);
  }

  dispose(): void {
    this.stepper.dispose();
    this.cache.free();
  }

  /** Computes what is not cached of a text; the output of its last token. */
  private async read(slot: number, cached: number[], text: readonly number[], kind: 'best' | 'logits'): Promise<StepOutput> {
    for (;;) {
      const past = cached.length;
      const ids = text.slice(past, past + maxStepRows);
      const last = past + ids.length === text.length;
      const item = {
        ids,
        past,
        segments: [[slot * this.context, past + ids.length]] as const,
        wanted: last ? [ids.length - 1] : [],
      };
      const output = await this.stepper.run([{ ...item, targets: [0] }], last ? kind : 'none');
      cached.push(...ids);
      if (last) return output;
    }
  }
}
