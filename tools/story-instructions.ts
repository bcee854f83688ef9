// Instructions made by rule from the stories that the embedded model was trained on, to tune it with:
//   npx tsx tools/story-instructions.ts TRAIN.jsonl TOKENIZER.model OUTPUT
// TRAIN.jsonl is story-corpus.ts's. OUTPUT gets train.jsonl (conversations: an instruction, a story that does what it asks),
// prompts-1.jsonl to prompts-3.jsonl (instructions alone, mostly of things, for answers of the model's own), and of stories that are in none of those
// validation.jsonl and heldout.jsonl, 300 instructions to be judged on. Every row says
// what it asks (`asked`), so that answers can be ranked.

import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readDocuments } from '../src/data/readers.js';
import { messageOf } from '../src/errors.js';
import { localCorpora } from '../src/io/node/corpora.js';
import { writeAtomic } from '../src/io/node/files.js';
import { PythonRandom } from '../src/python-random.js';
import { tokenizerFromModel } from '../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../src/tokenizer/tokenizer.js';
import { retold } from './story-retold.js';
import { type Asked, hasWord, nouns, verbs } from './story-rules.js';

/** Tokens of a story: it has to begin, go somewhere and end within 256. */
const fewest = 50;
const most = 235;
const shortBelow = 130;
const longAbove = 185;

/** Characters from which a text is a chapter of a book, and how many of its pages are taken. */
const chapterFrom = 6000;
const pagesOfChapter = 10;

/** Rounds of answers of the model's own, and the instructions of one. */
const rounds = 3;
const promptsOfRound = 1000;

const reservedStories = 400;
const heldOutRows = 300;
const validationRows = 150;
/** Instructions made of each story as it is, */
const variants = 3;
/** and how often it is told again with other things in it (story-retold.ts), with another instruction each time. */
const retellings = 2;

interface Row {
  readonly messages: readonly { readonly role: 'user' | 'assistant'; readonly content: string }[];
  readonly asked: Asked;
  readonly kind: string;
}

interface Story {
  readonly text: string;
  readonly tokens: number;
  /** Nouns of the list that it has, those that come often first. */
  readonly nouns: readonly string[];
}

const pick = <T>(random: PythonRandom, from: readonly T[]): T => from[random.below(from.length)];
const article = (noun: string): string =>
  /^(water|rain|snow|sand|honey|gold|grass|mud|ice|juice|tea|wind|corn|wood|paint)$/.test(noun)
    ? noun
    : `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`;
/** "a fox" without its article in the list of what has to occur. */
const count = (text: string, noun: string): number => text.match(new RegExp(`\\b${noun}`, 'gi'))?.length ?? 0;

function storyOf(text: string, tokens: number): Story {
  const found = nouns.filter((noun) => hasWord(text, noun));
  return { text, tokens, nouns: found.sort((a, b) => count(text, b) - count(text, a)) };
}

/** The same with those nouns alone that it is about: which come more than once, or early. From others nobody learns to heed an instruction. */
function aboutOf({ text, tokens, nouns: found }: Story): Story {
  const early = text.slice(0, text.length / 4);
  return { text, tokens, nouns: found.filter((noun) => count(text, noun) > 1 || hasWord(early, noun)) };
}

const openings = ['Write', 'Tell me', 'Please write', 'Can you write', 'Please tell me', 'I would like'];

/** "Write a short story about a fox and a well." */
function ask(random: PythonRandom, what: string, length: Asked['length']): string {
  const opening = random.random() < 0.5 ? 'Write' : pick(random, openings);
  const kind = random.random() < 0.85 ? 'story' : 'tale';
  const end = opening.startsWith('Can') ? '?' : random.random() < 0.8 ? '.' : '';
  return `${opening} a ${length ? `${length} ` : ''}${kind} ${what}${end}`;
}

const kinds: Record<string, (story: Story, random: PythonRandom, length: Asked['length']) => Row | undefined> = {
  two(story, random, length) {
    const [a, b] = draw(random, story.nouns.slice(0, 5), 2);
    if (b === undefined) return undefined;
    return row('two', ask(random, `about ${article(a)} and ${article(b)}`, length), story.text, { words: [a, b], length });
  },
  one(story, random, length) {
    const [noun] = draw(random, story.nouns.slice(0, 3), 1);
    if (noun === undefined) return undefined;
    const about = random.random() < 0.7 ? `about ${article(noun)}` : `with ${article(noun)} in it`;
    return row('one', ask(random, about, length), story.text, { words: [noun], length });
  },
  named(story, random, length) {
    const [, who, name] =
      /\b(?:an?|the) (?:\w+,? ){0,2}?(boy|girl|dog|cat|bird|bear|rabbit|bunny|mouse|fox|frog|man|woman|puppy) (?:named|called) ([A-Z][a-z]+)/.exec(
        story.text,
      ) ?? [];
    const noun = story.nouns.find((each) => each !== who);
    if (name === undefined || noun === undefined) return undefined;
    const words = [name, noun];
    return row('named', ask(random, `about a ${who} named ${name} and ${article(noun)}`, length), story.text, { words, length });
  },
  action(story, random, length) {
    const found = Object.entries(verbs).flatMap(([verb, forms]): { verb: string; noun?: string }[] => {
      const pattern = new RegExp(`\\b${forms[0]} (?:an?|the|his|her|some|their) (?:\\w+ ){0,2}?(${nouns.join('|')})\\b`, 'i');
      const noun = pattern.exec(story.text)?.[1]?.toLowerCase();
      if (noun !== undefined) return [{ verb, noun }];
      return new RegExp(`\\b${forms[0]}\\b`, 'i').test(story.text) ? [{ verb }] : [];
    });
    if (found.length === 0) return undefined;
    const { verb, noun } = pick(random, found);
    const what = noun !== undefined && random.random() < 0.7 ? noun : undefined;
    const object = what
      ? article(what)
      : verb === 'helps' || verb === 'saves' || verb === 'catches'
        ? pick(random, ['someone', 'a friend'])
        : 'something';
    const asked = { words: what ? [what] : [], verb: verbs[verb], length };
    return row('action', ask(random, `in which someone ${verb} ${object}`, length), story.text, asked);
  },
  begins(story, random, length) {
    const [first] = sentences(story.text);
    const words = first.trim().split(/\s+/);
    const beginning = words.length <= 10 && random.random() < 0.5 ? first.trim() : words.slice(0, 6 + random.below(6)).join(' ');
    if (beginning.includes('"') || beginning.includes('\n')) return undefined;
    const how = pick(random, ['that begins with', 'that starts with', 'beginning with']);
    return row('begins', ask(random, `${how} "${beginning}"`, length), story.text, { words: [], beginning, length });
  },
  continued(story, random) {
    const parts = sentences(story.text);
    if (parts.length < 5) return undefined;
    const given = 1 + random.below(Math.min(3, parts.length - 4));
    const beginning = parts.slice(0, given).join('').trim();
    const rest = parts.slice(given).join('').trim();
    // Who or what it is about: a name, or the noun that both halves have.
    const name = [...beginning.matchAll(/(?<=[a-z,] )[A-Z][a-z]+/g)].map(([each]) => each).find((each) => hasWord(rest, each));
    const about = name ?? story.nouns.find((noun) => hasWord(beginning, noun) && hasWord(rest, noun));
    if (about === undefined || rest.length < 120) return undefined;
    const how = pick(random, ['Continue this story:', 'Continue the story:', 'Go on with this story:', 'Finish this story:']);
    return row('continued', `${how} ${beginning}`, rest, { words: [about] });
  },
};

function row(kind: string, instruction: string, story: string, asked: Asked): Row {
  const messages = [
    { role: 'user', content: instruction },
    { role: 'assistant', content: story },
  ] as const;
  return { messages, asked, kind };
}

function draw<T>(random: PythonRandom, from: readonly T[], size: number): T[] {
  return from.length < size ? [] : random.sample(from.length, size).map((i) => from[i]);
}

/** A page of a book with something that occurs on it, or whatever page: so the model keeps its books. */
function pageRow(page: Story, random: PythonRandom): Row {
  const noun = page.nouns.length > 0 && random.random() < 0.7 ? pick(random, page.nouns.slice(0, 3)) : undefined;
  const what = `${pick(random, ['Write', 'Please write', 'Tell me'])} a page of an old book`;
  return row('page', noun ? `${what} with ${article(noun)} in it.` : `${what}.`, page.text, { words: noun ? [noun] : [] });
}

/** Some of a chapter's pages: whole paragraphs of `longAbove` to `most` tokens. */
function pagesOf(chapter: string, tokenizer: Tokenizer): Story[] {
  const found: Story[] = [];
  let page = '';
  for (const paragraph of chapter.split(/\n\s*\n/)) {
    page = page === '' ? paragraph : `${page}\n\n${paragraph}`;
    const tokens = tokenizer.encode(page).length;
    if (tokens > most) page = '';
    else if (tokens > longAbove && /[.!?]["'”’]*$/.test(page)) {
      found.push(storyOf(page, tokens));
      page = '';
    }
  }
  return found.slice(0, pagesOfChapter);
}

/** Sentences with the blanks behind them; joined they are the text. */
function sentences(text: string): string[] {
  return text.match(/[^.!?]*[.!?]+["'”’]*\s*|[^.!?]+$/g) ?? [text];
}

function rowsOf(story: Story, random: PythonRandom, wanted: number): Row[] {
  const found: Row[] = [];
  const names = Object.keys(kinds);
  random.shuffle(names);
  for (const name of names) {
    if (found.length === wanted) break;
    const fits = story.tokens < shortBelow ? 'short' : story.tokens > longAbove ? 'long' : undefined;
    const made = kinds[name](story, random, random.random() < 0.35 ? fits : undefined);
    if (made) found.push(made);
  }
  return found;
}

async function main(trainFile: string, tokenizerFile: string, output: string): Promise<void> {
  const tokenizer = tokenizerFromModel(await readFile(tokenizerFile), tokenizerFile);
  const stories: Story[] = [];
  const pages: Story[] = [];
  for await (const { text } of readDocuments(localCorpora, { path: trainFile, textKey: 'text' })) {
    const whole = text.trim();
    if (whole.length > chapterFrom) pages.push(...pagesOf(whole, tokenizer));
    const heading = /^[^\n.!?]{1,60}\n/.test(whole) || /^[IVXLC]+\n/.test(whole);
    if (heading || !/[.!?]["'”’]*$/.test(whole) || whole.length > 2500) continue;
    const tokens = tokenizer.encode(whole).length;
    if (tokens >= fewest && tokens <= most) stories.push(storyOf(whole, tokens));
  }
  const random = new PythonRandom(11);
  random.shuffle(stories);
  const reserved = stories.splice(0, reservedStories);
  const spare = reserved.flatMap((story) => rowsOf(story, random, 2));
  random.shuffle(spare);
  const train = stories.flatMap((story) => rowsOf(aboutOf(story), random, variants));
  for (let i = 0; i < retellings; i++) {
    train.push(...stories.flatMap((story) => rowsOf(aboutOf(storyOf(retold(story.text, random), story.tokens)), random, 1)));
  }
  train.push(...pages.map((page) => pageRow(aboutOf(page), random)));
  random.shuffle(train);
  const prompts = stories
    .flatMap((story) => rowsOf(storyOf(retold(story.text, random), story.tokens), random, 2))
    .filter(({ kind }) => !/begins|continued/.test(kind) || random.random() < 0.3);
  random.shuffle(prompts);
  await mkdir(output, { recursive: true });
  await write(join(output, 'train.jsonl'), train);
  const asked = prompts.map((each) => ({ ...each, messages: each.messages.slice(0, 1) }));
  for (let round = 0; round < rounds; round++) {
    await write(join(output, `prompts-${round + 1}.jsonl`), asked.slice(round * promptsOfRound, (round + 1) * promptsOfRound));
  }
  await write(join(output, 'heldout.jsonl'), spare.slice(0, heldOutRows));
  await write(join(output, 'validation.jsonl'), spare.slice(heldOutRows, heldOutRows + validationRows));
}

async function write(path: string, rows: readonly Row[]): Promise<void> {
  await writeAtomic(path, (sink) => sink.write(Buffer.from(rows.map((each) => `${JSON.stringify(each)}\n`).join(''))));
  const kindsOf = new Map<string, number>();
  for (const { kind } of rows) kindsOf.set(kind, (kindsOf.get(kind) ?? 0) + 1);
  process.stderr.write(`${path}: ${rows.length} rows (${[...kindsOf].map(([kind, n]) => `${n} ${kind}`).join(', ')})\n`);
}

const { positionals } = parseArgs({ allowPositionals: true });
if (positionals.length !== 3) {
  process.stderr.write('usage: tsx tools/story-instructions.ts TRAIN.jsonl TOKENIZER.model OUTPUT\n');
  process.exitCode = 2;
} else {
  await main(positionals[0], positionals[1], positionals[2]).catch((error: unknown) => {
    process.stderr.write(`story-instructions: ${messageOf(error)}\n`);
    process.exitCode = 1;
  });
}
