// The comparison of a GPU with WebAssembly, where its backends do not compare.
import { afterEach, describe, expect, it, vi } from 'vitest';
import { referenceBackend } from '../../src/backends/reference.js';
import { measured } from '../../src/browser/probe.js';

describe('measured', () => {
  afterEach(() => vi.useRealTimers());

  it('does not wait for a GPU that never answers', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const [gpu, wasm] = [referenceBackend(), referenceBackend()];
    const done = new Promise<never>(() => {});
    const never = Object.assign(Object.create(gpu), { submit: () => ({ done }), read: () => done });
    const found = expect(measured(never, wasm, 1e6, 'a device')).rejects.toThrow('it had not answered after 10 s');
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
    await vi.advanceTimersByTimeAsync(10_000);
    await found;
    expect(vi.getTimerCount()).toBe(0);
  });
});
