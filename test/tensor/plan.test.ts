// The encoder refuses what breaks the contract, the planner never lets two living buffers share a place, and the generated
// header is up to date.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeviceBuffer, Program } from '../../src/tensor/backend.js';
import { Ops } from '../../src/tensor/ops.js';
import { opNames } from '../../src/tensor/optable.js';
import { alignment, encodeWords, planArena, sizeOf, withoutUnread } from '../../src/tensor/plan.js';
import { headerPath, opTableHeader } from '../../tools/op-table.js';

const persistent = (shape: number[], id = 1): DeviceBuffer => ({
  kind: 'persistent',
  id,
  dtype: 'f32',
  layout: 'rows',
  shape,
  bytes: 4 * shape.reduce((a, b) => a * b, 1),
  offset: 0,
});
const weight = (shape: number[]): DeviceBuffer => ({ ...persistent(shape, 2), layout: 'weight' });
const tensor = (rows: number, columns: number) => ({ buffer: persistent([rows, columns]), rows, columns });

describe('leaving out what nothing reads', () => {
  it('keeps what ends in a persistent buffer, and what that needs', () => {
    const ops = new Ops();
    const used = ops.silu(tensor(2, 8));
    const unread = ops.rmsNorm(used, persistent([8], 3), 1e-6);
    ops.silu(unread);
    ops.copy(used, persistent([2, 8], 4));
    ops.linear(used, weight([4, 8]), { residual: ops.linear(used, weight([4, 8])) });
    const program = ops.finish();
    expect(program.records).toHaveLength(6);
    expect(withoutUnread(program).records.map(({ op }) => op)).toEqual(['silu', 'copy']);
  });
});

describe('encoding', () => {
  it('names the op whose shapes do not fit', () => {
    const ops = new Ops();
    expect(() => ops.linear(tensor(2, 8), weight([4, 9]))).toThrow('linear: the weight takes 9 inputs, x has 8 columns');
    expect(() => ops.rmsNorm(tensor(2, 8), persistent([9]), 1e-6)).toThrow("rmsNorm: 'weight' has shape [9], [8] expected");
    expect(() => ops.embedding(weight([4, 8]), ops.params(1), 2)).toThrow("embedding: 'ids' has 1 elements, 2 needed");
    expect(() => ops.embedding(ops.params(32), ops.params(2), 2)).toThrow(
      'embedding: the weight has shape [32], not two dimensions',
    );
  });

  it('lets a product be added to what lies there only where the op can', () => {
    const ops = new Ops();
    const x = ops.silu(tensor(2, 8));
    const base = ops.linear(x, weight([4, 8]));
    expect(ops.linear(x, persistent([4, 8], 3), { residual: base, into: base.buffer })).toEqual(base);
    const both = 'linear: reads and writes the same memory through two operands';
    expect(() => ops.linear(x, weight([4, 8]), { residual: base, into: base.buffer })).toThrow(both);
    expect(() => ops.linear(x, persistent([8, 8], 3), { into: x.buffer })).toThrow(both);
  });

  it('refuses handles of another program, and any after the end', () => {
    const first = new Ops();
    const made = first.silu(tensor(2, 8));
    expect(() => new Ops().silu(made)).toThrow('belongs to another program');
    first.finish();
    expect(() => first.silu(made)).toThrow('this program is finished');
  });

  it('refuses an op that reads what it writes', () => {
    const ops = new Ops();
    const x = tensor(2, 8);
    expect(() => ops.copy(x, x.buffer)).toThrow('reads and writes the same memory');
  });

  it('reads dynamic sizes from the params, within their bound', () => {
    expect(sizeOf(7, new Int32Array(0))).toBe(7);
    expect(sizeOf({ param: 1, max: 5 }, Int32Array.of(0, 5))).toBe(5);
    expect(sizeOf({ param: 1, max: 5 }, Int32Array.of(0, 6))).toBeUndefined();
    expect(sizeOf({ param: 1, max: 5 }, Int32Array.of(0, -1))).toBeUndefined();
  });

  it('writes words that hold op, operands, sizes and constants', () => {
    const ops = new Ops();
    const x = ops.silu(tensor(2, 64));
    ops.rmsNorm(x, persistent([64], 9), 0.5);
    const program = ops.finish();
    const words = [...encodeWords(program, planArena(program))];
    expect(words.slice(0, 13)).toEqual([opNames.indexOf('silu'), 1, 1, 0, 128, 2, 0, 0, 128, 2, -1, 64, -1]);
    expect(words.slice(13)).toEqual([
      opNames.indexOf('rmsNorm'),
      2,
      0,
      0,
      128,
      1,
      9,
      0,
      64,
      2,
      2,
      0,
      128,
      2,
      -1,
      64,
      -1,
      0x3f000000,
    ]);
  });
});

describe('planning', () => {
  it('never overlaps two buffers that live at once, and reuses places', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 300 })), { minLength: 1, maxLength: 40 }),
        fc.boolean(),
        (steps, inBlocks) => {
          const block = inBlocks ? 1280 : Number.POSITIVE_INFINITY;
          const ops = new Ops();
          const made = [ops.silu(tensor(1, 5))];
          for (const [pick, columns] of steps) {
            const source = made[pick % made.length];
            const wide = ops.linear(source, weight([columns, source.columns]));
            made.push(wide);
          }
          const program = ops.finish();
          const plan = planArena(program, block);
          const life = program.arena.map((buffer) => {
            const uses = program.records.flatMap((record, i) => (record.operands.includes(buffer) ? [i] : []));
            return { buffer, from: uses[0], to: uses[uses.length - 1], start: plan.offsets[buffer.id] };
          });
          for (const a of life) {
            expect(a.start % alignment).toBe(0);
            expect(a.start + a.buffer.bytes).toBeLessThanOrEqual(plan.bytes);
            expect((a.start % block) + a.buffer.bytes).toBeLessThanOrEqual(block);
            for (const b of life) {
              if (a === b || a.from > b.to || b.from > a.to) continue;
              expect(a.start + a.buffer.bytes <= b.start || b.start + b.buffer.bytes <= a.start).toBe(true);
            }
          }
        },
      ),
    );
  });

  it('needs only two places for a chain', () => {
    const ops = new Ops();
    let x = ops.silu(tensor(4, 64));
    for (let i = 0; i < 10; i++) x = ops.silu(x);
    const program: Program = ops.finish();
    expect(planArena(program).bytes).toBe(2 * 4 * 64 * 4);
    expect(() => planArena(program, 512)).toThrow(/not enough memory/);
  });
});

describe('the generated header', () => {
  it('is what the op table gives', () => {
    expect(readFileSync(headerPath, 'utf8')).toBe(opTableHeader());
  });
});
