// Checkpoints on disk: whole or not at all, bit for bit what was trained, and refused where they do not fit.

import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { referenceBackend } from '../../src/backends/reference.js';
import { checkpointName, keepLast, listCheckpoints, removeLeftovers, writeDirectory } from '../../src/io/node/checkpoints.js';
import { openFile } from '../../src/io/node/files.js';
import { openWeights } from '../../src/io/node/weights.js';
import { configFromFields } from '../../src/model/config.js';
import type { WriteFile } from '../../src/model/write.js';
import { MovingAverage } from '../../src/train/average.js';
import { difference, type OpenFile, readRecord, readState, writeCheckpoint } from '../../src/train/checkpoint.js';
import { ModelParameters } from '../../src/train/parameters.js';
import { type Progress, Trainer, type TrainerHooks } from '../../src/train/trainer.js';
import { temporaryFolder } from '../temporary.js';
import { randomSource, stateOf, tinyConfig, tinyFields, tinyParameters, tinyStep } from './tiny.js';

const backend = referenceBackend();
const directory = temporaryFolder();

const steps = 12;
const options = {
  steps,
  accumulation: 2,
  schedule: {
    name: 'cosine',
    maxIterations: steps,
    warmupIterations: 3,
    warmupInitLearningRate: 1e-6,
    maxLearningRate: 1e-2,
    minLearningRate: 1e-3,
  },
} as const;

const open =
  (path: string): OpenFile =>
  (name) =>
    openFile(join(path, name));

async function save(run: string, parameters: ModelParameters, progress: Progress, wrap = (write: WriteFile) => write) {
  const path = join(run, checkpointName(progress.step));
  const record = { ...progress, config: { seed: 1 }, losses: { train: 1.5, validation: null } };
  await writeDirectory(path, (write) => writeCheckpoint(wrap(write), { parameters, dtype: 'f32', record }));
  return path;
}

/** Trains from the beginning or from the last checkpoint in `run`, and returns all that training keeps. */
async function train(run: string, hooks: TrainerHooks<never> = {}): Promise<Map<string, Uint8Array>> {
  const last = (await listCheckpoints(run)).at(-1);
  const parameters = last ? new ModelParameters(backend, tinyConfig) : tinyParameters(backend);
  const record = last && (await readRecord(open(last.path)));
  if (last) await readState(open(last.path), parameters);
  const all = { checkpoints: { every: 3, save: (progress: Progress) => save(run, parameters, progress) }, ...hooks };
  await new Trainer(tinyStep(backend, parameters), randomSource(record?.data), options, all, record).run();
  return stateOf(parameters);
}

describe('a checkpoint', () => {
  it('continues to the bit, wherever the run ended', async () => {
    const straight = await train(join(directory, 'straight'));
    const dies = 4 + Math.floor(Math.random() * 8);
    const run = join(directory, 'killed');
    const onStep = ({ step }: { step: number }): void => {
      if (step === dies) throw new Error('killed');
    };
    await expect(train(run, { onStep })).rejects.toThrow('killed');
    const resumed = await train(run);
    expect(resumed.size).toBe(straight.size);
    for (const [name, bytes] of straight) expect(Buffer.compare(resumed.get(name)!, bytes), `${name}, ended at ${dies}`).toBe(0);
  });

  it('ended by a signal continues to the bit too', async () => {
    const straight = await stateOf(tinyParameters(backend));
    const run = join(directory, 'stopped');
    const controller = new AbortController();
    await train(run, { signal: controller.signal, onUpdate: (step) => step === 5 && controller.abort() } as TrainerHooks<never>);
    expect((await listCheckpoints(run)).at(-1)?.step).toBe(5);
    const resumed = await train(run);
    const reference = await train(join(directory, 'straight-again'));
    for (const [name, bytes] of reference) expect(Buffer.compare(resumed.get(name)!, bytes), name).toBe(0);
    expect(
      Buffer.compare(reference.get('parameters transformer.norm.weight')!, straight.get('parameters transformer.norm.weight')!),
    ).not.toBe(0);
  });

  it('keeps master weights and the moving average beside a model in 16 bits', async () => {
    const parameters = tinyParameters(backend);
    const average = await MovingAverage.create(parameters, 0.25);
    const step = tinyStep(backend, parameters);
    const source = randomSource();
    for (let i = 1; i <= 3; i++) {
      await step.accumulate((await source.next()).batch);
      await step.update(1e-2, i);
      average.follow();
    }
    const path = join(directory, 'half');
    const ema = await average.current();
    const record = { step: 3, tokens: 36, data: source.state(), config: {}, losses: { train: null, validation: null } };
    await writeDirectory(path, (write) => writeCheckpoint(write, { parameters, dtype: 'bf16', ema, record }));
    const weights = await openWeights(path);
    expect([...weights.tensors.values()].every(({ dtype }) => dtype === 'BF16')).toBe(true);
    await weights.close();
    const again = new ModelParameters(backend, tinyConfig);
    const savedEma = await readState(open(path), again);
    const expected = await stateOf(parameters);
    for (const [name, bytes] of await stateOf(again)) expect(Buffer.compare(bytes, expected.get(name)!), name).toBe(0);
    for (const [name, values] of ema) expect(savedEma?.get(name)).toEqual(values);
    const norm = 'transformer.norm.weight';
    expect(savedEma?.get(norm)).not.toEqual(await parameters.read(norm));
  });

  it('that is half written is none, and one that is damaged or cannot be read is told, never passed over', async () => {
    const run = join(directory, 'cut');
    const parameters = tinyParameters(backend);
    for (const step of [1, 2, 3]) await save(run, parameters, { step, tokens: step, data: null });
    const record = (step: number): string => join(run, checkpointName(step), 'training.json');
    const text = await readFile(record(3));
    const damages: [damage: () => Promise<void>, said: RegExp][] = [
      [
        () => truncate(join(run, checkpointName(3), 'training.safetensors'), 100),
        /is damaged \(training.safetensors has 100 bytes/,
      ],
      [() => rm(join(run, checkpointName(3), 'config.json')), /is damaged \(config.json is missing/],
      [() => rm(record(3)), /is damaged \(it has no training.json/],
      [() => truncate(record(3), 40), /is damaged \(.*training.json: /],
      [() => writeFile(record(3), '{}'), /is damaged \(training.json names no files/],
    ];
    for (const [damage, said] of damages) {
      await damage();
      await expect(listCheckpoints(run)).rejects.toThrow(said);
      await keepLast(run, 1); // what is damaged is left to its owner, and does not count
      expect((await readdir(run)).sort()).toEqual([2, 3].map(checkpointName));
      await writeFile(record(3), text);
    }
    await rm(join(run, checkpointName(3)), { recursive: true });
    await mkdir(join(run, `.${checkpointName(4)}.1-abcdef.tmp`));
    await writeFile(join(run, `.${checkpointName(4)}.1-abcdef.tmp`, 'config.json'), '{}');
    expect((await listCheckpoints(run)).map(({ step }) => step)).toEqual([2]);
    await removeLeftovers(run);
    expect(await readdir(run)).toEqual([checkpointName(2)]);
    expect(await listCheckpoints(join(directory, 'nowhere'))).toEqual([]);
  });

  it('leaves the old one alone when the disk is full, in one sentence', async () => {
    const run = join(directory, 'full');
    const parameters = tinyParameters(backend);
    const old = await save(run, parameters, { step: 1, tokens: 1, data: null });
    const before = await readFile(join(old, 'model.safetensors'));
    let room = 4000;
    const full =
      (write: WriteFile): WriteFile =>
      (name, fill) =>
        write(name, (sink) =>
          fill({
            async write(chunk) {
              room -= chunk.byteLength;
              if (room < 0) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', syscall: 'write' });
              await sink.write(chunk);
            },
          }),
        );
    for (const step of [1, 2]) {
      room = 4000;
      await expect(save(run, parameters, { step, tokens: 1, data: null }, full)).rejects.toThrow(
        /^[^\n]*: cannot write it: the disk is full: free some space and try again$/,
      );
    }
    expect(await readdir(run)).toEqual([checkpointName(1)]);
    expect((await readFile(join(old, 'model.safetensors'))).equals(before)).toBe(true);
    expect(await listCheckpoints(run)).toHaveLength(1);
  });

  it('takes the place of an older one of the same step, and only the last are kept', async () => {
    const run = join(directory, 'many');
    const parameters = tinyParameters(backend);
    for (const step of [1, 2, 10, 3, 3]) await save(run, parameters, { step, tokens: step, data: null });
    await keepLast(run, 2);
    expect((await readdir(run)).sort()).toEqual([checkpointName(3), checkpointName(10)]);
    expect(existsSync(join(run, checkpointName(1)))).toBe(false);
  });

  it('of another model is refused', async () => {
    const path = await save(join(directory, 'other'), tinyParameters(backend), { step: 1, tokens: 1, data: null });
    const other = configFromFields({ ...tinyFields, vocab_size: 24, num_transformer_layers: 3 }, 'other');
    await expect(readState(open(path), new ModelParameters(backend, other))).rejects.toThrow(
      /2 layers.*num_transformer_layers: 3/,
    );
    await writeFile(join(path, 'training.json'), '{"format": "else"}');
    await expect(readRecord(open(path))).rejects.toThrow(/training\.json: not the record of a training checkpoint/);
  });
});

describe('difference', () => {
  it('names the first key that differs, by its path', () => {
    const saved = { a: 1, b: { c: [1, 2], d: 'x' }, e: 1 };
    expect(difference(saved, { ...saved })).toBeUndefined();
    expect(difference({ ...saved, b: { c: [1, 3], d: 'y' } }, saved)).toBe('b.c is [1,3], but [1,2] in the checkpoint');
    expect(difference({ ...saved, f: null }, saved)).toBe('f is null, but absent in the checkpoint');
    expect(difference({ a: 1, b: saved.b }, saved)).toBe('e is absent, but 1 in the checkpoint');
  });

  it('passes over keys that may differ', () => {
    expect(difference({ a: { b: 1 }, c: 1 }, { a: { b: 2 }, c: 1 }, ['a'])).toBeUndefined();
    expect(difference({ a: { b: 1, d: 2 } }, { a: { b: 2, d: 3 } }, ['a.b'])).toBe('a.d is 2, but 3 in the checkpoint');
  });
});
