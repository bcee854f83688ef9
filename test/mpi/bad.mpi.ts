// What runs on several ranks refuse, each in one sentence that names the rank and the thing: no MPI, other settings, other programs, other
// data, another directory, a batch that cannot be shared out, too little memory.

import { existsSync } from 'node:fs';
import { appendFile, cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launch, launchers, script } from './launch.js';
import { alone, Runs, works } from './runs.js';

const [first] = launchers();
let runs: Runs;
beforeAll(async () => {
  runs = await Runs.make();
  // Two machines, as far as files go: what is called /proc/self/cwd is another folder on each rank.
  for (const rank of [0, 1]) {
    for (const name of ['run.yaml', 'texts.txt', 'tokenizer.model'])
      await cp(join(runs.root, name), join(runs.root, `${rank}`, name));
  }
});
afterAll(() => runs.remove());

const repository = fileURLToPath(new URL('../..', import.meta.url));
const tsx = script('x').slice(0, 2);
const own = '/proc/self/cwd';

/** What two ranks say that are started by this shell command, `$r` being the rank, and end with 1. */
async function say(command: string, env: Record<string, string> = {}): Promise<string[]> {
  const shell = ['sh', '-c', `r=\${OMPI_COMM_WORLD_RANK:-$PMI_RANK}; ${command}`, process.execPath, ...tsx];
  const { code, stderr } = await launch(first, 2, shell, env, true).ended;
  expect(code).not.toBe(0);
  expect(stderr).not.toMatch(/ {4}at /);
  return stderr.match(/^openelm: .*$/gm) ?? [];
}

const pretrain = (...args: string[]): string => `exec "$0" "$@" ${repository}/src/app/cli.ts pretrain ${args.join(' ')}`;
const inOwn = (...args: string[]): string => `cd ${runs.root}/$r && ${pretrain(`${own}/run.yaml`, ...args)}`;
const oneOf = (pattern: RegExp) => [expect.stringMatching(pattern)];

describe.skipIf(!first)('openelm pretrain on several ranks', () => {
  it.each([
    [['--batch_size', '3'], /^openelm: a batch of 3 rows cannot be shared out among 2 processes: choose 2 or 4 rows/],
    [
      ['--resume', '--parallel.shards', '2'],
      /^openelm: .*one.* was made with the data in 4 shards, not 2: set parallel\.shards back/,
    ],
  ])('says what is wrong once: %j', async (args, sentence) => {
    const resumes = args.includes('--resume');
    if (resumes) await works(runs.pretrain(alone, 1, 'one', '--steps', '5'));
    const out = join(runs.root, resumes ? 'one' : 'wrong');
    expect(await say(pretrain(runs.file, '--out', out, '--steps', '5', ...args))).toEqual(oneOf(sentence));
  });

  it('names what differs between ranks: settings, the directory', async () => {
    const out = join(runs.root, 'differs');
    expect(await say(pretrain(runs.file, '--out', out, '--seed $r'))).toEqual(
      oneOf(/^openelm: rank 1 of 2 \(.*\) has other settings: seed is 1, but 0 on rank 0$/),
    );
    expect(await say(pretrain(runs.file, '--out', `${out}$r`))).toEqual(oneOf(/rank 1 of 2 .* has other settings: out is /));
    expect(await say(inOwn('--out', `${own}/out`))).toEqual(
      oneOf(
        /^openelm: .*\/proc\/self\/cwd\/out is not the directory that rank 0 writes to: choose an `out` that all machines share$/,
      ),
    );
  });

  it('names what differs between ranks: data', async () => {
    await appendFile(join(runs.root, '1', 'texts.txt'), '\n---\none more');
    expect(await say(inOwn('--out', join(runs.root, 'data')))).toEqual(
      oneOf(
        /^openelm: rank 1 of 2 \(.*\) has other data than rank 0: \/proc\/self\/cwd\/texts\.txt differs; give all machines the same files$/,
      ),
    );
  });

  it('names what differs between ranks: the program', async () => {
    const copy = join(runs.root, 'program');
    await mkdir(copy);
    await cp(join(repository, 'src'), join(copy, 'src'), { recursive: true });
    await appendFile(join(copy, 'src/train/step.ts'), '// newer\n');
    for (const name of ['node_modules', 'native', 'package.json', 'models'])
      await symlink(join(repository, name), join(copy, name));
    const program = `[ $r = 0 ] && p=${repository} || p=${copy}; exec "$0" "$@" $p/src/app/cli.ts pretrain ${runs.file}`;
    expect(await say(`${program} --out ${runs.root}/version`)).toEqual(
      oneOf(
        /^openelm: rank 1 of 2 \(.*\) runs openelm \S+ \(\w+\), but rank 0 runs \S+ \(\w+\): install the same on all machines$/,
      ),
    );
  });

  it('says what was looked for where there is no MPI, or an unknown one, on all ranks or on one', async () => {
    const given = pretrain(runs.file, '--out', join(runs.root, 'none'));
    expect(await say(given, { OPENELM_MPI: '/nowhere/libmpi.so' })).toEqual(
      oneOf(
        /^openelm: no MPI library is installed: looked for \/nowhere\/libmpi\.so; install Open MPI or MPICH, or name the library/,
      ),
    );
    expect(await say(given, { OPENELM_MPI: 'libm.so.6' })).toEqual(
      oneOf(
        /^openelm: libm\.so\.6 is no MPI library, or one of an unknown kind: Open MPI's ompi_mpi_comm_world, MPICH's .* were looked for/,
      ),
    );
    expect(await say(`[ $r = 0 ] || export OPENELM_MPI=libm.so.6; ${given}`)).toEqual(
      oneOf(/^openelm: rank 1 of 2 \(.*\): libm\.so\.6 is no MPI library/),
    );
  });

  // Of addresses, of which Node takes two thirds by itself; WebAssembly in tsx takes more than can be limited, so this is the compiled program.
  it.skipIf(!existsSync(join(repository, 'dist')))('names the rank that has too little memory', async () => {
    const model = "'{num_transformer_layers: 4, model_dim: 1024, head_dim: 64, ffn_dim_divisor: 64}'";
    const given = `${repository}/dist/app/cli.js pretrain ${runs.file} --model ${model} --out ${join(runs.root, 'memory')}`;
    expect(await say(`[ $r = 0 ] || ulimit -v 2600000; exec "$0" ${given}`)).toEqual(
      oneOf(/^openelm: rank 1 of 2 \(.*\): not enough memory/),
    );
  });
});
