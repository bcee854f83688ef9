// Records that run as one: on a GPU each dispatch waits for the one before, and a token of a small model is little else. Looks for a
// few sequences of records that follow each other, where what passes between them is read by the next one alone; the planners of
// products and attention know how they run together. Nothing is moved, and a cut between two records keeps them apart.

import type { OpRecord, Program } from '../../tensor/backend.js';
import type { OpName } from '../../tensor/optable.js';
import { opSpec } from '../../tensor/optable.js';
import { maxOf } from '../../tensor/plan.js';
import { attendNew } from './attend-new.js';
import { planAttention, splitAttention } from './attention.js';
import type { Dispatch, OpCall } from './dispatch.js';
import { productOf } from './linear.js';
import { fewRows, type Product, planProduct } from './matmul.js';

/** `count` records from the asked one on, and what they run as. */
export interface Fused {
  readonly count: number;
  readonly dispatches: readonly Dispatch[];
}

type CallOf = <Op extends OpName>(record: OpRecord) => OpCall<Op>;

/** Finds what records of a program run as one. */
export class Fuser {
  /** How many records read each arena buffer. */
  private readonly readers = new Map<number, number>();

  constructor(
    private readonly program: Program,
    private readonly cuts: readonly number[],
    private readonly callOf: CallOf,
  ) {
    for (const { op, operands } of program.records) {
      for (const [i, buffer] of operands.entries()) {
        if (buffer?.kind !== 'arena' || opSpec(op).operands[i].access === 'write') continue;
        this.readers.set(buffer.id, (this.readers.get(buffer.id) ?? 0) + 1);
      }
    }
  }

  /** What begins with record `index`; undefined where it runs alone. */
  at(index: number): Fused | undefined {
    switch (this.program.records[index].op) {
      case 'rmsNorm':
        return this.normed(index);
      case 'linear':
        return this.gated(index);
      case 'gatherRows':
        return this.gathered(index);
      case 'qkNormRope':
        return this.attended(index);
      default:
        return undefined;
    }
  }

  /** The norm of a few rows into the product that takes them, and into the gate behind that. */
  private normed(index: number): Fused | undefined {
    const norm = this.program.records[index];
    const linear = this.follower(index, index + 1, 'linear', 'x');
    if (!linear || maxOf(norm.ints[0]) > fewRows) return undefined;
    const call = this.callOf<'rmsNorm'>(norm);
    const product: Product = {
      ...productOf(this.callOf<'linear'>(linear)),
      x: call.operand('x'),
      norm: { weight: call.operand('weight'), eps: call.constant('eps') },
    };
    return this.attendedAt(index, product) ?? this.withGate(index, index + 1, product) ?? fused(2, planProduct(product));
  }

  private gated(index: number): Fused | undefined {
    return this.withGate(index, index, productOf(this.callOf<'linear'>(this.program.records[index])));
  }

  private withGate(first: number, linear: number, product: Product): Fused | undefined {
    const swiglu = this.follower(first, linear + 1, 'swiglu', 'x');
    if (!swiglu || product.residual) return undefined;
    const out = this.callOf<'swiglu'>(swiglu).operand('out');
    return fused(linear + 2 - first, planProduct({ ...product, gate: true, out }));
  }

  /** Wanted rows of the input and of the residual, picked by the product itself. */
  private gathered(index: number): Fused | undefined {
    const [record, other] = this.program.records.slice(index, index + 2);
    if (other?.op !== 'gatherRows' || maxOf(record.ints[0]) > fewRows) return undefined;
    const same = record.operands[1] === other.operands[1] && record.ints[0] === other.ints[0] && record.ints[2] === other.ints[2];
    const linear = this.follower(index, index + 2, 'linear', 'residual');
    if (!same || !linear || linear.operands[0] !== record.operands[2] || !this.isReadOnce(record)) return undefined;
    const [x, residual] = [record, other].map((each) => this.callOf<'gatherRows'>(each));
    const indices = { rows: x.operand('indices'), sourceRows: x.size('sourceRows') };
    const product = productOf(this.callOf<'linear'>(linear));
    return fused(3, planProduct({ ...product, x: x.operand('x'), residual: residual.operand('x'), indices }));
  }

  /** A single row from the norm before attention to the residual behind it. */
  private attendedAt(index: number, product: Product): Fused | undefined {
    const before = this.follower(index, index + 2, 'qkNormRope', 'qkv');
    const attention = before && this.attentionBehind(index, index + 2);
    if (!attention || !this.isReadOnce(attention)) return undefined;
    const behind = this.productBehind(index, index + 3);
    if (!behind) return undefined;
    const split = attendNew(product, this.callOf<'qkNormRope'>(before), this.callOf<'attention'>(attention));
    const joined = split && planProduct({ ...behind.product, x: split.shares.x, joined: split.shares });
    return joined && fused(4 + behind.count, [split.dispatch, ...joined]);
  }

  /** A single row's heads in attention, and the shares of attention put together by the product that follows. */
  private attended(index: number): Fused | undefined {
    const attention = this.attentionBehind(index, index);
    if (!attention) return undefined;
    const before = this.program.records[index];
    const call = this.callOf<'attention'>(attention);
    const made = this.callOf<'qkNormRope'>(before);
    const split = splitAttention(call, made);
    if (split?.shares && this.isReadOnce(attention)) {
      const behind = this.productBehind(index, index + 1);
      const joined = behind && planProduct({ ...behind.product, x: split.shares.x, joined: split.shares });
      if (joined) return fused(2 + behind.count, [split.dispatch, ...joined]);
    }
    return fused(2, planAttention(call, made));
  }

  /** Attention of the single row whose heads record `at` makes, over the cache that it puts them into. */
  private attentionBehind(first: number, at: number): OpRecord | undefined {
    const before = this.program.records[at];
    const attention = this.follower(first, at + 1, 'attention', 'query');
    const sameCache = attention && [1, 2].every((i) => attention.operands[i] === before.operands[6 + i]);
    return sameCache && maxOf(before.ints[0]) <= 1 ? attention : undefined;
  }

  /** The product that takes what attention, record `at`, makes, at once or through gatherRows; and how many records that is. */
  private productBehind(first: number, at: number): { product: Product; count: number } | undefined {
    const linear = this.follower(first, at + 1, 'linear', 'x');
    if (linear) return { product: productOf(this.callOf<'linear'>(linear)), count: 1 };
    const attention = this.program.records[at];
    const [gather, residual, behind] = this.program.records.slice(at + 1, at + 4);
    const isGathered = gather?.op === 'gatherRows' && gather.operands[0] === attention.operands[5] && behind?.op === 'linear';
    if (!isGathered || this.isCut(first, at + 3)) return undefined;
    const same =
      residual.op === 'gatherRows' && residual.operands[1] === gather.operands[1] && residual.ints[0] === gather.ints[0];
    const meet = behind.operands[0] === gather.operands[2] && behind.operands[2] === residual.operands[2];
    if (!same || !meet || !this.isReadOnce(gather) || !this.isReadOnce(residual)) return undefined;
    const [x, chosen] = [gather, residual].map((each) => this.callOf<'gatherRows'>(each));
    if (maxOf(x.size('rows')) > 1) return undefined;
    const indices = { rows: x.operand('indices'), sourceRows: x.size('sourceRows') };
    return { product: { ...productOf(this.callOf<'linear'>(behind)), residual: chosen.operand('x'), indices }, count: 3 };
  }

  /** Record `at`, if it is of that op, takes what the one before writes last as that operand, alone, and is not cut off from `first`. */
  private follower(first: number, at: number, op: OpName, operand: string): OpRecord | undefined {
    const [before, record] = this.program.records.slice(at - 1, at + 1);
    if (record?.op !== op || this.isCut(first, at) || !this.isReadOnce(before)) return undefined;
    const taken = record.operands[opSpec(op).operands.findIndex(({ name }) => name === operand)];
    return taken === writtenBy(before) && before.ints[0] === record.ints[0] ? record : undefined;
  }

  private isReadOnce(record: OpRecord): boolean {
    const buffer = writtenBy(record);
    return buffer?.kind === 'arena' && this.readers.get(buffer.id) === 1;
  }

  private isCut(first: number, last: number): boolean {
    return this.cuts.some((cut) => cut > first && cut <= last);
  }
}

/** What a record's op computes: its first written operand. */
function writtenBy({ op, operands }: OpRecord) {
  return operands[opSpec(op).operands.findIndex(({ access }) => access === 'write')];
}

function fused(count: number, dispatches: readonly Dispatch[] | undefined): Fused | undefined {
  return dispatches && { count, dispatches };
}
