import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { dataCommand } from '../../src/app/data.js';
import type { Terminal } from '../../src/app/terminal.js';
import { tokenizerCommand } from '../../src/app/tokenizer.js';
import { inlineProcessor, type ProcessOptions } from '../../src/data/process.js';
import { workerProcessor } from '../../src/io/node/text-workers.js';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import { temporaryFolder } from '../temporary.js';

const corpora = fileURLToPath(new URL('../golden/data/corpora', import.meta.url));

const folder = temporaryFolder();
beforeAll(async () => {
  await run('tokenizer', 'train', `${corpora}/documents.jsonl`, '--vocab-size', '330', '--out', join(folder, 'tokenizer.model'));
});

async function run(verb: 'data' | 'tokenizer', ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
  const terminal: Terminal = { ...streams, onInterrupt: () => () => {} };
  const command = verb === 'data' ? dataCommand(terminal) : tokenizerCommand(terminal);
  await command.parseAsync(args, { from: 'user' });
  return { stdout: String(streams.stdout.read() ?? ''), stderr: String(streams.stderr.read() ?? '') };
}

async function config(text: string): Promise<string> {
  const path = join(folder, 'config.yaml');
  await writeFile(path, text);
  return path;
}

const parquet = `train_data_info: [{file_name: "${corpora}/part-{file_id:02d}.parquet", text_key: content, file_id_range: [0, 4]}]`;
const filters = 'min_characters_per_text: 40\nmin_tokens_per_text: 20\nsequence_length: 64';

describe('openelm tokenizer train', () => {
  it('learns from a data config what it learns from its files', async () => {
    const path = await config(`${parquet}\n`);
    const out = join(folder, 'again.model');
    expect((await run('tokenizer', 'train', path, '--vocab-size', '330', '--out', out)).stdout).toMatch(
      /330 pieces learned from \d.* kB/,
    );
    expect((await readFile(out)).equals(await readFile(join(folder, 'tokenizer.model')))).toBe(true);
  });
});

describe('openelm data stats', () => {
  it('prints the figures and draws the lengths', async () => {
    const path = await config(`${parquet}\ntokenizer: tokenizer.model\n${filters}\n`);
    const svg = join(folder, 'lengths.svg');
    const { stdout } = await run('data', 'stats', path, '--picture', svg, '--threads', '2');
    expect(stdout).toMatch(/files +4\ndocuments +50, [\d,]+ characters\n/);
    expect(stdout).toMatch(/too few characters +\d+ \([\d.]+%\)/);
    expect(stdout).toMatch(/[▁▂▃▄▅▆▇█]/);
    expect(await readFile(svg, 'utf8')).toContain('<rect ');
    const png = join(folder, 'lengths.png');
    await run('data', 'stats', path, '--picture', png, '--threads', '1');
    expect((await readFile(png)).subarray(1, 4).toString()).toBe('PNG');
    await expect(run('data', 'stats', path, '--picture', 'lengths.pdf')).rejects.toThrow(/name it \.svg or \.png/);
  });

  it('writes JSON, the same whatever the number of threads', async () => {
    const path = await config(`${parquet}\ntokenizer: tokenizer.model\n${filters}\n`);
    const outputs = await Promise.all(['1', '2'].map((threads) => run('data', 'stats', path, '--json', '--threads', threads)));
    const stats = outputs.map(
      ({ stdout }) => JSON.parse(stdout) as { documents: number; kept: number; tooFewCharacters: number },
    );
    expect(stats[0]).toMatchObject({ documents: 50, files: 4 });
    expect(stats[0].kept).toBeGreaterThan(10);
    expect(stats[0].tooFewCharacters).toBeGreaterThan(1);
    expect(stats[1]).toEqual(stats[0]);
  });

  it('says in one sentence what is missing', async () => {
    await expect(run('data', 'stats', await config(parquet))).rejects.toThrow('tokenizer is missing');
    const unknown = await config(`${parquet}\npaking: true`);
    await expect(run('data', 'stats', unknown)).rejects.toThrow('config.yaml: unknown key paking; did you mean packing?');
    const wrongFile = await config(`train_data_info: [{file_name: no.jsonl}]\ntokenizer: tokenizer.model`);
    await expect(run('data', 'stats', wrongFile)).rejects.toThrow(`${folder}/no.jsonl: cannot read it: no such file`);
    const skipping = await run(
      'data',
      'stats',
      await config(`${parquet.replace('4]', '5]')}\ntokenizer: tokenizer.model`),
      '--skip-bad-files',
    );
    expect(skipping.stdout).toMatch(/files +5, 1 of them not readable/);
    expect(skipping.stderr).toMatch(/skipped: .*part-04\.parquet: cannot read it/);
  });
});

describe('workerProcessor', () => {
  it('answers in order what one thread would', async () => {
    const file = { name: 'tokenizer.model', bytes: new Uint8Array(await readFile(join(folder, 'tokenizer.model'))) };
    const options: ProcessOptions = {
      minCharacters: 5,
      minTokens: 5,
      splitWords: 7,
      startToken: true,
      endToken: true,
      normalization: 'nfc',
    };
    const workers = workerProcessor({ tokenizer: file, options }, 3);
    const inline = inlineProcessor(tokenizerFromModel(file.bytes), options);
    const blocks = Array.from({ length: 20 }, (_, i) =>
      Array.from({ length: i }, (_, j) => 'the big cat sat on a mat. '.repeat((i * 5 + j) % 9)),
    );
    const answers = await Promise.all(blocks.map((block) => workers.process(block)));
    expect(answers).toEqual(await Promise.all(blocks.map((block) => inline.process(block))));
    await workers.close();
  });

  it('passes on what is wrong', async () => {
    const options: ProcessOptions = {
      minCharacters: 0,
      minTokens: 0,
      splitWords: 7,
      startToken: true,
      endToken: true,
      normalization: 'nfc',
    };
    const broken = workerProcessor({ tokenizer: { name: 'x.model', bytes: Uint8Array.of(1, 2, 3) }, options }, 1);
    await expect(broken.process(['a'])).rejects.toThrow('x.model');
    await broken.close();
  });
});
