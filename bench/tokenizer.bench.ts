// Speed of the tokenizer: encoding and decoding English (MB/s of UTF-8, one thread), long words, and reading vocabularies.
// llama-tokenizer-js runs beside it on the same text. The first load of each kind is cold code; the median is warm.
// `--texts DIR`: English to encode, its .txt files; default the golden sentences over and over. `--vocabulary FILE`: a larger tokenizer.model.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { llamaTokenizer } from '../src/tokenizer/llama.js';
import { tokenizerFromModel } from '../src/tokenizer/sentencepiece.js';
import { type Row, report } from './report.js';
import { median } from './statistics.js';

const root = join(import.meta.dirname, '..');

async function englishText(folder: string | undefined): Promise<{ text: string; source: string }> {
  if (folder !== undefined) {
    const files = (await readdir(folder)).filter((name) => name.endsWith('.txt')).sort();
    const texts = await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')));
    return { text: texts.join('\n'), source: files.join(', ') };
  }
  const lines = (await readFile(join(root, 'test/golden/tokenizer/cases.jsonl'), 'utf8')).trim().split('\n');
  const prose = lines.map((line) => JSON.parse(line)).filter(({ cat }) => cat === 'prose' || cat === 'long_text');
  const once = prose.map(({ text }) => text).join('\n');
  return { text: once.repeat(Math.ceil(2e6 / once.length)), source: 'golden sentences, repeated' };
}

function milliseconds(run: () => unknown): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}

function times(count: number, run: () => unknown): number[] {
  return Array.from({ length: count }, () => milliseconds(run));
}

function randomWord(length: number): string {
  let state = 1;
  let word = '';
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    word += String.fromCharCode(97 + ((state >>> 16) % 26));
  }
  return word;
}

/** Prints the table and writes bench/results/tokenizer.json. */
export async function run(args: string[]): Promise<void> {
  const { texts, vocabulary } = parseArgs({
    args,
    options: { texts: { type: 'string' }, vocabulary: { type: 'string' } },
  }).values;
  const rows: Row[] = [];
  const small = await readFile(join(root, 'models/tales-6m/tokenizer.model'));
  const big = vocabulary === undefined ? undefined : await readFile(vocabulary);
  for (const [name, bytes] of [
    ['load tokenizer.model, --vocabulary', big],
    ['load tokenizer.model, 4,096 pieces', small],
  ] as const) {
    if (!bytes) continue;
    const loads = times(11, () => tokenizerFromModel(bytes));
    rows.push({ what: name, 'median ms': median(loads), 'first ms': loads[0] });
  }
  const start = performance.now();
  const llama = await llamaTokenizer();
  rows.push({ what: 'load llama-tokenizer-js', 'first ms': performance.now() - start });

  const { text, source } = await englishText(texts);
  const megabytes = new TextEncoder().encode(text).length / 1e6;
  const rounds: Row[] = [];
  const speed = (what: string, samples: number[], size = megabytes): void => {
    rounds.push({ what, 'median ms': median(samples), 'first ms': samples[0], 'MB/s': (size / median(samples)) * 1000 });
  };
  speed(
    'encode English',
    times(9, () => llama.encode(text)),
  );
  const ids = llama.encode(text);
  speed(
    'decode English',
    times(9, () => llama.decode(ids)),
  );
  const peer = (await import('llama-tokenizer-js')).default;
  const part = text.slice(0, 50_000);
  const partSize = new TextEncoder().encode(part).length / 1e6;
  speed(
    'encode 50 KB of it with llama-tokenizer-js',
    times(3, () => peer.encode(part)),
    partSize,
  );
  rows.push(...rounds);
  for (const [name, word] of [
    ['random letters', randomWord],
    ['one letter', (length: number) => 'a'.repeat(length)],
  ] as const) {
    const [half, whole] = [word(50_000), word(100_000)];
    times(5, () => llama.encode(whole));
    const samples = Array.from({ length: 15 }, () => [
      milliseconds(() => llama.encode(half)),
      milliseconds(() => llama.encode(whole)),
    ]);
    const [ofHalf, ofWhole] = [0, 1].map((i) => median(samples.map((pair) => pair[i])));
    rows.push({ what: `a word of 50 KB, ${name}`, 'median ms': ofHalf });
    rows.push({ what: `a word of 100 KB, ${name}`, 'median ms': ofWhole, 'times 50 KB': ofWhole / ofHalf });
  }
  report('tokenizer', rows, { text: source, megabytes });
}
