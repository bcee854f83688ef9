// Tests that want MPI: `npx vitest run --config test/mpi/vitest.config.ts`, which .ci/run does; not part of npm test.

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/mpi/*.mpi.ts'], testTimeout: 300_000, hookTimeout: 300_000, fileParallelism: false },
});
