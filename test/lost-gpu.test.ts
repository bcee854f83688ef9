// What becomes of a model when the GPU that `auto` took fails: while it is loaded, before an answer begins, in the middle of one.

import { afterEach, describe, expect, it, vi } from 'vitest';
import { failingGpu, failures } from './failing-gpu.js';

vi.mock('../src/backend-choice.js', async (original) => {
  const real = await original<typeof import('../src/backend-choice.js')>();
  return {
    ...real,
    /** Every model is large, and there is always a GPU. */
    openBackend: async (choice: 'auto' | 'webgpu', options: object, weightBytes = 0) => {
      const chosen = await real.openBackend('auto', options);
      return weightBytes > 0 || choice === 'webgpu' ? { backend: failingGpu(chosen.backend), reason: 'it is there' } : chosen;
    },
  };
});

const { load } = await import('../src/index.js');
const options = { maxTokens: 6, temperature: 0 };
const prompt = 'Once upon a time';

describe('a GPU that fails', () => {
  const notices: string[] = [];
  const onNotice = (notice: string): void => {
    notices.push(notice);
  };
  afterEach(() => {
    Object.assign(failures, { uploads: undefined, runs: undefined, disposed: 0 });
    notices.length = 0;
  });

  it('while a model is loaded leaves it to the CPU, with one sentence', async () => {
    failures.uploads = 'out-of-memory';
    await using model = await load(undefined, { onNotice });
    expect(model.backend.name).not.toBe('webgpu');
    expect(failures.disposed).toBe(1);
    expect(notices).toEqual([
      'the GPU computes (a test): it is there',
      expect.stringMatching(
        /^the CPU computes: not enough memory on the GPU for tales-6m: 0\.01 GB of f16 weights and .* for a context of 1024 tokens; try dtype q8 \(0\.01 GB\), or dtype q4 \(0\.00 GB\), or a smaller context, or cacheType q8$/,
      ),
    ]);
    expect((await model.complete(prompt, options)).ids).toHaveLength(6);
  });

  it('is an error where it was asked for', async () => {
    failures.uploads = 'out-of-memory';
    await expect(load(undefined, { backend: 'webgpu' })).rejects.toThrow(/^not enough memory on the GPU for tales-6m/);
    failures.uploads = undefined;
    await using model = await load(undefined, { backend: 'webgpu' });
    failures.runs = 'device-lost';
    await expect(model.complete(prompt, options)).rejects.toThrow(/^the GPU was lost: .*; open the model again$/);
  });

  it.each([
    ['device-lost', 'was lost'],
    ['out-of-memory', 'ran out of memory'],
  ] as const)('before answers begin leaves them to the CPU, with one sentence: %s', async (code, what) => {
    await using model = await load(undefined, { onNotice });
    const before = await model.complete(prompt, options);
    expect(model.backend.name).toBe('webgpu');
    failures.runs = code;
    const answers = await Promise.all([
      model.complete(prompt, options),
      model.complete(prompt, options),
      model.score('Once upon a time').then(() => before),
    ]);
    for (const { ids } of answers) expect(ids).toEqual(before.ids);
    expect(model.backend.name).not.toBe('webgpu');
    expect(failures.disposed).toBe(1);
    expect(notices.slice(1)).toEqual([`the GPU ${what}: the CPU computes from here on`]);
  });

  it('in the middle of an answer ends that, and the CPU computes the next', async () => {
    await using model = await load(undefined, { onNotice });
    const pieces = model.generate(prompt, { ...options, maxTokens: 200 });
    await pieces.next();
    failures.runs = 'device-lost';
    const rest = (async () => {
      for await (const _ of pieces);
    })();
    await expect(rest).rejects.toThrow(/^the GPU was lost in the middle of this answer: ask again, and the CPU will compute it$/);
    expect((await model.complete(prompt, options)).ids).toHaveLength(6);
  });
});
