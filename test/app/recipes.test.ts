// The committed recipes: they are valid, and hold the paper's numbers (CoreNet, projects/openelm/pretraining_configs).

import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { modelOf, readPretrainConfig, scheduleOf, stepPartsOf } from '../../src/app/pretrain-config.js';
import { readTuneConfig, tuneSchedule } from '../../src/app/tune-config.js';
import { countParameters } from '../../src/model/config.js';
import { llamaTokenizer } from '../../src/tokenizer/llama.js';
import { learningRate } from '../../src/train/schedule.js';

const recipes = fileURLToPath(new URL('../../recipes', import.meta.url));
const paper = [
  { file: 'openelm-270m.yaml', rate: 5.3e-3, least: 5.3e-4, parameters: 271_691_008, checkpointing: false },
  { file: 'openelm-450m.yaml', rate: 3.9e-3, least: 3.9e-4, parameters: 457_375_744, checkpointing: true },
  { file: 'openelm-1_1b.yaml', rate: 2.4e-3, least: 2.4e-4, parameters: 1_080_153_600, checkpointing: true },
  { file: 'openelm-3b.yaml', rate: 1.2e-3, least: 1.2e-4, parameters: 3_037_040_640, checkpointing: true },
];

describe('the recipes', () => {
  it('are all valid settings', async () => {
    const files = (await readdir(recipes)).filter((name) => name.endsWith('.yaml'));
    expect(files).toEqual(expect.arrayContaining(['tiny.yaml', ...paper.map(({ file }) => file)]));
    for (const file of files) expect((await readPretrainConfig(join(recipes, file))).steps, file).toBeGreaterThan(0);
  });

  it.each(paper)("$file trains with the paper's numbers", async ({ file, rate, least, parameters, checkpointing }) => {
    const config = await readPretrainConfig(join(recipes, file));
    expect(config.batch_size * config.accumulation * config.data.sequence_length).toBe(4_194_304);
    expect(countParameters(modelOf(config, await llamaTokenizer(), file))).toBe(parameters);
    expect(scheduleOf(config)).toEqual({
      name: 'cosine',
      maxIterations: 350_000,
      warmupIterations: 5000,
      warmupInitLearningRate: 1e-6,
      maxLearningRate: rate,
      minLearningRate: least,
      decimals: 8,
    });
    expect(stepPartsOf(config)).toMatchObject({
      optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, maxGradNorm: 1 },
      objective: { limits: { zLoss: 1e-4, labelSmoothing: 0, maxSequences: config.batch_size } },
      activationCheckpointing: checkpointing,
    });
    expect(config.data).toMatchObject({ min_characters_per_text: 200, min_tokens_per_text: 256, packing: false });
    expect(basename(config.data.tokenizer!)).toBe('tokenizer.model');
  });
});

// Epochs, learning rates and losses of OpenELM-Instruct (projects/openelm/README-instruct.md), and of its adapters (peft_configs).
const tuned = [
  { size: '270m', epochs: 5, rate: 2e-5, loss: 'hinge' },
  { size: '450m', epochs: 8, rate: 3e-5, loss: 'hinge' },
  { size: '1_1b', epochs: 5, rate: 5e-5, loss: 'sigmoid' },
  { size: '3b', epochs: 10, rate: 1e-4, loss: 'hinge' },
];

describe('the recipes of tuning', () => {
  it.each(tuned)("tune the $size with the paper's numbers", async ({ size, epochs, rate, loss }) => {
    const instruct = await readTuneConfig(join(recipes, `instruct/openelm-${size}.yaml`));
    expect(instruct).toMatchObject({ method: 'dpo', adapter: 'none', epochs, batch_size: 8, accumulation: 2, seed: 42 });
    expect(instruct).toMatchObject({ dpo: { loss, beta: 0.01 }, learning_rate: { max: rate, min: 0, warmup_ratio: 0.1 } });
    expect(instruct.data).toMatchObject({ max_length: 1024, max_prompt_length: 512, empty_system_message: true, keep: 'end' });
    const lora = await readTuneConfig(join(recipes, `peft/openelm-${size}.yaml`));
    expect(lora.adapter).toMatchObject({ r: 32, alpha: 32, dropout: 0.1, use_dora: false, dtype: 'f32' });
    expect(tuneSchedule(lora, 4375)).toMatchObject({ maxLearningRate: 3e-4, minLearningRate: 3e-5, warmupIterations: 1000 });
    const ratio = { ...lora, learning_rate: { ...lora.learning_rate, warmup_steps: undefined, warmup_ratio: 0.1 } };
    expect([1, 2, 15].map((steps) => tuneSchedule(ratio, steps).warmupIterations)).toEqual([0, 1, 2]);
    // Not rounded to nothing.
    const small = { ...lora, learning_rate: { ...lora.learning_rate, max: 4e-9, min: 0 } };
    expect(learningRate(tuneSchedule(small, 4375), 500) * 1e9).toBeCloseTo(2, 6);
    const dora = await readTuneConfig(join(recipes, `peft/openelm-${size}.yaml`), ['--adapter', 'dora']);
    expect(dora.adapter).toMatchObject({ use_dora: true });
  });

  it('are all valid settings', async () => {
    for (const folder of ['tune-tiny', 'tales-instruct']) {
      const files = (await readdir(join(recipes, folder))).filter((name) => name.endsWith('.yaml'));
      expect(files.length).toBeGreaterThan(1);
      for (const file of files) expect((await readTuneConfig(join(recipes, folder, file))).out).toContain('runs/');
    }
  });
});
