// The derivative of every op, in one table, and the tape that walks a program's records back over it. A rule appends the
// derivative's records and says which gradients they made; a gradient that an operand already has is handed to the rule, which
// adds to it. Ops without a rule (argmax, copy, ...) stop gradients. The arithmetic is in `backends/reference-gradients.ts`.

import type { DeviceBuffer, OpRecord } from './backend.js';
import type { Ops, Tensor } from './ops.js';
import type { OpName } from './optable.js';
import { opSpec } from './optable.js';

/** What a rule has at hand for one record. */
interface Step {
  readonly ops: Ops;
  readonly record: OpRecord;
  /** What an operand, by its name in the op table, holds; null when it was left out. */
  at(name: string): DeviceBuffer | null;
  /** The gradient of the loss by an output, which is known to be there. */
  grad(name: string): DeviceBuffer;
  /** The gradient that an input has from ops further on, or null. */
  existing(name: string): DeviceBuffer | null;
  /** Whether something that is trained lies behind an input. */
  wants(name: string): boolean;
  /** A new buffer for an input's gradient, which takes the place of the existing one. */
  fresh(name: string): DeviceBuffer;
  /** The gradient that an input has, if nothing else has it too: it may be changed where it is. */
  owned(name: string): DeviceBuffer | null;
  /** What an input holds, to be replaced by its gradient: nothing else may want it any more. */
  inPlace(name: string): DeviceBuffer;
  /** Where a parameter's gradient is added up; null for what is not trained. */
  parameterGrad(name: string): DeviceBuffer | null;
  /** One more than the id whose embedding takes no gradient; 0 for none. */
  readonly skip: number;
  /** Passes an output's gradient on as it is to an input, unless that was left out. */
  passOn(from: string, to: string): void;
}

type Rule = (step: Step) => void;

export const gradientRules: Partial<Record<OpName, Rule>> = {
  embedding: ({ ops, record, at, grad, parameterGrad, skip }) => {
    const table = parameterGrad('table');
    const [rows, columns, tableRows] = record.ints;
    if (table) ops.derivative('embeddingGrad', [grad('out'), at('ids'), table], [rows, columns, tableRows, skip]);
  },
  rmsNorm: ({ ops, record, at, grad, existing, fresh, parameterGrad }) => {
    const operands = [at('x'), at('weight'), grad('out'), existing('x'), fresh('x'), parameterGrad('weight')];
    ops.derivative('rmsNormGrad', operands, record.ints, record.floats);
  },
  linear: ({ ops, record, at, grad, existing, wants, fresh, owned, parameterGrad, passOn }) => {
    const [rows, inputs, outputs] = record.ints;
    const weightGrad = parameterGrad('weight');
    if (weightGrad) ops.derivative('linearWeightGrad', [grad('out'), at('x'), weightGrad], [rows, inputs, outputs]);
    if (wants('x')) {
      const before = existing('x');
      ops.derivative('linearInputGrad', [grad('out'), at('weight'), before, owned('x') ?? fresh('x')], [rows, inputs, outputs]);
    }
    passOn('out', 'residual');
  },
  qkNormRope: ({ ops, record, at, grad, fresh, parameterGrad }) => {
    const inputs = ['qkv', 'queryNorm', 'keyNorm', 'rope', 'positions', 'kvRows'].map(at);
    const outputs = ['query', 'keys', 'values'].map(grad);
    const norms = ['queryNorm', 'keyNorm'].map(parameterGrad);
    ops.derivative('qkNormRopeGrad', [...inputs, ...outputs, fresh('qkv'), ...norms], record.ints, record.floats);
  },
  attention: ({ ops, record, at, grad, fresh }) => {
    const inputs = ['query', 'keys', 'values', 'sequences', 'segments', 'out', 'logsumexp'].map(at);
    const made = ['query', 'keys', 'values'].map(fresh);
    ops.derivative('attentionGrad', [...inputs, grad('out'), ...made], record.ints, record.floats);
  },
  swiglu: ({ ops, record, grad, inPlace }) => {
    ops.derivative('swigluGrad', [inPlace('x'), grad('out')], record.ints);
  },
  silu: ({ ops, record, grad, inPlace }) => {
    ops.derivative('siluGrad', [inPlace('x'), grad('out')], record.ints);
  },
  dropout: ({ ops, record, grad, existing, fresh }) => {
    ops.derivative('dropout', [grad('out'), existing('x'), fresh('x')], record.ints, record.floats);
  },
  scaleColumns: ({ ops, record, at, grad, existing, wants, fresh, passOn }) => {
    const table = wants('table') ? [at('x'), fresh('table')] : [null, null];
    const operands = [grad('out'), table[0], at('table'), at('ids'), existing('x'), fresh('x'), table[1]];
    ops.derivative('scaleColumnsGrad', operands, record.ints);
    passOn('out', 'residual');
  },
  doraFactors: ({ ops, record, at, grad, parameterGrad }) => {
    const magnitude = parameterGrad('magnitude');
    if (magnitude) ops.derivative('doraFactorsGrad', [grad('out'), at('norms'), magnitude], [record.ints[1]]);
  },
};

/** Ops whose rule cannot add to a gradient that an input already has: the model never uses such an input twice. */
const soleUse: Partial<Record<OpName, readonly string[]>> = {
  qkNormRope: ['qkv'],
  attention: ['query', 'keys', 'values'],
  swiglu: ['x'],
  silu: ['x'],
  scaleColumns: ['table'],
};

/** Ops that take little time beside the memory of what they make: it is made again on the way back instead of being kept. */
const remade: ReadonlySet<OpName> = new Set<OpName>(['rmsNorm', 'qkNormRope', 'swiglu', 'silu', 'dropout']);

const keyOf = ({ kind, id, offset }: DeviceBuffer): string => `${kind} ${id} ${offset}`;

/** The gradients of parameters: where each is added up. */
export interface ParameterGrads {
  of(parameter: DeviceBuffer): DeviceBuffer | undefined;
}

/** Pairs of a parameter and the buffer for its gradient. */
export function parameterGrads(pairs: Iterable<readonly [parameter: DeviceBuffer, grad: DeviceBuffer]>): ParameterGrads {
  const table = new Map([...pairs].map(([parameter, grad]) => [keyOf(parameter), grad]));
  return { of: (parameter) => table.get(keyOf(parameter)) };
}

/** Gradients of intermediate results while records are walked backwards. One for a program. */
export class Tape {
  private readonly grads = new Map<string, DeviceBuffer>();
  /** The records whose results are made again, and what was. */
  private readonly makers = new Map<string, OpRecord>();
  private readonly again = new Map<string, DeviceBuffer>();
  /** What depends on something that is trained. */
  private readonly live = new Set<string>();
  /** Gradients that were passed on: of several buffers at once. */
  private readonly passed = new Set<DeviceBuffer>();
  private readonly rounded = new Map<string, { packed: DeviceBuffer; tensor: Tensor }>();

  constructor(
    private readonly ops: Ops,
    private readonly parameters: ParameterGrads,
    /** Ids whose embedding takes no gradient from the look-up (torch's `padding_idx`). */
    private readonly paddingId?: number,
  ) {}

  /** Takes records in, in their order, before any is walked back over: where nothing that is trained lies behind, no gradient goes. */
  observe(records: readonly OpRecord[]): void {
    for (const record of records) {
      const reads = opSpec(record.op).operands.flatMap(({ access }, i) => (access === 'write' ? [] : [record.operands[i]]));
      if (reads.some((buffer) => buffer && this.isLive(buffer)))
        for (const buffer of written(record)) this.live.add(keyOf(buffer));
    }
  }

  /** Wants the gradient of something that is no parameter; before the records that read it are observed. */
  watch(buffer: DeviceBuffer): void {
    this.live.add(keyOf(buffer));
  }

  private isLive(buffer: DeviceBuffer): boolean {
    return this.live.has(keyOf(buffer)) || this.parameters.of(buffer) !== undefined;
  }

  /** Says what the gradient of a result is, where the walk begins. */
  seed(result: DeviceBuffer, grad: DeviceBuffer): void {
    this.passed.add(grad); // the caller's
    this.grads.set(keyOf(result), grad);
  }

  gradOf(result: DeviceBuffer): DeviceBuffer | undefined {
    return this.grads.get(keyOf(result));
  }

  /**
   * Keeps what these records made, and x that they read, in 16 bits: rules then see rounded values. Only what nothing after them reads:
   * `output` is left as it is. Records: those of a layer, from x to output.
   */
  keepRounded(x: Tensor, records: readonly OpRecord[], output: Tensor): void {
    const results = records.flatMap(({ op, operands, ints }): Tensor[] => {
      const at = opSpec(op).operands.findIndex(({ name }) => name === 'out');
      const buffer = operands[at];
      return at < 0 || !buffer || remade.has(op) ? [] : [{ buffer, rows: ints[0], columns: buffer.shape[1] }];
    });
    for (const tensor of [x, ...results]) {
      const key = keyOf(tensor.buffer);
      if (tensor.buffer === output.buffer || this.rounded.has(key)) continue;
      this.rounded.set(key, { packed: this.ops.packInt16(tensor), tensor });
    }
  }

  /** Appends the derivatives of these records, the last first. Records whose results have no gradient are passed over. */
  backward(records: readonly OpRecord[]): void {
    for (const record of records) {
      if (!remade.has(record.op)) continue;
      for (const buffer of written(record)) if (buffer.kind === 'arena') this.makers.set(keyOf(buffer), record);
    }
    for (const record of [...records].reverse()) {
      if (written(record).some((buffer) => this.grads.has(keyOf(buffer)))) gradientRules[record.op]?.(this.step(record));
    }
  }

  /** A buffer with what the forward pass left in this one. */
  private valueOf(buffer: DeviceBuffer): DeviceBuffer {
    const key = keyOf(buffer);
    const made = this.again.get(key);
    if (made) return made;
    const kept = this.rounded.get(key);
    if (kept) {
      const { rows, columns } = kept.tensor;
      this.again.set(key, this.ops.unpackInt16(kept.packed, rows, columns).buffer);
    }
    const maker = this.makers.get(key);
    if (maker) {
      for (const result of written(maker)) this.again.set(keyOf(result), this.ops.outputLike(result));
      const operands = maker.operands.map((operand) => operand && this.valueOf(operand));
      this.ops.derivative(maker.op, operands, maker.ints, maker.floats);
    }
    return this.again.get(key) ?? buffer;
  }

  private step(record: OpRecord): Step {
    const { operands } = opSpec(record.op);
    const own = (name: string): DeviceBuffer | null => record.operands[operands.findIndex((operand) => operand.name === name)];
    const at = (name: string): DeviceBuffer | null => {
      const buffer = own(name);
      return buffer && this.valueOf(buffer);
    };
    const existing = (name: string): DeviceBuffer | null => this.gradOf(own(name)!) ?? null;
    const setGrad = (name: string, made: DeviceBuffer): DeviceBuffer => {
      if (existing(name) && soleUse[record.op]?.includes(name)) throw new Error(`${record.op}: '${name}' is used twice`);
      this.grads.set(keyOf(own(name)!), made);
      return made;
    };
    const ops = this.ops;
    const step: Step = {
      ops,
      record,
      at,
      grad: (name) => {
        const found = this.gradOf(own(name)!);
        if (!found) throw new Error(`${record.op}: '${name}' has no gradient`);
        return found;
      },
      existing,
      wants: (name) => this.isLive(own(name)!),
      skip: this.paddingId === undefined ? 0 : this.paddingId + 1,
      fresh: (name) => setGrad(name, ops.outputLike(own(name)!)),
      owned: (name) => {
        const found = existing(name);
        return found && !this.passed.has(found) ? found : null;
      },
      inPlace: (name) => setGrad(name, at(name)!),
      parameterGrad: (name) => {
        const parameter = own(name);
        return (parameter && this.parameters.of(parameter)) ?? null;
      },
      passOn: (from, to) => {
        const input = own(to);
        if (!input || !this.isLive(input) || keyOf(input) === keyOf(own(from)!)) return;
        if (existing(to)) throw new Error(`${record.op}: '${to}' has a gradient already`);
        this.passed.add(step.grad(from));
        this.grads.set(keyOf(input), step.grad(from));
      },
    };
    return step;
  }
}

/** The buffers that a record writes. */
function written({ op, operands }: OpRecord): DeviceBuffer[] {
  return opSpec(op).operands.flatMap(({ access }, i) => (access !== 'read' && operands[i] ? [operands[i]] : []));
}
