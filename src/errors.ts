// The one kind of error that is the user's to mend: bad input, a missing file, a number out of range. Its message is one
// clear sentence that says what is wrong, where, and what to do; the command line prints it alone and exits with 1.
// Anything else that is thrown is a defect of this program. A leaf: every room may import it.

/** How whoever reads a message calls an option, with the value that is proposed for it, if one is. */
export type OptionNamer = (option: string, value?: string | number | true) => string;

/** A message, or what makes it of the reader's names for options: `(option) => `try ${option('dtype', 'f32')}``. */
export type Sentence = string | ((option: OptionNamer) => string);

/** As programs give options: `dtype`, or `dtype: 'f32'`. */
const asProperty: OptionNamer = (option, value) =>
  value === undefined ? option : `${option}: ${typeof value === 'string' ? `'${value}'` : value}`;

/** Bad input from outside: the message is one sentence meant for the user, shown without a stack trace. It names options as programs do. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly #sentence: Sentence;

  constructor(sentence: Sentence) {
    super(said(sentence, asProperty));
    this.#sentence = sentence;
  }

  /** The message for readers who give options otherwise. */
  naming(option: OptionNamer): string {
    return said(this.#sentence, option);
  }
}

function said(sentence: Sentence, option: OptionNamer): string {
  return typeof sentence === 'string' ? sentence : sentence(option);
}

/** A sentence as data, for another thread: its text, and the options in it. */
export type SentenceParts = readonly (string | readonly [option: string, value?: string | number | true])[];

export function partsOf(error: InputError): SentenceParts {
  const options: (readonly [option: string, value?: string | number | true])[] = [];
  const text = error.naming((option, value) => `\0${options.push(value === undefined ? [option] : [option, value]) - 1}\0`);
  return text.split('\0').map((part, i) => (i % 2 === 0 ? part : options[Number(part)]));
}

/** The error that another thread made such parts of. */
export function inputErrorOf(parts: SentenceParts): InputError {
  return new InputError((option) => parts.map((part) => (typeof part === 'string' ? part : option(...part))).join(''));
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Runs `work`; what it finds wrong with the input is said to be `where`. */
export function locating<T>(where: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof InputError ? new InputError(`${where}: ${error.message}`) : error;
  }
}

/** A value from outside for a message: as JSON, cut when long. */
export function shown(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  let text: string;
  try {
    text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value)); // not null for Infinity
  } catch {
    text = typeof value === 'bigint' ? String(value) : 'a value that is no JSON'; // nested without end, for one
  }
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** A number with what it counts: "1 document", "12 documents"; `written` says how the number is put, where not by its digits. */
export function counted(count: number, one: string, written: (count: number) => string = String): string {
  return `${written(count)} ${one}${count === 1 ? '' : 's'}`;
}

/**
 * A text on one line with its control characters (C0 and C1) and those that turn the direction of writing as escapes, so that no
 * name, path or message from outside can move the cursor, colour or hide what a terminal shows.
 */
export function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A text of several lines, each as `visible` shows it; tabs stay too. */
export function visibleLines(text: string): string {
  return text.replace(/[^\n\t]+/g, visible);
}

/** The candidate nearest to `word` by edit distance, if it is near enough to be a likely slip; for "did you mean". */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = word.length < 4 ? Math.min(2, word.length) : Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
