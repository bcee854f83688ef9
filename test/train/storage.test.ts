// What is kept between forward and backward, on every backend here: computed again, the gradient is the same to the bit; in 16 bits
// it is near, the loss is the same, and the memory is less.

import { afterAll, describe, expect, it, vi } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import { configFromFields } from '../../src/model/config.js';
import type { Backend } from '../../src/tensor/backend.js';
import { planArena } from '../../src/tensor/plan.js';
import type { KeepOptions } from '../../src/train/backward.js';
import { randomSource, tinyFields, tinyParameters, tinyStep } from './tiny.js';

const native = nativeBackend({ threads: 2 });
const backends = [referenceBackend(), ...('backend' in native ? [native.backend] : [])];
afterAll(() => Promise.all(backends.map((backend) => backend.dispose())));

const config = configFromFields({ ...tinyFields, num_transformer_layers: 8, vocab_size: 24 }, 'deep');

/** Loss and gradient of a batch, and the arena that it took. */
async function gradientOf(backend: Backend, changes: KeepOptions) {
  const compile = vi.spyOn(backend, 'compile');
  const parameters = tinyParameters(backend, config);
  const step = tinyStep(backend, parameters, changes);
  const arena = planArena(compile.mock.calls[0][0]).bytes;
  compile.mockRestore();
  const { means } = await step.accumulate((await randomSource().next()).batch);
  const gradients = await Promise.all(
    parameters.list.map(async ({ name }) => [name, await parameters.read(name, 'grad')] as const),
  );
  step.dispose();
  parameters.free();
  return { total: means.loss, gradients, arena };
}

describe.each(backends)('what is kept for the way back, on $name', (backend) => {
  it('nothing inside the layers: the same gradient to the bit', async () => {
    const [kept, again] = [await gradientOf(backend, {}), await gradientOf(backend, { activationCheckpointing: true })];
    expect(again.total).toBe(kept.total);
    expect(again.gradients).toEqual(kept.gradients);
    expect(again.arena).toBeLessThan(0.8 * kept.arena);
  });

  it('16 bits: the same loss, and gradients within the rounding', async () => {
    const [kept, rounded] = [await gradientOf(backend, {}), await gradientOf(backend, { activationStorage: 'int16' })];
    expect(rounded.total).toBe(kept.total);
    const errors = rounded.gradients.map(([, gradient], i) => {
      const expected = kept.gradients[i][1];
      return Math.hypot(...gradient.map((value, at) => value - expected[at])) / Math.hypot(...expected);
    });
    expect(Math.max(...errors)).toBeGreaterThan(1e-6); // rounded it was
    // Each value is within 2^-16 of the largest of its 64; the norms' of queries and keys are sums that cancel.
    expect(Math.max(...errors)).toBeLessThan(5e-4);
    expect(rounded.arena).toBeLessThan(0.8 * kept.arena);
  });
});
