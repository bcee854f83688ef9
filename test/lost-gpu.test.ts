// What becomes of a model when the GPU that `auto` took fails: while it is loaded, before an answer begins, in the middle of one. The
// GPU here is a CPU backend that fails when it is told to.

import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Backend, ExecutionCode } from '../src/tensor/backend.js';
import { ExecutionError } from '../src/tensor/execution.js';

/** Set to make the GPU fail. */
let uploads: ExecutionCode | undefined;
let runs: ExecutionCode | undefined;
let disposed = 0;

function failing(backend: Backend): Backend {
  const error = (code: ExecutionCode, op: 'upload' | 'linear'): ExecutionError => new ExecutionError({ opIndex: 3, op, code });
  const gpu: Partial<Backend> = {
    name: 'webgpu',
    description: 'webgpu, a test',
    upload: (...given) => (uploads ? Promise.reject(error(uploads, 'upload')) : backend.upload(...given)),
    submit(...given) {
      const submission = backend.submit(...given);
      if (!runs) return submission;
      submission.done.catch(() => {});
      const done = Promise.reject(error(runs, 'linear'));
      done.catch(() => {});
      return { ...submission, done };
    },
    dispose: () => {
      disposed++;
      return backend.dispose();
    },
  };
  return new Proxy(backend, {
    get(target, key) {
      if (key in gpu) return gpu[key as keyof Backend];
      const value: unknown = target[key as keyof Backend];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

vi.mock('../src/backend-choice.js', async (original) => {
  const real = await original<typeof import('../src/backend-choice.js')>();
  return {
    ...real,
    /** Every model is large, and there is always a GPU. */
    openBackend: async (choice: 'auto' | 'webgpu', options: object, weightBytes = 0) => {
      const chosen = await real.openBackend('auto', options);
      return weightBytes > 0 || choice === 'webgpu' ? { backend: failing(chosen.backend), reason: 'it is there' } : chosen;
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
    uploads = undefined;
    runs = undefined;
    disposed = 0;
    notices.length = 0;
  });

  it('while a model is loaded leaves it to the CPU, with one sentence', async () => {
    uploads = 'out-of-memory';
    await using model = await load(undefined, { onNotice });
    expect(model.backend.name).not.toBe('webgpu');
    expect(disposed).toBe(1);
    expect(notices).toEqual([
      'the GPU computes (a test): it is there',
      expect.stringMatching(
        /^the CPU computes: not enough memory on the GPU for tales-6m: 0\.01 GB of f16 weights and .* for a context of 1024 tokens; the weights take 0\.01 GB in q8, 0\.00 GB in q4$/,
      ),
    ]);
    expect((await model.complete(prompt, options)).ids).toHaveLength(6);
  });

  it('is an error where it was asked for', async () => {
    uploads = 'out-of-memory';
    await expect(load(undefined, { backend: 'webgpu' })).rejects.toThrow(/^not enough memory on the GPU for tales-6m/);
    uploads = undefined;
    await using model = await load(undefined, { backend: 'webgpu' });
    runs = 'device-lost';
    await expect(model.complete(prompt, options)).rejects.toThrow(/^the GPU was lost: .*; open the model again$/);
  });

  it('before answers begin leaves them to the CPU, with one sentence', async () => {
    await using model = await load(undefined, { onNotice });
    const before = await model.complete(prompt, options);
    expect(model.backend.name).toBe('webgpu');
    runs = 'device-lost';
    const answers = await Promise.all([
      model.complete(prompt, options),
      model.complete(prompt, options),
      model.score('Once upon a time').then(() => before),
    ]);
    for (const { ids } of answers) expect(ids).toEqual(before.ids);
    expect(model.backend.name).not.toBe('webgpu');
    expect(disposed).toBe(1);
    expect(notices.slice(1)).toEqual(['the GPU was lost: the CPU computes from here on']);
  });

  it('in the middle of an answer ends that, and the CPU computes the next', async () => {
    await using model = await load(undefined, { onNotice });
    const pieces = model.generate(prompt, { ...options, maxTokens: 200 });
    await pieces.next();
    runs = 'device-lost';
    const rest = (async () => {
      for await (const _ of pieces);
    })();
    await expect(rest).rejects.toThrow(/^the GPU was lost in the middle of this answer: ask again, and the CPU will compute it$/);
    expect((await model.complete(prompt, options)).ids).toHaveLength(6);
  });
});
