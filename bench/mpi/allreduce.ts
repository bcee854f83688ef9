// What a sum over all ranks costs, by bytes: `mpirun -n 2 npx tsx bench/mpi/allreduce.ts [ELEMENTS...]`; beside it `allreduce.c`, the
// same from C.

import { MpiCollective } from '../../src/io/node/mpi.js';

async function main(): Promise<void> {
  const mpi = await MpiCollective.open();
  const asked = process.argv.slice(2).map(Number);
  for (const elements of [1, 1000, 250_000, 2_500_000, 25_000_000].filter((size) => asked.length === 0 || asked.includes(size))) {
    const x = new Float32Array(elements);
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < (elements > 1e5 ? 10 : 100); i++) {
      await mpi.barrier();
      const began = performance.now();
      await mpi.allReduce(x);
      best = Math.min(best, performance.now() - began);
    }
    if (mpi.rank === 0) console.log(`${String(4 * elements).padStart(10)} bytes  ${best.toFixed(3).padStart(9)} ms`);
  }
  mpi.end();
}

await main();
