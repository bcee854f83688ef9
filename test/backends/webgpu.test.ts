// The WebGPU backend on the adapter there is (lavapipe or SwiftShader where there is no GPU), by the shared suite; skipped, and said
// so, without one.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { nodeWebgpuBackend } from '../../src/backends/webgpu-node.js';
import { modulePath, shaderModule } from '../../tools/shaders.js';
import { backendSuite } from '../backend.suite.js';

describe('webgpu', () => {
  it('has the shaders that lie here', () => {
    expect(readFileSync(modulePath, 'utf8'), 'run `npm run generate`').toBe(shaderModule());
  });
});

const found = await nodeWebgpuBackend().then(
  async (backend) => {
    await backend.dispose();
    return true;
  },
  () => false,
);
if (found) backendSuite('webgpu', nodeWebgpuBackend);
else describe.skip('webgpu: no adapter', () => it('is not tried', () => {}));
