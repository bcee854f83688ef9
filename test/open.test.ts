// Which backend computes where the native one is not there, and what is said of it.

import { afterAll, describe, expect, it, vi } from 'vitest';
import { hollowCheckpoint } from './hollow.js';

vi.mock('../src/backends/native.js', async (original) => ({
  ...(await original<object>()),
  nativeBackend: () => ({ reason: 'no C++ compiler was found' }),
}));

const { load, openBackend } = await import('../src/index.js');
const { noticeOf } = await import('../src/backend-choice.js');
const hollow = hollowCheckpoint('OpenELM-3B');
afterAll(() => hollow.remove());

describe('without the native backend', () => {
  it('WebAssembly computes, and one sentence says why', async () => {
    const notices: string[] = [];
    await using model = await load(undefined, { onNotice: (notice) => notices.push(notice) });
    expect(model.backend.name).toBe('wasm');
    expect(notices).toEqual(['this runs in WebAssembly, about half as fast as the native backend: no C++ compiler was found']);
    const { text } = await model.complete('Once upon a time', { maxTokens: 4 });
    expect(text.length).toBeGreaterThan(4);
  });

  it('says nothing of a backend that was asked for', async () => {
    await expect(openBackend('native')).rejects.toThrow('the native backend is not available: no C++ compiler was found');
    const notices: string[] = [];
    await using model = await load(undefined, { backend: 'wasm', threads: 1, onNotice: (notice) => notices.push(notice) });
    expect(model.backend.description).toMatch(/^wasm, .*, 1 thread$/);
    expect(notices).toEqual([]);
  });

  it('says which options of a GPU nothing uses', async () => {
    const notices: string[] = [];
    const onNotice = (notice: string) => notices.push(notice);
    await using model = await load(undefined, { backend: 'wasm', threads: 1, gpu: 0, onNotice });
    expect(model.backend.name).toBe('wasm');
    expect(notices).toEqual(['gpu is not used, as the wasm backend computes; webgpu is the one on a GPU']);
    const chosen = { backend: model.backend, reason: 'none' };
    expect(noticeOf('auto', { gpu: 0, arithmetic: 'f16' }, chosen)).toMatch(
      /^this runs in WebAssembly, .*; gpu and arithmetic are not used, as the wasm backend computes;/,
    );
    expect(noticeOf('wasm', {}, chosen)).toBeUndefined();
  });

  it('a model beyond the memory of WebAssembly is refused before it is loaded', async () => {
    await expect(load(hollow.directory, { backend: 'wasm' })).rejects.toThrow(
      /too large for WebAssembly, whose memory ends at 4.3 GB: 6.\d GB of f16 weights and cache; try a smaller dtype/,
    );
  });

  it('the reference backend computes where WebAssembly cannot', async () => {
    const { WebAssembly: real } = globalThis;
    try {
      Object.assign(globalThis, { WebAssembly: undefined });
      const chosen = await openBackend();
      expect(chosen.backend.name).toBe('reference');
      expect(noticeOf('auto', {}, chosen)).toBe(
        'this runs slowly, without the native backend: no C++ compiler was found; nor WebAssembly: WebAssembly has no SIMD here: a newer browser or Node has',
      );
    } finally {
      globalThis.WebAssembly = real;
    }
  });
});
