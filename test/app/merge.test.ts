// `openelm merge` and `--adapter`: the merged model computes what base and adapter do, and nothing is half written.

import { cpSync, existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';

const golden = fileURLToPath(new URL('../golden', import.meta.url));
const [base, adapter] = ['models/tiny-train', 'peft/dora_hf'].map((name) => join(golden, name));
const temporary = temporaryFolder();

describe('merge', () => {
  it('makes a model that scores as base and adapter do', async () => {
    const out = join(temporary, 'merged');
    const merged = await run(['merge', base, adapter, '--out', out]);
    expect(merged).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/merged: .*tiny-train with .*dora_hf \(\d+ modules\) merged\n/),
    });
    expect(merged.stderr).not.toContain('was tuned for');
    cpSync(base, join(temporary, 'renamed'), { recursive: true });
    const other = await run(['merge', join(temporary, 'renamed'), adapter, '--out', join(temporary, 'of-renamed')]);
    expect(other.stderr).toMatch(/was tuned for tiny-train, and is put around .*renamed\n/);
    const logprobs = async (...model: string[]): Promise<number[]> => {
      const scored = await run(['score', '--ids', '5,17,40,3,77,12', '--json', ...model]);
      expect(scored.code).toBe(0);
      return JSON.parse(scored.stdout).logprobs.slice(1);
    };
    const [apart, together, without] = [
      await logprobs('-m', base, '--adapter', adapter),
      await logprobs('-m', out),
      await logprobs('-m', base),
    ];
    for (const [i, value] of together.entries()) expect(value).toBeCloseTo(apart[i], 4);
    expect(Math.max(...without.map((value, i) => Math.abs(value - apart[i])))).toBeGreaterThan(0.1);
  });

  it('refuses an adapter for another base, and a place that is taken', async () => {
    const out = join(temporary, 'other');
    const wrong = await run(['merge', join(golden, 'models/tiny-elm'), adapter, '--out', out]);
    expect(wrong).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^openelm: .*dora_hf: an adapter for another base: .*\n$/),
    });
    expect(existsSync(out)).toBe(false);
    expect(await run(['merge', base, adapter, '--out', temporary])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/something is there already/),
    });
    expect((await run(['merge', base, adapter])).code).toBe(2);
  });

  it('leaves nothing when Ctrl-C ends it', async () => {
    for (const verb of ['merge', 'average']) {
      const place = mkdtempSync(join(temporary, 'ended-'));
      const models = verb === 'merge' ? [base, adapter] : [base, base];
      const ended = await run([verb, ...models, '--out', join(place, 'm')], {
        onListen: (interrupt) => queueMicrotask(interrupt),
      });
      expect(ended).toMatchObject({ code: 130, stdout: '' });
      expect(readdirSync(place)).toEqual([]);
    }
  });

  it('is made by one of two at once', async () => {
    const average = ['average', base, base, '--out', join(temporary, 'mean')];
    const both = await Promise.all([run(average), run(average)]);
    expect(both.map(({ code }) => code).sort()).toEqual([0, 1]);
    const refused = /^openelm: \S+mean: (another process is making it|something is there already); choose another/;
    expect(both.map(({ stderr }) => stderr).join('')).toMatch(refused);
  });

  it.each([
    ['an adapter', adapter, /holds an adapter: whole models are averaged, which `openelm merge` makes of it/],
    ['what is not there', join(temporary, 'none'), /none: neither a run with checkpoints nor a folder with a model/],
    ['a file', join(base, 'model.safetensors'), /safetensors: neither a run with checkpoints nor a folder with a model/],
  ])('averages no %s', async (_, given, message) => {
    const mean = await run(['average', given, '--out', join(temporary, 'no-mean')]);
    expect(mean).toMatchObject({ code: 1, stderr: expect.stringMatching(message) });
  });

  it.each([
    ['is not there', () => join(temporary, 'none'), /none: no such directory; an adapter is one in PEFT's layout, or a run/],
    ['is none', () => temporary, /no adapter: adapter_config.json is missing/],
    ['is a model', () => base, /holds a whole model, no adapter: name it by --model$/m],
  ])('names an adapter that %s', async (_, adapter, message) => {
    const score = await run(['score', '-m', base, '--adapter', adapter(), '--ids', '1,2']);
    expect(score).toMatchObject({ code: 1, stderr: expect.stringMatching(message) });
  });
});
