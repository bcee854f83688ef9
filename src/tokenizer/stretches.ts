// Where added tokens stand in a text, and how much of their surroundings each takes, as Hugging Face's tokenizers does it
// (added_vocabulary.rs): the leftmost, longest text first; then a token may ask to stand alone as a word, and may take the white space
// beside it. Which tokens there are is the readers' of vocabularies.

/** What an added token asks of its surroundings; all off for most. */
export interface TokenRule {
  /** It counts only where no letter, digit, mark or underscore touches it. */
  readonly singleWord: boolean;
  /** White space before it, and after it, belongs to it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A token's place: its stretch of the text, and its own text. */
export interface TokenStretch {
  readonly start: number;
  readonly end: number;
  readonly token: string;
}

// Unicode's White_Space and word characters, as Rust's \s and \w have them: U+0085 is white space, U+FEFF is not.
const space = /\p{White_Space}/u;
const wordAtEnd = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const wordAtStart = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** The tokens that `pattern` (of `anyOf`) finds in a text, in order. Rules are by the token's text. */
export function findTokens(
  text: string,
  pattern: RegExp | undefined,
  rules: ReadonlyMap<string, TokenRule> | undefined,
): Iterable<TokenStretch> {
  return pattern ? applyRules(text, placesOf(text, pattern), rules) : [];
}

/** Where the texts of tokens stand, whatever is around them; `offset` is added to all places. */
export function* placesOf(text: string, pattern: RegExp, offset = 0): Generator<TokenStretch> {
  for (const { 0: token, index } of text.matchAll(pattern))
    yield { start: offset + index, end: offset + index + token.length, token };
}

/** The places (of `placesOf`, in order) that count as tokens, each with what it takes of its surroundings. */
export function* applyRules(
  text: string,
  places: Iterable<TokenStretch>,
  rules: ReadonlyMap<string, TokenRule> | undefined,
): Generator<TokenStretch> {
  let from = 0;
  for (const place of places) {
    const { token } = place;
    let { start, end } = place;
    const rule = rules?.get(token);
    const touched = () => wordAtEnd.test(text.slice(Math.max(0, start - 2), start)) || wordAtStart.test(text.slice(end, end + 2));
    if (rule?.singleWord && touched()) continue;
    if (rule?.lstrip) {
      while (start > from && space.test(text[start - 1])) start--;
      start = Math.max(start, from);
    }
    if (rule?.rstrip) while (end < text.length && space.test(text[end])) end++;
    if (start >= end) continue; // the token before took all of it as white space
    yield { start, end, token };
    from = end;
  }
}

/** A pattern for the leftmost, longest of the tokens; undefined when there are none. */
export function anyOf(tokens: Iterable<string>): RegExp | undefined {
  const longestFirst = [...tokens].sort((a, b) => b.length - a.length);
  if (longestFirst.length === 0) return undefined;
  return new RegExp(longestFirst.map((token) => token.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|'), 'g');
}
