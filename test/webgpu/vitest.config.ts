import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['test/webgpu/*.webgpu.ts'], testTimeout: 600_000 } });
