// The tiny recipes, every stage of them: raw text to a tokenizer, a trained model that has learned something, a picture and text. What single verbs do
// is tested beside them; the paper's recipes in app/recipes.test.ts.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { nativeBackend } from '../src/backends/native.js';
import { readLog } from '../src/io/node/run-log.js';

const native = nativeBackend({ threads: 1 });
if ('backend' in native) await native.backend.dispose();

// The reference backend would take half an hour. The command line compiles itself as it goes, and the machine may be busy.
it.skipIf('reason' in native)('recipes/tiny.sh goes from raw text to a model that writes', { timeout: 600_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'openelm-tiny-'));
  try {
    const recipe = join(import.meta.dirname, '../recipes/tiny.sh');
    const shorter = ['--steps', '150', '--checkpoints.every', '50', '--validation.every', '50'];
    const { stdout } = await promisify(execFile)('sh', [recipe, directory, ...shorter], { maxBuffer: 1 << 26 });
    expect(stdout).toMatch(/tokenizer\.model: 1024 pieces learned/);
    expect(stdout).toMatch(/There was once a king\S*(\s+\S+){10}/);
    const losses = (await readLog(join(directory, 'run'))).flatMap((line) =>
      line.type === 'validation' ? [Number(line.crossEntropy)] : [],
    );
    expect(losses[0]).toBeLessThan(Math.log(1024));
    expect(losses.at(-1)).toBeLessThan(losses[0] - 0.5);
    expect(await readFile(join(directory, 'curves.svg'), 'utf8')).toMatch(/<path [^>]*d="M/);
    expect(existsSync(join(directory, 'model/model.safetensors'))).toBe(true);
  } finally {
    await rm(directory, { recursive: true });
  }
});

it.skipIf('reason' in native)(
  'recipes/tune-tiny.sh teaches answers, preferences and its own best',
  { timeout: 600_000 },
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'openelm-tune-tiny-'));
    try {
      const recipe = join(import.meta.dirname, '../recipes/tune-tiny.sh');
      const { stdout } = await promisify(execFile)('sh', [recipe, directory], { maxBuffer: 1 << 26 });
      expect(stdout).toMatch(/^data {5}28 rows: 24 to learn from, .* 4 held out/m);
      expect(stdout).toMatch(/answers {2}6 prompts, 24 answers of mean reward .*: \d+ pairs in /);
      const last = async (run: string, key: string): Promise<number[]> =>
        (await readLog(join(directory, run))).flatMap((line) =>
          line.type === 'step' ? [Number((line as Record<string, unknown>)[key])] : [],
        );
      const losses = await last('sft', 'loss');
      expect(losses.at(-1)).toBeLessThan(losses[0] - 0.3);
      expect((await last('dpo', 'margin')).at(-1)).toBeGreaterThan(0);
      expect(existsSync(join(directory, 'dpo.svg'))).toBe(true);
    } finally {
      await rm(directory, { recursive: true });
    }
  },
);
