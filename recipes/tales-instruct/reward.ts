// How good a story is for its instruction, by rule: it has what was asked, ends by itself, does not go round in circles, and is a story
// rather than a sentence. `openelm tune` with method rso asks it about every sampled answer.

import { type Asked, judge } from '../../tools/story-rules.js';

export function reward({ text, ended, row }: { text: string; ended: boolean; row: { asked: Asked } }): number {
  const { mentioned, repeats, fresh, whole, words } = judge(text, row.asked);
  const { length } = row.asked;
  const fits = length === 'short' ? words < 130 : length === 'long' ? words > 110 : true;
  return 2 * mentioned + (ended && whole ? 1 : 0) + (repeats ? 0 : 1) + 3 * fresh + (words >= 50 ? 0.5 : 0) + (fits ? 0.5 : 0);
}
