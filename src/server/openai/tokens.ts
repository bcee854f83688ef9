// Tokens as OpenAI's log-probabilities show them: each with its text and, where it is a part of a character, its bytes; and where in
// the text it begins, in code points.

import type { IdLogprob, TokenLogprobs } from '../../infer/logprobs.js';
import { codePoints } from '../../python/text.js';
import { type ShownToken, shownToken } from '../../tokenizer/shown.js';
import type { Tokenizer } from '../../tokenizer/tokenizer.js';

/** JSON has no -Infinity: a log-probability of a token that cannot come. */
const never = -9999;
const finite = (logprob: number): number => (logprob > never ? logprob : never);

export interface ChatLogprob extends ShownToken {
  readonly logprob: number;
  readonly top_logprobs: readonly (ShownToken & { readonly logprob: number })[];
}

/** A token of a chat's answer. */
export function chatLogprob(tokenizer: Tokenizer | undefined, { id, logprob, top }: TokenLogprobs): ChatLogprob {
  const shown = (of: IdLogprob) => ({ ...shownToken(tokenizer, of.id), logprob: finite(of.logprob) });
  return { ...shown({ id, logprob }), top_logprobs: top.map(shown) };
}

/** The lists of an answer of `/v1/completions`. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

/** Writes the lists token by token; offsets go on from call to call. */
export class CompletionTokens {
  private readonly decoder;
  private offset = 0;
  private begun = false;

  /** `continued`: what comes first goes on with a text, so its space stays. */
  constructor(
    private readonly tokenizer: Tokenizer | undefined,
    private readonly continued: boolean,
  ) {
    this.decoder = tokenizer?.streamDecoder();
  }

  /** `logprob` is null where there is none; `top` the likeliest at the place. */
  add(lists: CompletionLogprobs, id: number, logprob: number | null, top: readonly IdLogprob[] | null): void {
    const first = !this.begun && !this.continued;
    const { token } = shownToken(this.tokenizer, id, first);
    lists.tokens.push(token);
    lists.token_logprobs.push(logprob === null ? null : finite(logprob));
    // Two ids of one text: the likelier one, which comes first, is kept.
    const entries = [...(top ?? [])].reverse().map((of) => [shownToken(this.tokenizer, of.id, first).token, finite(of.logprob)]);
    lists.top_logprobs.push(top === null ? null : Object.fromEntries(entries));
    lists.text_offset.push(this.offset);
    const text = this.decoder?.push(id) ?? '';
    this.offset += codePoints(text) + (this.continued && !this.begun && token.startsWith(' ') && !text.startsWith(' ') ? 1 : 0);
    this.begun ||= text !== '';
  }
}

export function emptyLogprobs(): CompletionLogprobs {
  return { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
}
