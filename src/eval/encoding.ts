// From a request's text to the ids a model is shown, by lm-evaluation-harness's rules (0.4.13: `TemplateLM._encode_pair`,
// `HFLM.tok_encode`, `utils.get_rolling_token_windows`): which white space belongs to the continuation, where a BOS stands, what
// is cut off when it is too long. Pure functions; nothing is scored here.

import { counted, InputError } from '../errors.js';
import { rstrip } from '../python/text.js';

/** What scoring needs of a tokenizer; `Tokenizer` is one. */
export interface EvalTokenizer {
  /** Begins texts, and is the context of what has none; -1: the vocabulary lacks it, and `eosId` stands in. */
  readonly bosId: number;
  readonly eosId: number;
  /** Ids of a text in which the names of special tokens (`<s>`) are those tokens, as in Hugging Face's tokenizers. */
  encodeTemplate(text: string): readonly number[];
  decode(ids: ArrayLike<number>): string;
}

export interface EncodingRules {
  readonly tokenizer: EvalTokenizer;
  /** Put a BOS in front of every text that does not begin with one. */
  readonly addBos: boolean;
  /** Tokens that the model can be shown at once. */
  readonly maxLength: number;
}

/** The last `scored` of `ids` are asked for; `ids` fit the model but for the last, which nothing comes after. */
export interface EncodedRequest {
  readonly ids: readonly number[];
  readonly scored: number;
  /** Tokens that were cut off on the left. */
  readonly truncated: number;
}

/** Stands before a text that has no context. Throws `InputError` when the tokenizer has nothing of the kind. */
export function prefixToken({ bosId, eosId }: EvalTokenizer): number {
  if (bosId >= 0) return bosId;
  if (eosId >= 0) return eosId;
  throw new InputError('this tokenizer has no token for the beginning or the end of a text: a text without context has no score');
}

/** Ids of a text, with the BOS that the rules ask for; never two. */
export function encodeText({ tokenizer, addBos }: EncodingRules, text: string): readonly number[] {
  const ids = tokenizer.encodeTemplate(text);
  if (!addBos) return ids;
  const bos = prefixToken(tokenizer);
  return ids[0] === bos ? ids : [bos, ...ids];
}

/** White space at the end of the context belongs to the continuation. */
export function moveTrailingSpace(context: string, continuation: string): [context: string, continuation: string] {
  const text = rstrip(context);
  return [text, context.slice(text.length) + continuation];
}

/** Encodes (context, continuation) pairs one after another; those that share a context encode it once. */
export class PairEncoder {
  private lastContext = '';
  private lastContextIds: readonly number[] = [];

  constructor(private readonly rules: EncodingRules) {}

  /**
   * The ids of context and continuation, uncut. Without a context, the prefix token is it.
   * Throws `InputError` when there is no context but white space and no BOS, or no continuation.
   */
  encodePair(context: string, continuation: string): { context: readonly number[]; continuation: readonly number[] } {
    const pair = context === '' ? this.withoutContext(continuation) : this.withContext(context, continuation);
    if (pair.context.length === 0) {
      throw new InputError(`the context ${shown(context)} is only white space: give it text, leave it empty, or add a BOS`);
    }
    if (pair.continuation.length === 0) throw new InputError(`the continuation ${shown(continuation)} has no token of its own`);
    return pair;
  }

  /** As the model is shown it: at most the last `maxLength + 1` ids. Throws as `encodePair`, and on a continuation that is too long. */
  encode(context: string, continuation: string): EncodedRequest {
    const { maxLength } = this.rules;
    const pair = this.encodePair(context, continuation);
    const scored = pair.continuation.length;
    if (scored > maxLength) {
      throw new InputError(
        `the continuation ${shown(continuation)} has ${counted(scored, 'token')}, the model takes ${maxLength}: shorten it or raise the context`,
      );
    }
    return cutLeft([...pair.context, ...pair.continuation], scored, maxLength);
  }

  private withoutContext(continuation: string): { context: readonly number[]; continuation: readonly number[] } {
    const ids = this.rules.tokenizer.encodeTemplate(continuation);
    const prefix = prefixToken(this.rules.tokenizer);
    return ids[0] === prefix
      ? { context: ids.slice(0, 1), continuation: ids.slice(1) }
      : { context: [prefix], continuation: ids };
  }

  private withContext(given: string, after: string): { context: readonly number[]; continuation: readonly number[] } {
    const [context, continuation] = moveTrailingSpace(given, after);
    if (context !== this.lastContext || this.lastContextIds.length === 0) {
      this.lastContextIds = encodeText(this.rules, context);
      this.lastContext = context;
    }
    const whole = encodeText(this.rules, context + continuation);
    return { context: this.lastContextIds, continuation: whole.slice(this.lastContextIds.length) };
  }
}

function cutLeft(ids: readonly number[], scored: number, maxLength: number): EncodedRequest {
  const truncated = Math.max(0, ids.length - (maxLength + 1));
  return { ids: truncated ? ids.slice(truncated) : ids, scored, truncated };
}

/**
 * A text in windows of at most `maxLength` tokens, every token scored once: the first window's context is the prefix token, the
 * others' as many of the tokens before as there is room for, at least one.
 */
export function rollingWindows(rules: EncodingRules, text: string): EncodedRequest[] {
  const { maxLength } = rules;
  const tokens = encodeText(rules, text);
  if (tokens.length === 0) return [];
  const ids = [prefixToken(rules.tokenizer), ...tokens];
  const windows: EncodedRequest[] = [];
  for (let start = 0; start < tokens.length; ) {
    const scored = Math.min(maxLength, tokens.length - start);
    const end = start + scored;
    // The first window has no other context than the prefix token, which the others never see.
    const from = start === 0 ? 0 : end - maxLength;
    windows.push({ ids: ids.slice(from, end + 1), scored, truncated: 0 });
    start = end;
  }
  return windows;
}

/** The prompt of a generation: its last tokens, so that `maxTokens` more fit. Throws `InputError` when those leave no room. */
export function encodePrompt(rules: EncodingRules, context: string, maxTokens: number): readonly number[] {
  const room = rules.maxLength - maxTokens;
  if (room < 1) {
    throw new InputError(
      `${counted(maxTokens, 'new token')} leave no room for a prompt: the model takes ${rules.maxLength} in all; ask for fewer`,
    );
  }
  const ids = encodeText(rules, context);
  return ids.length === 0 ? [prefixToken(rules.tokenizer)] : ids.slice(-room);
}

/** What comes before the stops: cut at the first, the rest at the second, and so on, as the harness does. */
export function cutAtStops(text: string, until: readonly string[]): string {
  return until.reduce((left, stop) => (stop === '' ? left : left.split(stop, 1)[0]), text);
}

function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
