// How well models follow instructions for stories, by rule, with standard errors:
//   npx tsx tools/story-judge.ts HELD-OUT-INSTRUCTIONS.jsonl STORIES.jsonl MODEL...
// Each model answers every instruction once, as `openelm chat` would (temperature 0.7, top-p 0.9, a seed for each), in at most 256 tokens;
// nats per byte are those of the stories (`text`), in windows that start afresh. Prints a table in Markdown.

import { parseArgs } from 'node:util';
import { readDocuments, readRows } from '../src/data/readers.js';
import { messageOf } from '../src/errors.js';
import { type ChatMessage, load } from '../src/index.js';
import { localCorpora } from '../src/io/node/corpora.js';
import { type Asked, judge } from './story-rules.js';

const maxTokens = 256;
const slots = 16;
const window = 512;

interface Instruction {
  readonly messages: ChatMessage[];
  readonly asked: Asked;
  readonly kind: string;
}

interface Numbers {
  /** By instruction. */
  readonly mentioned: number[];
  readonly all: number[];
  readonly ended: number[];
  readonly repeated: number[];
  readonly tokens: number[];
  readonly nats: readonly { readonly nats: number; readonly bytes: number }[];
  readonly byKind: Map<string, number[]>;
}

async function measure(name: string, instructions: readonly Instruction[], stories: readonly string[]): Promise<Numbers> {
  const model = await load(name === 'tales-6m' ? undefined : name, { slots, context: 1024, dtype: 'f32' });
  try {
    const found = { mentioned: [], all: [], ended: [], repeated: [], tokens: [], byKind: new Map() } as unknown as Numbers;
    const answer = async (index: number): Promise<void> => {
      const { messages, asked, kind } = instructions[index];
      const asks = messages.filter(({ role }) => role === 'user');
      const { text, finishReason, ids } = await model.complete(asks, {
        maxTokens,
        temperature: 0.7,
        topP: 0.9,
        seed: 1000 + index,
      });
      const { mentioned, repeats } = judge(text, asked);
      found.mentioned[index] = mentioned;
      found.all[index] = mentioned === 1 ? 1 : 0;
      found.ended[index] = finishReason === 'stop' ? 1 : 0;
      found.repeated[index] = repeats ? 1 : 0;
      found.tokens[index] = ids.length;
      const own = found.byKind.get(kind) ?? [];
      found.byKind.set(kind, [...own, mentioned === 1 ? 1 : 0]);
    };
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < instructions.length) await answer(next++);
    };
    await Promise.all(Array.from({ length: slots }, worker));
    return { ...found, nats: await storyNats(model, stories) };
  } finally {
    await model.dispose();
  }
}

async function storyNats(
  model: Awaited<ReturnType<typeof load>>,
  stories: readonly string[],
): Promise<{ nats: number; bytes: number }[]> {
  const all: { nats: number; bytes: number }[] = [];
  for (const story of stories) {
    const ids = model.tokenizer.encode(story, { bos: true });
    let nats = 0;
    for (let start = 0; start < ids.length - 1; start += window) {
      const { logprobs } = await model.score(ids.slice(start, start + window + 1));
      nats -= logprobs.reduce<number>((sum, value) => sum + (value ?? 0), 0);
    }
    all.push({ nats, bytes: Buffer.byteLength(story) });
  }
  return all;
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** A mean and its standard error. */
function withError(values: readonly number[], digits: number, by = 1): string {
  const middle = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / Math.max(1, values.length - 1);
  return `${(by * middle).toFixed(digits)} ± ${(by * Math.sqrt(variance / values.length)).toFixed(digits)}`;
}

/** Nats over bytes, its error by leaving stories out one at a time (jackknife). */
function ratioWithError(parts: readonly { nats: number; bytes: number }[]): string {
  const sum = (skip = -1): number => {
    const kept = parts.filter((_, i) => i !== skip);
    return kept.reduce((total, { nats }) => total + nats, 0) / kept.reduce((total, { bytes }) => total + bytes, 0);
  };
  const left = parts.map((_, i) => sum(i));
  const middle = mean(left);
  const n = parts.length;
  const error = Math.sqrt(((n - 1) / n) * left.reduce((total, value) => total + (value - middle) ** 2, 0));
  return `${sum().toFixed(4)} ± ${error.toFixed(4)}`;
}

async function main(instructionFile: string, storyFile: string, models: readonly string[]): Promise<void> {
  const instructions: Instruction[] = [];
  for await (const { value } of readRows(localCorpora, instructionFile)) instructions.push(value as unknown as Instruction);
  const stories: string[] = [];
  for await (const { text } of readDocuments(localCorpora, { path: storyFile, textKey: 'text' })) stories.push(text);
  const lines = [
    '| model | has all that was asked, % | share of what was asked, % | ends by itself, % | repeats a 6-gram, % | tokens | nats per byte of held-out stories |',
    '|---|---|---|---|---|---|---|',
  ];
  const kinds: string[] = [];
  for (const name of models) {
    const { mentioned, all, ended, repeated, tokens, nats, byKind } = await measure(name, instructions, stories);
    const cells = [withError(all, 1, 100), withError(mentioned, 1, 100), withError(ended, 1, 100), withError(repeated, 1, 100)];
    lines.push(`| ${name} | ${[...cells, mean(tokens).toFixed(0), ratioWithError(nats)].join(' | ')} |`);
    kinds.push(`${name}: ${[...byKind].map(([kind, values]) => `${kind} ${withError(values, 0, 100)}`).join(', ')}`);
    process.stderr.write(`${lines.at(-1)}\n`);
  }
  process.stdout.write(`${lines.join('\n')}\n\nHas all that was asked, %, by kind of instruction:\n\n${kinds.join('\n')}\n`);
}

const { positionals } = parseArgs({ allowPositionals: true });
if (positionals.length < 3) {
  process.stderr.write('usage: tsx tools/story-judge.ts INSTRUCTIONS.jsonl STORIES.jsonl MODEL...\n');
  process.exitCode = 2;
} else {
  await main(positionals[0], positionals[1], positionals.slice(2)).catch((error: unknown) => {
    process.stderr.write(`story-judge: ${messageOf(error)}\n`);
    process.exitCode = 1;
  });
}
