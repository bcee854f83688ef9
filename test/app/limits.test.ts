// A machine that does not give everything: a disk that cannot be written, few files that may be open. Each ends in one sentence. The
// disk is a read-only file system, mounted for one child process alone; skipped where that is not allowed.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const place = mkdtempSync(join(tmpdir(), 'openelm-limits-'));
afterAll(() => rmSync(place, { recursive: true }));

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const tsx = import.meta.resolve('tsx');

/** Runs a shell's words in a process that sees a read-only file system in `place`. */
const withReadOnlyDisk = (words: string) =>
  spawnSync('unshare', ['--mount', 'sh', '-ec', `mount -t tmpfs -o ro tmpfs '${place}'; ${words}`], { encoding: 'utf8' });

it.skipIf(withReadOnlyDisk('true').status !== 0)('says of every verb that writes that the disk is read-only', () => {
  const story = at('../../recipes/data/tales-validation.txt');
  const chats = JSON.stringify(at('../../recipes/data/chats.jsonl'));
  const settings = mkdtempSync(join(tmpdir(), 'openelm-settings-'));
  try {
    const tune = join(settings, 'tune.yaml');
    writeFileSync(
      tune,
      `method: sft\nmodel: tales-6m\nout: ${place}/run\nsteps: 1\nlearning_rate: {max: 1e-3, warmup_steps: 0}\ndata: {train: ${chats}}\n`,
    );
    const pretrain = join(settings, 'pretrain.yaml');
    writeFileSync(
      pretrain,
      [
        `model: {num_transformer_layers: 1, model_dim: 32, head_dim: 16, num_gqa_groups: 1, qkv_multipliers: 1, ffn_multipliers: 1}`,
        `data: {tokenizer: ${at('../../models/tales-6m/tokenizer.model')}, sequence_length: 16, train_data_info: [{file_name: ${story}}]}`,
        `out: ${place}/pretrained\nsteps: 1\nlearning_rate: {max: 1e-3, warmup_steps: 0}\n`,
      ].join('\n'),
    );
    const verbs = [
      ['init', 'OpenELM-270M', '--out', `${place}/model`],
      ['tokenizer', 'train', story, '--vocab-size', '320', '--out', `${place}/tokenizer.model`],
      ['pretrain', pretrain],
      ['tune', tune],
    ];
    const script = join(settings, 'verbs.mts');
    const runs = `for (const words of ${JSON.stringify(verbs)}) console.log(JSON.stringify(await run(words)));`;
    writeFileSync(script, `import { run } from '${at('./terminal.ts')}';\n${runs}\n`);
    const { stdout, stderr } = withReadOnlyDisk(`'${process.execPath}' --import '${tsx}' '${script}'`);
    expect(stderr).toBe('');
    const outcomes = stdout.trim().split('\n');
    expect(outcomes).toHaveLength(verbs.length);
    for (const [i, line] of outcomes.entries()) {
      const { code, stderr } = JSON.parse(line);
      expect({ verb: verbs[i][0], code }).toEqual({ verb: verbs[i][0], code: 1 });
      expect(stderr).toMatch(/^(Reading[^\n]*\n)?openelm: \S+: cannot (write|make) it: the file system is read-only\n$/);
    }
  } finally {
    rmSync(settings, { recursive: true });
  }
});

// As it is installed: what runs TypeScript needs more files than the program.
const cli = at('../../dist/app/cli.js');

it.skipIf(process.platform === 'win32' || !existsSync(cli))('says that too few files may be open', () => {
  for (const files of [24, 32, 40]) {
    const { status, stderr } = spawnSync('sh', ['-c', `ulimit -n ${files}; exec '${process.execPath}' '${cli}' run Once -n 1`], {
      encoding: 'utf8',
    });
    expect(stderr).toMatch(/^openelm: [^\n]*too many files are open: allow more \(ulimit -n 256\)[^\n]*\n$/);
    expect(status).toBe(1);
  }
});
