// Scores of translations over a corpus, as lm-evaluation-harness takes them from sacreBLEU with its defaults (Post 2018): BLEU (Papineni
// et al. 2002; mteval-v13a's tokens, exponential smoothing), chrF and chrF++ (Popovic 2015, 2017) and TER. A document gives counts, the
// score is of their sums: resampled documents need not be counted again. The edit rate's search is translation-edits.ts's.

import { rstrip, splitWords } from '../python/text.js';
import { translationEdits } from './translation-edits.js';

/** A metric of a corpus. */
interface CorpusMetric {
  /** Counts of one document with at least one reference. */
  readonly counts: (prediction: string, references: readonly string[]) => number[];
  /** The score, in percent, of what the counts of all documents add up to. */
  readonly score: (sums: readonly number[]) => number;
}

/** How often each run of `order` items occurs. */
type Counts = ReadonlyMap<string, number>;

const total = (counts: Counts) => [...counts.values()].reduce((sum, count) => sum + count, 0);

function matches(ours: Counts, theirs: Counts): number {
  let sum = 0;
  for (const [gram, count] of ours) sum += Math.min(count, theirs.get(gram) ?? 0);
  return sum;
}

function count(length: number, order: number, gram: (start: number) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + order <= length; i++) {
    const key = gram(i);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** For each order from 1 to `orders`; no word has a blank in it. */
function wordGrams(words: readonly string[], orders: number): Map<string, number>[] {
  return Array.from({ length: orders }, (_, n) => count(words.length, n + 1, (i) => words.slice(i, i + n + 1).join(' ')));
}

const BLEU_ORDERS = 4;

/** mteval-v13a's tokens: marks by themselves, points, commas and hyphens depending on the digits around them. */
function bleuTokens(text: string): string[] {
  const plain = rstrip(text)
    .replaceAll('<skipped>', '')
    .replaceAll('-\n', '')
    .replaceAll('\n', ' ')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>');
  return splitWords(
    ` ${plain} `
      .replace(/[!-&(-+/:-@[-`{-~]/g, ' $& ')
      .replace(/([^0-9])([.,])/gu, '$1 $2 ')
      .replace(/([.,])([^0-9])/gu, ' $1 $2')
      .replace(/([0-9])(-)/g, '$1 $2 '),
  );
}

/** Counts: length, the nearest reference's length, matches by order, n-grams by order. */
const bleu: CorpusMetric = {
  counts(prediction, references) {
    const words = bleuTokens(prediction);
    const grams = wordGrams(words, BLEU_ORDERS);
    const others = references.map(bleuTokens);
    // What any of the references has so often counts; of lengths equally near, the shorter one.
    const clips = grams.map(() => new Map<string, number>());
    for (const other of others)
      for (const [n, counts] of wordGrams(other, BLEU_ORDERS).entries())
        for (const [gram, times] of counts) clips[n].set(gram, Math.max(times, clips[n].get(gram) ?? 0));
    const distance = (length: number) => Math.abs(length - words.length);
    const [nearest] = others.map(({ length }) => length).sort((a, b) => distance(a) - distance(b) || a - b);
    return [words.length, nearest, ...grams.map((counts, n) => matches(counts, clips[n])), ...grams.map(total)];
  },
  score([ours, theirs, ...sums]) {
    const right = sums.slice(0, BLEU_ORDERS);
    const all = sums.slice(BLEU_ORDERS);
    if (!right.some((hits) => hits > 0) || all.includes(0)) return 0;
    let halved = 1;
    const logs = right.map((hits, n) => {
      if (hits === 0) halved *= 2;
      return Math.log(hits === 0 ? 100 / (halved * all[n]) : (100 * hits) / all[n]);
    });
    const brevity = ours < theirs ? Math.exp(1 - theirs / ours) : 1;
    return brevity * Math.exp(logs.reduce((sum, log) => sum + log, 0) / BLEU_ORDERS);
  },
};

const CHARACTER_ORDERS = 6;
/** Recall counts so many times as much as precision, squared. */
const BETA_SQUARED = 4;

/** Runs of 1 to 6 characters, white space left out. */
function characterGrams(text: string): Counts[] {
  const solid = splitWords(text).join('');
  const starts: number[] = [];
  for (let i = 0; i < solid.length; i += solid.codePointAt(i)! > 0xffff ? 2 : 1) starts.push(i);
  const length = starts.length;
  starts.push(solid.length);
  return Array.from({ length: CHARACTER_ORDERS }, (_, n) =>
    count(length, n + 1, (i) => solid.slice(starts[i], starts[i + n + 1])),
  );
}

const PUNCTUATION = /[!-/:-@[-`{-~]/;

/** Words, one mark taken from the end of each, or else from its beginning. */
function chrfWords(text: string): string[] {
  return splitWords(text).flatMap((word) => {
    if (word.length === 1) return [word];
    if (PUNCTUATION.test(word.at(-1)!)) return [word.slice(0, -1), word.at(-1)!];
    return PUNCTUATION.test(word[0]) ? [word[0], word.slice(1)] : [word];
  });
}

/** F of mean precision and mean recall over the orders that both sides have. */
function chrfScore(sums: readonly number[]): number {
  let [precision, recall, orders] = [0, 0, 0];
  for (let i = 0; i < sums.length; i += 3) {
    const [ours, theirs, both] = sums.slice(i, i + 3);
    if (ours === 0 || theirs === 0) continue;
    precision += both / ours;
    recall += both / theirs;
    orders++;
  }
  precision /= orders;
  recall /= orders;
  if (!(precision + recall > 0)) return 0;
  return 100 * (((1 + BETA_SQUARED) * precision * recall) / (BETA_SQUARED * precision + recall));
}

/** chrF with word n-grams up to an order. Counts: by order, n-grams of the prediction, of the reference, and matches. */
function chrf(wordOrders: number): CorpusMetric {
  const gramsOf = (text: string) => [...characterGrams(text), ...wordGrams(chrfWords(text), wordOrders)];
  return {
    counts(prediction, references) {
      const ours = gramsOf(prediction);
      const each = references.map((reference) =>
        gramsOf(reference).flatMap((theirs, n) => {
          const known = total(theirs);
          return [known > 0 ? total(ours[n]) : 0, known, matches(ours[n], theirs)];
        }),
      );
      // The reference with the best score, the first of equals.
      const scores = each.map(chrfScore);
      return each[scores.indexOf(Math.max(...scores))];
    },
    score: chrfScore,
  };
}

/** Counts: edits to the reference that takes the fewest, and the mean length of the references. */
const ter: CorpusMetric = {
  counts(prediction, references) {
    const words = (text: string) => splitWords(text.toLowerCase());
    const ours = words(prediction);
    const others = references.map(words);
    const edits = others.map((other) => translationEdits(ours, other));
    return [Math.min(...edits), others.reduce((sum, { length }) => sum + length, 0) / others.length];
  },
  score([edits, length]) {
    return 100 * (length > 0 ? edits / length : edits > 0 ? 1 : 0);
  },
};

/** By the names that they have in the harness, as metrics and as aggregations. */
export const CORPUS_METRICS: Readonly<Record<string, CorpusMetric>> = { bleu, chrf: chrf(0), 'chrf++': chrf(2), ter };
