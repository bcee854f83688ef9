// A machine that does not give everything: a disk that cannot be written, few files that may be open. Each ends in one sentence. The
// disk is a read-only file system, mounted for one child process alone; skipped where that is not allowed.

import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { writeSmall } from '../formats/build.js';
import { temporaryFolder } from '../temporary.js';

const place = temporaryFolder();

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const tsx = import.meta.resolve('tsx');

/** Runs a shell's words in a process that sees a small file system in `place`: read-only, or full. */
const withDisk = (kind: 'read-only' | 'full', words: string) => {
  const mount =
    kind === 'full'
      ? `-o size=16k tmpfs '${place}'; cat /dev/zero >'${place}/filler' 2>/dev/null || true`
      : `-o ro tmpfs '${place}'`;
  return spawnSync('unshare', ['--mount', 'sh', '-ec', `mount -t tmpfs ${mount}; ${words}`], { encoding: 'utf8' });
};

const story = at('../../recipes/data/tales-validation.txt');
const results = at('../golden/eval/results_example/results.json');
const settings = temporaryFolder();

/** Every verb that writes, cheaply. */
async function verbs(): Promise<string[][]> {
  const chats = JSON.stringify(at('../../recipes/data/chats.jsonl'));
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
  const small = join(settings, 'small');
  await writeSmall(small);
  return [
    ['init', 'OpenELM-270M', '--out', `${place}/model`],
    ['tokenizer', 'train', story, '--vocab-size', '320', '--out', `${place}/tokenizer.model`],
    ['convert', small, `${place}/a.gguf`],
    ['convert', small, `${place}/a.pt`],
    ['convert', small, `${place}/mlx`, '--to', 'mlx', '--dtype', 'q4', '--group', '32'],
    ['quantize', small, '--bits', '8', '--group', '32', '--out', `${place}/quantized`],
    ['eval', 'compare', results, '--out', `${place}/bars.svg`],
    ['web', '--export', `${place}/page`],
    ['run', 'Once upon a time '.repeat(20), '-n', '1', '--prompt-cache', `${place}/prompt.cache`],
    ['pretrain', pretrain],
    ['tune', tune],
  ];
}

it.skipIf(withDisk('full', 'true').status !== 0).each([
  ['read-only', 'the file system is read-only'],
  ['full', 'the disk is full: free some space and try again'],
] as const)('says of every verb that writes that the disk is %s, and leaves nothing half written', async (kind, why) => {
  const all = await verbs();
  const script = join(settings, 'verbs.mts');
  const runs = `for (const words of ${JSON.stringify(all)}) console.log(JSON.stringify(await run(words)));`;
  writeFileSync(script, `import { run } from '${at('./terminal.ts')}';\n${runs}\n`);
  const { stdout, stderr } = withDisk(
    kind,
    `'${process.execPath}' --import '${tsx}' '${script}'; find '${place}' -type f ! -name filler`,
  );
  expect(stderr).toBe('');
  const outcomes = stdout.trim().split('\n');
  expect(outcomes.slice(all.length)).toEqual([]); // files beside
  for (const [i, line] of outcomes.entries()) {
    const { code, stderr } = JSON.parse(line);
    expect({ verb: all[i].slice(0, 2), code, stderr }).toMatchObject({ verb: all[i].slice(0, 2), code: 1 });
    const sentences = stderr.split('\n').filter((said: string) => said.startsWith('openelm: '));
    expect(sentences).toEqual([
      expect.stringMatching(new RegExp(`^openelm: ${place}/?\\S*: cannot (write|make) it: ${why.replace(/[()]/g, '.')}$`)),
    ]);
    expect(sentences[0]).not.toContain('.tmp');
  }
});

it.skipIf(withDisk('full', 'true').status !== 0)(
  'keeps what was downloaded when the disk is full, and goes on from there',
  () => {
    const script = join(settings, 'pull.mts');
    const hubFiles = ['config.json', 'tokenizer.model', 'model.safetensors'].map((name) => at(`../../models/tales-6m/${name}`));
    writeFileSync(
      script,
      `import { execFileSync } from 'node:child_process';
    import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
    import { basename, join } from 'node:path';
    import { FakeHub } from '${at('../io/node/hub-server.ts')}';
    import { run } from '${at('./terminal.ts')}';
    const files = ${JSON.stringify(hubFiles)}.map((path) => [basename(path), readFileSync(path)]);
    const hub = await new FakeHub('acme/tales', new Map(files)).start();
    process.env.HF_ENDPOINT = hub.endpoint;
    const mount = (options) => execFileSync('mount', ['-o', 'remount,' + options, '${place}']);
    const pull = async () => {
      const { code, stderr } = await run(['pull', 'acme/tales']);
      const left = readdirSync('${place}', { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name !== 'filler')
        .map((entry) => [entry.name.split('.').slice(1).join('.'), statSync(join(entry.parentPath, entry.name)).size]);
      const ranges = hub.seen.splice(0).map(({ range }) => range).filter(Boolean);
      console.log(JSON.stringify({ code, said: stderr.split('\\n').filter((line) => line.startsWith('openelm: ')), left, ranges }));
    };
    await pull();
    mount('size=16m');
    hub.fault = ({ host }) => void (host === 'cdn' && writeFileSync('${place}/filler', Buffer.alloc(10 << 20)));
    await pull();
    hub.fault = () => undefined;
    rmSync('${place}/filler');
    mount('ro');
    await pull();
    mount('rw');
    await pull();
    await hub.stop();`,
    );
    const { stdout, stderr } = withDisk('full', `HF_HOME='${place}/hf' '${process.execPath}' --import '${tsx}' '${script}'`);
    expect(stderr).toBe('');
    const [full, begun, readOnly, done] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const sentence = (why: string) => [expect.stringMatching(new RegExp(`^openelm: ${place}/hf/\\S*: cannot write it: ${why}$`))];
    const needs = /^openelm: acme\/tales needs \d+ more bytes in \S+, but only 0 are free: free some space or set HF_HOME$/;
    expect(full).toMatchObject({ code: 1, said: [expect.stringMatching(needs)] });
    // Another process filled it meanwhile.
    expect(begun).toMatchObject({ code: 1, said: sentence('the disk is full: free some space and try again') });
    const [[, bytes]] = begun.left.filter(([kind, size]: [string, number]) => kind === 'openelm.incomplete' && size > 0);
    expect(bytes).toBeGreaterThan(1 << 20);
    expect(readOnly).toMatchObject({ code: 1, said: sentence('the file system is read-only'), left: begun.left });
    expect(done).toMatchObject({ code: 0, said: [], ranges: expect.arrayContaining([`bytes=${bytes}-`]) });
  },
);

// As it is installed: what runs TypeScript needs more files than the program.
const cli = at('../../dist/app/cli.js');

it.skipIf(process.platform === 'win32' || !existsSync(cli))('says of every verb that too few files may be open', async () => {
  const writing = (await verbs()).filter(([verb], i, all) => i === all.findIndex(([other]) => other === verb));
  const words = [...writing, ['score', 'Once'], ['serve', '--port', '0'], ['pull', 'acme/tales']];
  const begun = ([verb, ...rest]: string[], files: number) =>
    spawnSync('sh', ['-c', `ulimit -n ${files}; exec "$0" "$@"`, process.execPath, cli, verb, ...rest], {
      ...{ encoding: 'utf8', timeout: 20_000, env: { ...process.env, HF_ENDPOINT: 'http://127.0.0.1:9', HF_HOME: settings } },
    });
  for (const [i, one] of words.entries()) {
    // Before the verb's own files are read, and while they are.
    const { status, stderr } = begun(one, i % 2 === 0 ? 26 : 42);
    expect({ verb: one[0], stderr }).toEqual({
      ...{
        verb: one[0],
        stderr: expect.stringMatching(/^openelm: [^\n]*too many files are open: allow more \(ulimit -n 256\)[^\n]*\n$/),
      },
    });
    expect(status).toBe(1);
  }
  expect(begun(['tune', join(settings, 'tune.yaml')], 56).stderr).toMatch(/^openelm: too many files are open/);
});
