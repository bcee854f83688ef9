// Sums of gradients in bf16 over two processes that are two halves of this test, on every backend that shares memory: what each one
// holds, what rounding lost, and that nothing is lost over time.

import { afterAll, describe, expect, it } from 'vitest';
import { nativeBackend } from '../../src/backends/native.js';
import { referenceBackend } from '../../src/backends/reference.js';
import type { Backend } from '../../src/tensor/backend.js';
import { sharedMemory } from '../../src/tensor/shared-memory.js';
import type { Collective, Elements } from '../../src/train/collective.js';
import { GradientSums } from '../../src/train/gradient-sums.js';
import { random } from '../behaviour.suite.js';

const native = nativeBackend({ threads: 1 });
const backends: Backend[] = [referenceBackend(), ...('backend' in native ? [native.backend] : [])];
afterAll(() => Promise.all(backends.map((backend) => backend.dispose())));

/** Two ranks: a call returns when both have made it. Only what sums of bf16 call. */
function pair(): Collective[] {
  let waiting: { elements: Elements; received: Elements; lengths: readonly number[]; go: () => void } | undefined;
  const meet = (rank: number, elements: Elements, received: Elements, lengths: readonly number[], swap: typeof exchange) =>
    new Promise<void>((resolve) => {
      const mine = { elements, received, lengths, go: resolve };
      if (!waiting) {
        waiting = mine;
        return;
      }
      const [a, b] = rank === 1 ? [waiting, mine] : [mine, waiting];
      waiting = undefined;
      swap(a, b);
      a.go();
      b.go();
    });
  type Side = NonNullable<typeof waiting>;
  const exchange = (a: Side, b: Side): void => {
    const [own, other] = a.lengths;
    const [x, y, toA, toB] = [a.elements, b.elements, a.received, b.received] as Uint16Array[];
    toA.set(x.subarray(0, own));
    toA.set(y.subarray(0, own), own);
    toB.set(x.subarray(own));
    toB.set(y.subarray(own), other);
  };
  const gather = (a: Side, b: Side): void => {
    const [own] = a.lengths;
    (a.elements as Uint16Array).set((b.elements as Uint16Array).subarray(own), own);
    (b.elements as Uint16Array).set((a.elements as Uint16Array).subarray(0, own));
  };
  return [0, 1].map((rank) => ({
    ...({ rank, size: 2 } as Collective),
    allToAll: (sent, received, lengths) => meet(rank, sent, received, lengths, exchange),
    allGather: (elements, lengths) => meet(rank, elements, elements, lengths, gather),
  }));
}

const length = 320; // rank 0 takes 128 of the bucket's 256, and the last 64 lie outside of it
const bucket = { start: 0, end: 256, ready: 0 };

describe.each(backends)('gradients in bf16, on $name', (backend) => {
  const open = (scattered: boolean) =>
    pair().map((collective) => {
      const grad = backend.create('f32', [length]);
      const all = { grad } as never;
      const sums = new GradientSums(sharedMemory(backend)!, { all, length }, collective, { gradients: 'bf16', scattered });
      return { grad, sums };
    });
  type Side = ReturnType<typeof open>[number];
  const sum = async (sides: Side[], gradients: Float32Array[]): Promise<Float32Array[]> => {
    for (const [r, { grad }] of sides.entries()) backend.write(grad, gradients[r]);
    await Promise.all(sides.map(({ grad }) => backend.read(grad, 0, 1)));
    await Promise.all(sides.map(({ sums }) => sums.sum(bucket)));
    return Promise.all(sides.map(({ grad }) => backend.read(grad)));
  };

  it('are the same everywhere, near the sum, and lose nothing over time', async () => {
    const sides = open(false);
    const gradients = [random(length, 1), random(length, 2)];
    const truth = gradients[0].map((value, i) => value + gradients[1][i]);
    const steps = 8;
    const total = new Float64Array(bucket.end);
    for (let step = 1; step <= steps; step++) {
      const [a, b] = await sum(sides, gradients);
      expect(a.subarray(0, bucket.end)).toEqual(b.subarray(0, bucket.end));
      expect(a.subarray(bucket.end)).toEqual(gradients[0].subarray(bucket.end));
      for (let i = 0; i < bucket.end; i++) {
        // Half a last place of each number that was rounded, of which a sum has three, and what the step before lacked.
        expect(Math.abs(a[i] - truth[i])).toBeLessThan(2 ** -8 * 8);
        total[i] += a[i];
      }
    }
    for (let i = 0; i < bucket.end; i++) {
      const kept = sides[0].sums.errors![i] + sides[1].sums.errors![i];
      expect(Math.abs(total[i] + kept - steps * truth[i])).toBeLessThan(1e-5 * steps);
      expect(Math.abs(kept)).toBeLessThan(2 ** -6);
    }
    expect(sides[0].sums.errors!.subarray(bucket.end).every((value) => value === 0)).toBe(true);
  });

  it('are a part each, in f32, where they are scattered, and the rest is zeros', async () => {
    const sides = open(true);
    const gradients = [random(length, 1), random(length, 2)];
    const [a, b] = await sum(sides, gradients);
    const rounded = (value: number): number => {
      const bits = new Uint32Array(Float32Array.of(value).buffer);
      bits[0] = (bits[0] + 0x7fff + ((bits[0] >> 16) & 1)) & 0xffff0000;
      return new Float32Array(bits.buffer)[0];
    };
    const sums = gradients[0].map((value, i) => Math.fround(rounded(value) + rounded(gradients[1][i])));
    expect(a.subarray(0, 128)).toEqual(sums.subarray(0, 128));
    expect(b.subarray(0, 128)).toEqual(sums.subarray(128, 256));
    for (const side of [a, b]) expect(side.subarray(128, 256)).toEqual(new Float32Array(128));
  });

  it('pass what is not finite on, and keep no error of it', async () => {
    const sides = open(false);
    const bad = [random(length, 1), random(length, 2)];
    bad[0][3] = Number.NaN;
    bad[1][200] = Number.NEGATIVE_INFINITY;
    bad[0][5] = 3.4e38; // rounds to more than there is
    for (const values of await sum(sides, bad)) {
      expect(values[3]).toBeNaN();
      expect(values[200]).toBe(Number.NEGATIVE_INFINITY);
      expect(values[5]).toBe(Number.POSITIVE_INFINITY);
    }
    for (const { sums } of sides) expect(sums.errors!.every(Number.isFinite)).toBe(true);
  });
});
