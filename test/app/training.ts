// A corpus, a tokenizer and settings small enough for the reference backend to train on in a test.

import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { readLog } from '../../src/io/node/run-log.js';
import { TokenizerTrainer } from '../../src/tokenizer/train.js';
import { tinyFields } from '../train/tiny.js';

/** Documents that differ, of a few hundred characters each. */
function documents(count: number): string[] {
  const words = [
    'cat',
    'dog',
    'the',
    'a',
    'sat',
    'ran',
    'on',
    'under',
    'mat',
    'tree',
    'and',
    'then',
    'it',
    'slept',
    'red',
    'old',
  ];
  let word = 1;
  const next = (): string => {
    word = (word * 75 + 74) % 65537;
    return words[word % words.length];
  };
  return Array.from({ length: count }, () => Array.from({ length: 70 }, next).join(' '));
}

export interface Place {
  readonly directory: string;
  /** The settings' file. */
  readonly file: string;
  readonly out: string;
}

/** Makes a folder with all of it; `changes` replace keys of the settings. */
export async function trainingPlace(directory: string, changes: Record<string, unknown> = {}): Promise<Place> {
  await mkdir(directory, { recursive: true });
  const texts = documents(40);
  await writeFile(join(directory, 'texts.txt'), texts.join('\n---\n'));
  const trainer = new TokenizerTrainer();
  for (const text of texts) trainer.add(text);
  await writeFile(join(directory, 'tokenizer.model'), trainer.train({ vocabSize: 300 }));
  const out = join(directory, 'run');
  const file = join(directory, 'run.yaml');
  const corpus = { file_name: 'texts.txt', separator: '\n---\n' };
  const settings = {
    model: tinyFields,
    data: {
      train_data_info: [corpus],
      val_data_info: [corpus],
      tokenizer: 'tokenizer.model',
      sequence_length: 16,
      min_tokens_per_text: 16,
      packing: true,
      shuffle_buffer: 3,
    },
    out,
    steps: 8,
    batch_size: 1,
    accumulation: 2,
    learning_rate: { max: 1e-2, warmup_steps: 2 },
    checkpoints: { every: 2, keep: 3 },
    backend: 'reference',
    ...changes,
  };
  await writeFile(file, stringify(settings));
  return { directory, file, out };
}

/** The command line as a process of its own, which can be killed. */
export function start(...args: string[]) {
  const cli = fileURLToPath(new URL('../../src/app/cli.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), cli, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  child.stdout.resume();
  const ended = new Promise<{ code: number | null; signal: string | null; stderr: string }>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, stderr })),
  );
  return { child, ended };
}

/** Waits until a run has logged a step. */
export async function reached(out: string, step: number): Promise<void> {
  for (let wait = 0; wait < 1500; wait++) {
    if ((await readLog(out)).some((line) => line.type === 'step' && line.step >= step)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${out}: step ${step} was not reached`);
}
