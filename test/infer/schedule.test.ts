// Sharing steps: who speaks comes first, the prompt that came first is never left out, and nothing is lost.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pace, shareStep } from '../../src/infer/schedule.js';
import { Slots } from '../../src/infer/slots.js';

const want = (...pending: number[]) => pending.map((tokens, request) => ({ request, pending: tokens }));
const counts = (shares: readonly { request: number; count: number }[]): Record<number, number> =>
  Object.fromEntries(shares.map(({ request, count }) => [request, count]));

describe('shareStep', () => {
  it('gives a prompt alone the whole step, and little of it beside who speaks', () => {
    expect(counts(shareStep(want(2000), 64))).toEqual({ 0: 256 });
    expect(counts(shareStep(want(1, 2000, 1), 64))).toEqual({ 0: 1, 1: 64, 2: 1 });
  });

  it('keeps half of the room for the prompt that came first, and finishes short ones', () => {
    expect(counts(shareStep(want(2000, 40, 300), 64))).toEqual({ 0: 128, 1: 40, 2: 88 });
    expect(counts(shareStep(want(20, 2000), 64))).toEqual({ 0: 20, 1: 236 });
  });

  it('never gives more than there is, asked for, or fits', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 16, max: 256 }),
        (pending, most) => {
          const shares = shareStep(want(...pending), most);
          const total = shares.reduce((sum, { count }) => sum + count, 0);
          const speaking = pending.filter((tokens) => tokens === 1).length;
          const wanted = pending.reduce((sum, tokens) => sum + tokens, 0) - speaking;
          for (const { request, count } of shares) expect(count).toBeLessThanOrEqual(pending[request]);
          expect(new Set(shares.map(({ request }) => request)).size).toBe(shares.length);
          expect(total).toBe(speaking + Math.min(wanted, speaking > 0 ? most : 256, 256 - speaking));
          const first = pending.findIndex((tokens) => tokens > 1);
          if (first >= 0) expect(counts(shares)[first]).toBeGreaterThan(0);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('Pace', () => {
  it('fits prompts into a step of some 40 ms', () => {
    const pace = new Pace();
    expect(pace.rows).toBe(64);
    for (let i = 0; i < 20; i++) pace.add(64, 64 * 0.5);
    expect(pace.rows).toBe(80);
    for (let i = 0; i < 20; i++) pace.add(64, 64 * 100);
    expect(pace.rows).toBe(16);
    for (let i = 0; i < 50; i++) pace.add(256, 1);
    expect(pace.rows).toBe(256);
    pace.add(1, 1000); // one row reads all weights
    expect(pace.rows).toBe(256);
  });
});

describe('Slots', () => {
  it('are given in the order in which they were asked for', async () => {
    const slots = new Slots(1, 10);
    const first = await slots.take([1], 0, undefined);
    const order: string[] = [];
    const gone = new AbortController();
    const waits = ['a', 'b', 'c'].map((name) =>
      slots.take([1], 0, name === 'b' ? gone.signal : undefined).then((slot) => {
        order.push(slot ? name : `no ${name}`);
        return slot;
      }),
    );
    gone.abort();
    slots.release(first!);
    const late = slots.take([1], 0, undefined).then(() => order.push('late'));
    slots.release((await waits[0])!);
    slots.release((await waits[2])!);
    await late;
    expect(order).toEqual(['no b', 'a', 'c', 'late']);
  });

  it('go on where a conversation was, and spare another one that only begins alike', async () => {
    const slots = new Slots(3, 200);
    const system = Array.from({ length: 50 }, (_, i) => i);
    const [a, b] = [await slots.take([...system, 100], 0, undefined), await slots.take([7], 0, undefined)];
    a!.cached = [...system, ...Array.from({ length: 60 }, () => 100)];
    b!.cached = [7];
    slots.release(a!);
    slots.release(b!);
    const other = await slots.take([...system, 101], 0, undefined);
    expect(other).not.toBe(a);
    expect(slots.mostLike(other!, [...system, 101])).toMatchObject({ slot: a, shared: 50 });
    const same = await slots.take([...system, ...Array.from({ length: 70 }, () => 100)], 0, undefined);
    expect([same, same!.cached.length]).toEqual([a, 110]);
  });
});
