// The WebGPU backend on the adapter there is (lavapipe or SwiftShader where there is no GPU), by the shared suite; skipped, and said
// so, without one.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { nodeWebgpuBackend } from '../../../src/backends/webgpu/node.js';
import { modulePath, shaderModule } from '../../../tools/shaders.js';
import { backendSuite } from '../../backend.suite.js';

describe('webgpu', () => {
  it('has the shaders that lie here', () => {
    expect(readFileSync(modulePath, 'utf8'), 'run `npm run generate`').toBe(shaderModule());
  });
});

// Undefined without an adapter. The fast kernels are those of GPUs; a software GPU runs the plain ones unless it is told otherwise
// (OPENELM_GPU_KERNELS=fast: it compiles for minutes).
const fast = process.env.OPENELM_GPU_KERNELS === 'fast' ? { traits: { plain: false } } : {};
const plain = await nodeWebgpuBackend(fast).then(
  async (backend) => {
    await backend.dispose();
    return backend.traits.plain === true;
  },
  () => undefined,
);
// One row, a few and many are multiplied by different kernels, whose sums have other orders.
const options = plain ? {} : { company: 4e-6 };
if (plain !== undefined) backendSuite('webgpu', () => nodeWebgpuBackend(fast), options);
else describe.skip('webgpu: no adapter', () => it('is not tried', () => {}));
