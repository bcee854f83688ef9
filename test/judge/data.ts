// Judges a directory of data goldens (packing, sharding, commonsense_170k, ftfy_nfc: whatever of them is there): rows, files per
// worker, texts and order must be equal to what CoreNet's dataset classes gave.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cleanText, hasCleanLength } from '../../src/data/clean.js';
import { commonsensePrompt } from '../../src/data/commonsense.js';
import { fixText } from '../../src/data/ftfy.js';
import { type ProcessOptions, processText, splitDocument } from '../../src/data/process.js';
import { type RowOptions, rowOf } from '../../src/data/rows.js';
import { shardedFiles } from '../../src/data/sharding.js';
import { bytesInMemory } from '../../src/io/bytes.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { PythonRandom } from '../../src/python-random.js';

interface Verdict {
  item: string;
  judged: number;
  failures: string[];
}

/** Judges what of the four goldens the directory has. */
export async function judgeData(dir: string): Promise<Verdict[]> {
  const judges: [string, (dir: string) => Promise<Verdict>][] = [
    ['packing.json', judgePacking],
    ['sharding.json', judgeSharding],
    ['commonsense_170k.json', judgeCommonsense],
    ['ftfy_nfc.json', judgeFtfy],
  ];
  const verdicts: Verdict[] = [];
  for (const [name, judge] of judges) {
    const there = await readFile(join(dir, name)).catch(() => undefined);
    if (there) verdicts.push(await judge(dir));
  }
  return verdicts;
}

async function json<T>(dir: string, name: string): Promise<T> {
  return JSON.parse(await readFile(join(dir, name), 'utf8')) as T;
}

class Comparisons {
  judged = 0;
  readonly failures: string[] = [];

  constructor(private readonly item: string) {}

  equal(what: string, found: unknown, expected: unknown): void {
    this.judged++;
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) this.failures.push(`${what}: ${a}, expected ${b}`);
  }

  verdict(): Verdict {
    return { item: this.item, judged: this.judged, failures: this.failures };
  }
}

interface PackingGolden {
  readonly sequence_length: number;
  readonly min_characters_per_text: number;
  readonly min_tokens_per_text: number;
  readonly pad_token_id: number;
  readonly texts: readonly {
    readonly text: string;
    readonly processed: string;
    readonly processed_length: number;
    readonly passes_min_characters: boolean;
    readonly n_tokens: number;
    readonly passes_min_tokens: boolean;
    readonly kept: boolean;
    readonly row: number | null;
  }[];
  readonly document_split: {
    readonly document_split_size: number;
    readonly documents: readonly string[];
    readonly sequences: readonly (readonly string[])[];
  };
}

// The golden's tokenizer: bytes, with the ids of beginning and end around them.
const byteTokens = (text: string): number[] => [1, ...[...new TextEncoder().encode(text)].map((byte) => byte + 3), 2];

async function judgePacking(dir: string): Promise<Verdict> {
  const golden = await json<PackingGolden>(dir, 'packing.json');
  const stored = await readSafetensors(bytesInMemory('packing.safetensors', await readFile(join(dir, 'packing.safetensors'))));
  const read = async (name: string): Promise<number[]> => {
    const tensor = stored.tensors.get(name)!;
    const bytes = new Uint8Array(await tensor.source.read(tensor.offset, tensor.bytes)); // aligned
    return [...new Int32Array(bytes.buffer)];
  };
  const check = new Comparisons('packing');
  const length = golden.sequence_length;
  const process: ProcessOptions = {
    minCharacters: golden.min_characters_per_text,
    minTokens: golden.min_tokens_per_text,
    splitWords: Number.POSITIVE_INFINITY,
    startToken: true,
    endToken: true,
    normalization: 'none',
  };
  const options: RowOptions = { length, padId: golden.pad_token_id, ignoreIndex: golden.pad_token_id };
  const kept = { samples: [] as number[], targets: [] as number[] };
  const all = { samples: [] as number[], targets: [] as number[] };
  let rows = 0;
  golden.texts.forEach((item, i) => {
    const { text } = item;
    check.equal(`text ${i} cleaned`, cleanText(text), item.processed);
    check.equal(`text ${i} has its length`, hasCleanLength(text, item.processed_length), true);
    check.equal(`text ${i} is no longer`, hasCleanLength(text, item.processed_length + 1), false);
    const everything = processText(text, byteTokens, { ...process, minCharacters: 0, minTokens: 0 }) as number[];
    check.equal(`text ${i} tokens`, everything.length, item.n_tokens);
    const bySize = processText(text, byteTokens, { ...process, minCharacters: 0 });
    check.equal(`text ${i} passes min_tokens`, typeof bySize !== 'number', item.passes_min_tokens);
    const result = processText(text, byteTokens, process);
    check.equal(`text ${i} kept`, typeof result !== 'number', item.kept);
    check.equal(`text ${i} row`, typeof result === 'number' ? null : rows++, item.row);
    for (const [ids, into] of [
      [result, kept],
      [everything, all],
    ] as const) {
      if (typeof ids === 'number') continue;
      const row = rowOf({ tokens: Int32Array.from(ids), document: String(i) }, options);
      into.samples.push(...row.samples);
      into.targets.push(...row.targets);
    }
  });
  check.equal('samples', kept.samples, await read('samples'));
  check.equal('targets', kept.targets, await read('targets'));
  check.equal('samples_nofilter', all.samples, await read('samples_nofilter'));
  check.equal('targets_nofilter', all.targets, await read('targets_nofilter'));
  const { document_split_size, documents, sequences } = golden.document_split;
  documents.forEach((text, i) => {
    check.equal(`document ${i} split`, [...splitDocument(text, document_split_size)], sequences[i]);
  });
  return check.verdict();
}

interface ShardingGolden {
  readonly cases: readonly {
    readonly seed: number;
    readonly n_files: number;
    readonly world_size: number;
    readonly num_workers: number;
    readonly shuffle_data: boolean;
    readonly is_training: boolean;
    readonly after_init: readonly string[];
    readonly per_worker: readonly {
      readonly scaled_rank: number;
      readonly rank: number;
      readonly worker: number;
      readonly epochs: readonly (readonly (readonly [string, string])[])[];
    }[];
  }[];
  readonly python_random: {
    readonly seed_0: {
      readonly random: readonly number[];
      readonly getrandbits32: readonly number[];
      readonly shuffle_range10: readonly number[];
      readonly choices_range10_k5: readonly number[];
    };
    readonly seed_1337: { readonly shuffle_range10: readonly number[] };
  };
}

const byNumber = new Intl.Collator('en', { numeric: true }).compare;

async function judgeSharding(dir: string): Promise<Verdict> {
  const golden = await json<ShardingGolden>(dir, 'sharding.json');
  const check = new Comparisons('sharding');
  golden.cases.forEach((item, i) => {
    // Files as the config lists them: those of the first corpus, then the second's, by number.
    const files = [...item.after_init].sort(byNumber).map((name) => [name, name.startsWith('a') ? 'text' : 'content'] as const);
    const shard = { seed: item.seed, shuffle: item.shuffle_data, training: item.is_training };
    const whole = shardedFiles(files, { ...shard, scaledRank: 0, scaledWorldSize: 1 }).next().value;
    check.equal(
      `case ${i} after init`,
      whole.map(([name]) => name),
      item.after_init,
    );
    for (const worker of item.per_worker) {
      const scaledRank = worker.rank * item.num_workers + worker.worker;
      check.equal(`case ${i} scaled rank`, scaledRank, worker.scaled_rank);
      const epochs = shardedFiles(files, { ...shard, scaledRank, scaledWorldSize: item.world_size * item.num_workers });
      worker.epochs.forEach((expected, epoch) => {
        check.equal(`case ${i} scaled rank ${scaledRank} epoch ${epoch}`, epochs.next().value, expected);
      });
    }
  });
  const { seed_0, seed_1337 } = golden.python_random;
  const range = (): number[] => Array.from({ length: 10 }, (_, i) => i);
  const shuffled = (seed: number): number[] => {
    const items = range();
    new PythonRandom(seed).shuffle(items);
    return items;
  };
  const random = new PythonRandom(0);
  check.equal(
    'random()',
    seed_0.random.map(() => random.random()),
    seed_0.random,
  );
  const bits = new PythonRandom(0);
  check.equal(
    'getrandbits(32)',
    seed_0.getrandbits32.map(() => bits.getRandBits(32)),
    seed_0.getrandbits32,
  );
  check.equal('shuffle of seed 0', shuffled(0), seed_0.shuffle_range10);
  check.equal('choices of seed 0', new PythonRandom(0).choices(10, 5), seed_0.choices_range10_k5);
  check.equal('shuffle of seed 1337', shuffled(1337), seed_1337.shuffle_range10);
  return check.verdict();
}

interface CommonsenseGolden {
  readonly samples: readonly { instruction: string; input: string; output: string; text: string }[];
  readonly order: readonly {
    num_samples: number;
    scaled_world_size: number;
    scaled_rank: number;
    seed: number;
    indices: number[];
  }[];
}

async function judgeCommonsense(dir: string): Promise<Verdict> {
  const golden = await json<CommonsenseGolden>(dir, 'commonsense_170k.json');
  const check = new Comparisons('commonsense_170k');
  golden.samples.forEach((sample, i) => {
    check.equal(`sample ${i}`, commonsensePrompt(sample) + sample.output, sample.text);
  });
  golden.order.forEach(({ num_samples, scaled_rank, scaled_world_size, seed, indices }, i) => {
    const own = Array.from({ length: num_samples }, (_, row) => row).filter((row) => row % scaled_world_size === scaled_rank);
    new PythonRandom(seed).shuffle(own);
    check.equal(`order ${i}`, own, indices);
  });
  return check.verdict();
}

async function judgeFtfy(dir: string): Promise<Verdict> {
  const { cases } = await json<{ cases: { input: string; output: string }[] }>(dir, 'ftfy_nfc.json');
  const check = new Comparisons('ftfy_nfc');
  cases.forEach(({ input, output }, i) => {
    check.equal(`case ${i}`, fixText(input), output);
  });
  return check.verdict();
}
