// Where a long text may be cut so that its parts, encoded one by one, have the ids of the whole: between words that no piece joins, away
// from spaces that normalization would look at and from added tokens. Encoding itself is tokenizer.ts's.

import { SPACE } from './vocabulary.js';

/** What decides it, of a tokenizer. */
export interface CutRules {
  /** By UTF-16 unit: 0 for a character that is in no piece. */
  readonly inPiece: Uint8Array;
  /** Added tokens, and the units of the longest. */
  readonly tokens: readonly RegExp[];
  readonly longestToken: number;
}

const whiteSpace = /[\p{White_Space}\u2581]/u;

/** The last place after `from` where `text` may be cut; 0 when there is none. */
export function lastCut(text: string, from: number, { inPiece, tokens, longestToken }: CutRules): number {
  for (let at = text.length - 1 - longestToken; at > Math.max(0, from); at--) {
    const next = text.charCodeAt(at);
    const previous = text.charCodeAt(at - 1);
    if (next !== 0x20 && inPiece[next] === 1 && inPiece[previous] === 1) continue;
    if (whiteSpace.test(text[at - 1])) continue;
    const around = text.slice(Math.max(0, at - longestToken), at + longestToken);
    const spelled = [around, around.replaceAll(' ', SPACE)];
    if (!tokens.some((token) => spelled.some((stretch) => stretch.search(token) >= 0))) return at;
  }
  return 0;
}
