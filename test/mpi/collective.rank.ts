// One rank of `collective.mpi.ts`: every operation, with the sums that belong, and what holds for timers meanwhile. Ends with 1 where
// something is wrong; rank 0 says `ok` last.

import assert from 'node:assert/strict';
import { MpiCollective } from '../../src/io/node/mpi.js';
import { evenParts, part } from '../../src/train/collective.js';

async function main(): Promise<void> {
  const mpi = await MpiCollective.open();
  const { rank, size } = mpi;
  const ranks = Array.from({ length: size }, (_, r) => r);
  const total = ranks.reduce((sum, r) => sum + r + 1, 0);

  assert.deepEqual(
    await mpi.gather([rank, 7]),
    ranks.map((r) => Float64Array.of(r, 7)),
  );
  const texts = await mpi.gatherTexts(`é${'x'.repeat(1000 * rank)}`);
  assert.deepEqual(
    texts.map((text) => text.length),
    ranks.map((r) => 1 + 1000 * r),
  );

  // Calls are queued: none is awaited before the next is made.
  const few = Float32Array.of(rank + 1, -rank - 1);
  const many = new Float32Array(3_000_001).fill(rank + 1);
  const wide = Float64Array.of((rank + 1) * 2 ** 40);
  await Promise.all([mpi.allReduce(few), mpi.allReduce(many), mpi.allReduce(wide)]);
  assert.deepEqual(few, Float32Array.of(total, -total));
  assert.ok(many.every((value) => value === total));
  assert.equal(wide[0], total * 2 ** 40);
  assert.equal(mpi.traffic.bytes, (2 * (size - 1) * (8 + 4 * many.length + 8)) / size);

  const lengths = evenParts(1000, size, 64);
  const start = lengths.slice(0, rank).reduce((sum, length) => sum + length, 0);
  const scattered = Float32Array.from({ length: 1000 }, (_, i) => i * (rank + 1));
  await mpi.reduceScatter(scattered, lengths);
  for (let i = 0; i < lengths[rank]; i++) assert.equal(scattered[i], (start + i) * total);

  const gathered = new Uint16Array(1000);
  part(gathered, start, start + lengths[rank]).fill(rank + 1);
  await mpi.allGather(gathered, lengths);
  assert.deepEqual(
    [...gathered],
    ranks.flatMap((r) => new Array<number>(lengths[r]).fill(r + 1)),
  );

  // Rank r sends rank q its number r and q's.
  const sent = Uint16Array.from({ length: 1000 }, () => 100 * rank);
  for (const [q, length] of lengths.entries()) {
    const from = lengths.slice(0, q).reduce((sum, of) => sum + of, 0);
    for (let i = 0; i < length; i++) sent[from + i] += q;
  }
  const received = new Uint16Array(size * lengths[rank]);
  await mpi.allToAll(sent, received, lengths);
  assert.deepEqual(
    [...received],
    ranks.flatMap((r) => new Array<number>(lengths[rank]).fill(100 * r + rank)),
  );

  const told = Float32Array.of(rank);
  await mpi.broadcast(told, size - 1);
  assert.equal(told[0], size - 1);
  await mpi.barrier();

  // The last rank comes late, and 40 MB travel: timers go on.
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  if (rank === size - 1) await new Promise((resolve) => setTimeout(resolve, 100));
  await mpi.allReduce(new Float32Array(1e7));
  clearInterval(timer);
  assert.ok(ticks >= 10, `${ticks} ticks`);

  await mpi.barrier();
  mpi.end();
  if (rank === 0) process.stdout.write(`ok ${mpi.library.abi}, ${size} ranks\n`);
}

main().catch((error) => {
  process.stderr.write(`${error?.stack}\n`);
  process.exit(1);
});
