// `openelm pretrain` on the reference backend: what a run leaves, that it goes on to the bit after being killed, and what it
// says of settings, corpora and checkpoints that do not fit.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { checkpointName, listCheckpoints } from '../../src/io/node/checkpoints.js';
import { withLock } from '../../src/io/node/lock.js';
import { readLog } from '../../src/io/node/run-log.js';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';
import { type Place, reached, start, trainingPlace } from './training.js';

const root = temporaryFolder();

const place = (name: string, changes?: Record<string, unknown>): Promise<Place> => trainingPlace(join(root, name), changes);

async function expectSameModel(a: string, b: string, step: number): Promise<void> {
  for (const name of ['model.safetensors', 'training.safetensors']) {
    const [one, other] = await Promise.all([a, b].map((out) => readFile(join(out, checkpointName(step), name))));
    expect(Buffer.compare(one, other), name).toBe(0);
  }
  const [one, other] = await Promise.all(
    [a, b].map(async (out) => JSON.parse(await readFile(join(out, checkpointName(step), 'training.json'), 'utf8'))),
  );
  // The two runs lie in folders of their own.
  const inFolder = (data: unknown, out: string): string => JSON.stringify(data).replaceAll(dirname(out), '');
  expect(inFolder(other.data, b)).toBe(inFolder(one.data, a));
  expect(other.tokens).toBe(one.tokens);
}

describe('openelm pretrain', () => {
  it('trains, validates, samples and leaves a model that runs', async () => {
    const changes = { validation: { every: 4, batches: 2 }, samples: { every: 8, prompts: ['the cat'], max_tokens: 4 } };
    const { file, out } = await place('whole', changes);
    const { code, stdout, stderr } = await run(['pretrain', file, '--steps', '6', '--optimizer.weight_decay=0']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^step 6\/6 {2}loss \d\.\d{4} {2}ce \S+ {2}z \S+ {2}lr \S+ {2}norm \S+ {2}\d+ tok\/s {2}eta 0:00$/m);
    const settings = parse(await readFile(join(out, 'config.yaml'), 'utf8'));
    expect(settings).toMatchObject({
      steps: 6,
      z_loss: 1e-4,
      optimizer: { weight_decay: 0, beta2: 0.95 },
      learning_rate: { min: 1e-3 },
    });
    expect(stdout).toMatch(/^model {4}\d[\d,]* parameters, \d layers of \d+, vocabulary \d+\n/);
    expect(stdout).toMatch(/^data {5}1 file; in 40 documents: .* tokens, packed\n/m);
    expect(stdout).toMatch(/^steps {4}6 of 32 tokens \(2 x 1 x 16\): 192 tokens to learn from\n/m);
    expect(stdout).toMatch(/^ {2}sample after "the cat":\n {4}/m);
    const log = await readLog(out);
    expect(log.map(({ type, step }) => `${type} ${step}`)).toEqual([
      ...['step 1', 'step 2', 'checkpoint 2', 'step 3', 'step 4', 'validation 4', 'checkpoint 4', 'step 5', 'step 6'],
      ...['validation 6', 'sample 6', 'checkpoint 6'],
    ]);
    expect(log.find(({ type }) => type === 'step')).toMatchObject({ learningRate: 1e-6, tokens: 32 });
    expect((await listCheckpoints(out)).map(({ step }) => step)).toEqual([2, 4, 6]);
    const continued = await run(['run', '-m', join(out, checkpointName(6)), 'the cat', '-n', '3', '--backend', 'reference']);
    expect(continued.code).toBe(0);
    expect(continued.stdout.length).toBeGreaterThan(1);
  });

  it('says what is lost without packing', async () => {
    const { file } = await place('cut');
    const { stdout, stderr } = await run(['pretrain', file, '--steps', '2', '--data.packing', 'false']);
    expect(stderr).toMatch(/^openelm: 8\d% of the tokens will be cut off: .* packing: true keeps them all\n$/);
    expect(stdout).toMatch(/^data .*8\d% of the tokens cut off$/m);
  });

  it('may be lengthened, and begin with the weights of a model', async () => {
    const short = await place('short', { steps: 4 });
    expect((await run(['pretrain', short.file])).code).toBe(0);
    expect((await run(['pretrain', short.file, '--steps', '3', '--resume'])).stderr).toMatch(/after step 4, but .* only 3 steps/);
    const longer = await run(['pretrain', short.file, '--steps', '6', '--resume']);
    expect(longer).toMatchObject({ code: 0, stderr: /the run has 6 steps now, not 4/ });
    expect((await listCheckpoints(short.out)).at(-1)?.step).toBe(6);

    const trained = join(short.out, checkpointName(6));
    const next = await place('next', { steps: 2 });
    const begun = await run(['pretrain', next.file, '--init-from', trained]);
    expect(begun).toMatchObject({ code: 0, stderr: '' });
    const loss = Number(/^step 1\/2 {2}loss (\S+)/m.exec(begun.stdout)?.[1]);
    const last = Number(/^step 6\/6 {2}loss (\S+)/m.exec(longer.stdout)?.[1]);
    expect(Math.abs(loss - last)).toBeLessThan(0.7); // an untrained one has 6.1
    expect(await run(['pretrain', next.file, '--init-from', 'tales-6m', '--out', join(root, 'other')])).toMatchObject({
      code: 1,
    });
  });

  it('lists its settings', async () => {
    const { code, stdout } = await run(['pretrain', '--explain']);
    expect(code).toBe(0);
    for (const line of [
      'steps  (whole number from 1, default 350000)',
      'learning_rate.max  (number above 0, required)',
      'data.packing  (',
    ])
      expect(stdout).toContain(line);
    expect(await run(['pretrain'])).toMatchObject({ code: 2, stderr: /give a settings file, or all settings as --key value/ });
  });

  it('goes on to the bit after kill -9 at any step', async () => {
    const straight = await place('straight');
    expect((await run(['pretrain', straight.file])).code).toBe(0);
    const killed = await place('killed');
    const first = start('pretrain', killed.file);
    await reached(killed.out, 3 + Math.floor(Math.random() * 4));
    first.child.kill('SIGKILL');
    expect((await first.ended).signal).toBe('SIGKILL');
    const { code, stdout } = await run(['pretrain', killed.file, '--resume']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/goes on after step [246]/);
    await expectSameModel(straight.out, killed.out, 8);
    const steps = (await readLog(killed.out)).flatMap((line) => (line.type === 'step' ? [line.step] : []));
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('ends with a checkpoint and 0 at SIGTERM', async () => {
    const { file, out } = await place('terminated', { steps: 100_000, checkpoints: { every: 50_000 } });
    const { child, ended } = start('pretrain', file);
    await reached(out, 2);
    child.kill('SIGTERM');
    const { code, stderr } = await ended;
    expect(stderr).toMatch(/ending after this step, with a checkpoint\n.*interrupted after step \d+; --resume goes on/);
    expect(code).toBe(0);
    expect(await listCheckpoints(out)).toHaveLength(1);
  });

  it('ends with a checkpoint and 0 at Ctrl-C, and goes on from it to the bit', async () => {
    const straight = await place('straight-2');
    await run(['pretrain', straight.file]);
    const { file, out } = await place('interrupted', { checkpoints: { every: 100 } });
    const onOutput = (text: string, interrupt: () => void): void => {
      if (text.includes('step 4/')) interrupt();
    };
    const { code, stderr } = await run(['pretrain', file], { isTTY: true, onOutput });
    expect(code).toBe(0);
    expect(stderr).toMatch(/interrupted after step 5/);
    expect((await listCheckpoints(out)).at(-1)?.step).toBe(5);
    expect((await run(['pretrain', file, '--resume'])).code).toBe(0);
    await expectSameModel(straight.out, out, 8);
  });

  it('keeps a moving average that can be taken as the model', async () => {
    const { file, out, directory } = await place('ema', { ema_momentum: 0.1 });
    await run(['pretrain', file, '--steps', '4']);
    const ema = join(directory, 'ema');
    const mean = join(directory, 'mean');
    expect(await run(['average', out, '--ema', '--out', ema])).toMatchObject({ code: 0, stderr: '' });
    expect(await run(['average', out, '--last', '2', '--out', mean, '--dtype', 'f16'])).toMatchObject({ code: 0, stderr: '' });
    const [a, b] = await Promise.all([ema, mean].map((model) => readFile(join(model, 'model.safetensors'))));
    expect(b.length / a.length).toBeCloseTo(0.5, 0); // headers apart
    expect(JSON.parse(await readFile(join(mean, 'config.json'), 'utf8')).torch_dtype).toBe('float16');
    for (const model of [ema, mean]) {
      expect((await run(['run', '-m', model, 'the dog', '-n', '2', '--backend', 'reference'])).code).toBe(0);
    }
    expect((await run(['average', out, '--out', mean])).stderr).toMatch(/mean: something is there already/);
  });

  it('refuses an average of models that differ, and one that was not kept', async () => {
    const a = await place('plain-a');
    await run(['pretrain', a.file, '--steps', '2']);
    const b = await place('plain-b', { model: { num_transformer_layers: 1, model_dim: 16, head_dim: 8 } });
    await run(['pretrain', b.file, '--steps', '2']);
    const out = join(root, 'none');
    expect((await run(['average', a.out, b.out, '--out', out])).stderr).toMatch(/1 layer\b.*num_transformer_layers: 2|missing/);
    expect((await run(['average', a.out, '--ema', '--out', out])).stderr).toMatch(/no moving average in it/);
    expect(existsSync(out)).toBe(false);
  });
});

describe('bad input to openelm pretrain', () => {
  it.each([
    [['--learning-rat.max', '1'], /the command line: unknown key learning_rat; did you mean learning_rate\?$/],
    [
      ['--optimizer.weightdecay', '1'],
      /the command line: unknown key optimizer\.weightdecay; did you mean optimizer\.weight_decay\?$/,
    ],
    [['--data.sequence_lenght', '1'], /unknown key data\.sequence_lenght; did you mean data\.sequence_length\?$/],
    [['--model.model_dimm', '1'], /unknown field "model_dimm"; did you mean model_dim\?$/],
    [['--steps', 'many'], /the command line: steps: expected whole number from 1, found "many"$/],
    [['--steps', '1'], /warmup_steps is 2, but the run has only 1 step; give fewer$/],
    [
      ['--learning_rate', '1e-3'],
      /the command line: learning_rate\.warmup_steps is 5000, but the run has only \d+ steps; give fewer$/,
    ],
    [
      ['--data', 'mine.txt'],
      /the command line: data: expected keys and values \(train_data_info \(required\), .*\), found "mine\.txt"$/,
    ],
    [['--steps'], /--steps: a value is missing$/],
    [['--steps', ''], /--steps: a value is missing$/],
    [['--model', 'null'], /the command line: model is missing/],
    [['steps', '3'], /steps: expected --key value/],
    [['--model.vocab_size', '280'], /tokenizer\.model: the tokenizer has 300 pieces, but .*vocab_size is 280; raise it/],
    [['--data.tokenizer', 'none.model'], /none\.model: no such tokenizer/],
    [['--data.sequence_length', '64', '--model.rope_max_length', '32'], /sequence_length is 64, but the model reaches only 32/],
    [['--data.train_data_info', '[{file_name: nowhere.txt}]'], /nowhere\.txt: .*no such file or directory$/],
    [
      ['--validation.every', '2', '--data.val_data_info', '[{file_name: nowhere.txt}]'],
      /nowhere\.txt: .*no such file or directory$/,
    ],
    [
      ['--samples', '{every: 1, prompts: [the cat sat on the mat and then it slept under the old red tree]}'],
      /samples\.prompts: "the cat.*" has \d+ tokens, the model's context 16; shorten it$/,
    ],
    [['--model', 'OpenELM-280M'], /did you mean OpenELM-270M\?$/],
    [['--__proto__.polluted', '1'], /the command line: unknown key __proto__/],
    [['--optimizer.constructor.prototype.polluted', '1'], /the command line: unknown key optimizer\.constructor/],
  ])('%j', async (args, message) => {
    const { file, out } = await place('bad');
    const { code, stderr, stdout } = await run(['pretrain', file, ...args]);
    expect(stdout).not.toMatch(/^step +\d/m); // it says so before it trains
    const [last] = stderr.trim().split('\n').slice(-1);
    expect(last).toMatch(message);
    expect(code).toBe(1);
    expect(await listCheckpoints(out)).toEqual([]);
    expect('polluted' in {}).toBe(false);
  });

  it('names what is missing in the file itself', async () => {
    const file = join(root, 'empty.yaml');
    await writeFile(file, 'steps: 3\n');
    expect((await run(['pretrain', file])).stderr).toMatch(/empty\.yaml: model is missing: A built-in shape, or/);
    await writeFile(file, 'steps: [3\n');
    expect((await run(['pretrain', file])).stderr).toMatch(/empty\.yaml: .*\(line \d+, column \d+\)/);
  });

  it('refuses checkpoints of other settings, naming the key, and a run that is there already', async () => {
    const { file, out, directory } = await place('again');
    await run(['pretrain', file, '--steps', '4']);
    const before = await stat(join(out, checkpointName(4)));
    const again = (...args: string[]) => run(['pretrain', file, '--steps', '4', ...args]);
    expect((await again()).stderr).toMatch(/step-00000004 is there already: --resume goes on/);
    expect((await again('--resume', '--optimizer.eps', '1e-6')).stderr).toMatch(
      /made with other settings: optimizer\.eps is 0\.000001, but 1e-8 in the checkpoint; set it back/,
    );
    expect((await again('--resume', '--model.num_transformer_layers', '3')).stderr).toMatch(
      /model\.num_transformer_layers is 3, but 2/,
    );
    expect((await again('--resume', '--data.train_data_info', '[{file_name: tokenizer.model}]')).stderr).toMatch(/other corpora/);
    await writeFile(
      join(directory, 'tokenizer.model'),
      Buffer.concat([await readFile(join(directory, 'tokenizer.model')), Buffer.from([0x98, 6, 1])]),
    );
    expect((await again('--resume')).stderr).toMatch(/made with another tokenizer/);
    expect((await stat(join(out, checkpointName(4)))).mtimeMs).toBe(before.mtimeMs);
  });

  it('leaves a directory alone in which another run trains, and takes over what a dead one left', async () => {
    const { file, out } = await place('twice');
    await withLock(join(out, '.lock'), {}, async () => {
      const { code, stderr } = await run(['pretrain', file]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/run: another run is training there; choose another --out \(if there is none, remove .*\.lock\)\n$/);
    });
    const dead = spawn(process.execPath, ['-e', '']);
    await once(dead, 'exit');
    await writeFile(join(out, '.lock'), `${dead.pid}\n${hostname()}\n`);
    expect((await run(['pretrain', file, '--steps', '2'])).code).toBe(0);
    expect(existsSync(join(out, '.lock'))).toBe(false);
  });

  it('does not go on past a checkpoint that is damaged, and keeps the log', async () => {
    const { file, out } = await place('damaged');
    expect((await run(['pretrain', file, '--steps', '2'])).code).toBe(0);
    const log = await readFile(join(out, 'log.jsonl'), 'utf8');
    await writeFile(join(out, checkpointName(2), 'training.json'), '{"step":');
    for (const flags of [['--resume'], []]) {
      const { code, stderr } = await run(['pretrain', file, '--steps', '3', ...flags]);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/step-00000002: this checkpoint is damaged \(.*training\.json/),
      });
    }
    expect(await readFile(join(out, 'log.jsonl'), 'utf8')).toBe(log);
  });

  it('starts at the beginning when there is nothing to resume, and does nothing when all is done', async () => {
    const { file } = await place('nothing');
    const { code, stderr } = await run(['pretrain', file, '--resume', '--steps', '2']);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/no checkpoint there; starting at the beginning/),
    });
    expect(await run(['pretrain', file, '--resume', '--steps', '2'])).toMatchObject({ code: 0, stderr: '' });
  });
});
