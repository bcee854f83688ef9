// The embedded model by the kernels of real GPUs, on whatever GPU there is: greedy ids equal to the CPU's. Software takes half a minute
// to compile them, so it is not part of `npm test`, where it runs the plain ones (test/backends/webgpu/models.test.ts).

import { describe, expect, it } from 'vitest';
import { nodeWebgpuBackend } from '../../src/backends/webgpu/node.js';
import { load } from '../../src/index.js';
import type { Backend } from '../../src/tensor/backend.js';

const backend = await nodeWebgpuBackend({ traits: { plain: false } }).catch(() => undefined);

describe.skipIf(!backend)(`the embedded model by fast kernels${backend ? '' : ' (no adapter)'}`, () => {
  it('writes the same ids as on the CPU', async () => {
    const written = async (on: Backend | 'auto'): Promise<readonly number[]> => {
      await using model = await load(undefined, { dtype: 'f32', backend: on });
      return (await model.complete('Once upon a time', { maxTokens: 16, temperature: 0 })).ids;
    };
    expect(await written(backend!)).toEqual(await written('auto'));
    await backend!.dispose();
  });
});
