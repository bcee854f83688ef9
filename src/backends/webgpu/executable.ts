// A program made ready for a device: its pipelines on their way, its uniforms and params in device memory, its bind groups, made once.
// `encode` puts a run of its dispatches into a command buffer. Not the order of runs, nor what became of them: queue.ts.

import type { Executable, ExecutionFailure, Program } from '../../tensor/backend.js';
import { sizeOf } from '../../tensor/plan.js';
import type { DeviceTraits, SizeNow } from './dispatch.js';
import { type Stored, usage } from './memory.js';
import { type DeviceMemory, type PlannedDispatch, type ProgramPlan, uniformWords } from './plan.js';
import type { Pipeline, Pipelines } from './shaders.js';

/** Dispatches [first, last). */
export interface Piece {
  readonly first: number;
  readonly last: number;
}

/** What an executable needs of its backend when it runs. */
export interface RunMemory {
  readonly arena: readonly GPUBuffer[];
  readonly status: GPUBuffer;
}

/** What goes to the device together is to take about so long: a run may be cancelled only in between, and the device is kept from all else. */
const pieceMilliseconds = 16;
const leastAtOnce = 16;
const mostAtOnce = 1024;
/** Of what an earlier piece took, by the next one. */
const remembered = 7 / 8;

interface Step extends PlannedDispatch {
  readonly pipeline: Pipeline;
  readonly workgroups: readonly [number, number, number] | undefined;
  group: GPUBindGroup | undefined;
}

export class WebgpuExecutable implements Executable {
  readonly arenaBytes: number;
  /** What lies between cuts. */
  readonly segments: readonly Piece[];
  readonly reports: boolean;
  /** Settles when all pipelines are compiled; undefined when they are. */
  waiting: Promise<unknown> | undefined;
  /** Why one could not be. */
  broken: Error | undefined;
  disposed = false;
  /** Of persistent buffers that it uses. */
  readonly ids: readonly number[];
  private readonly steps: readonly Step[];
  /** Uniforms that never change. */
  private readonly uniforms: GPUBuffer;
  /** What every run sets, by one write: the other uniforms, and behind them, from word `paramsAt` on, the params. */
  private readonly inputs: GPUBuffer;
  private readonly inputWords: Uint32Array<ArrayBuffer>;
  private readonly paramsAt: number;
  /** The arena that the bind groups were made for. */
  private bound: readonly GPUBuffer[] = [];
  private values = new Int32Array(0);
  /** Of a dispatch; a guess at first. */
  private milliseconds = 0.25;
  /** There is memory for all its operands. */
  private allocated = false;
  /** What was measured, older pieces counting for less and less. */
  private readonly sofar = { milliseconds: 0, dispatches: 0 };
  private readonly sizeNow: SizeNow = (dim) => (typeof dim === 'number' ? dim : this.values[dim.param]);

  constructor(
    private readonly device: GPUDevice,
    private readonly traits: DeviceTraits,
    pipelines: Pipelines,
    readonly program: Program,
    readonly plan: ProgramPlan,
    cuts: readonly number[],
    /** Of each record's operands; undefined for what is not persistent. */
    readonly stored: readonly (readonly (Stored | undefined)[])[],
    private readonly forget: (executable: WebgpuExecutable) => void,
  ) {
    this.arenaBytes = plan.arenaBytes;
    this.steps = plan.dispatches.map((planned): Step => {
      const { dispatch, layout } = planned;
      let fixed = true;
      const workgroups = dispatch.workgroups((dim) => {
        if (typeof dim === 'number') return dim;
        fixed = false;
        return dim.max;
      });
      const pipeline = pipelines.get(dispatch, layout);
      return { ...planned, pipeline, workgroups: fixed ? folded(workgroups, traits) : undefined, group: undefined };
    });
    this.reports = this.steps.some(({ pipeline }) => pipeline.reports);
    const unready = new Set(this.steps.map(({ pipeline }) => pipeline).filter(({ pipeline }) => !pipeline));
    if (unready.size > 0) {
      this.waiting = Promise.all([...unready].map(({ ready }) => ready))
        .catch((error: Error) => {
          this.broken = error;
        })
        .then(() => {
          this.waiting = undefined;
        });
    }
    this.segments = this.cutUp(cuts);
    const operands = program.records.flatMap((record) => record.operands);
    this.ids = [...new Set(operands.flatMap((buffer) => (buffer?.kind === 'persistent' ? [buffer.id] : [])))];
    const { fixed, changing } = plan;
    this.uniforms = this.buffer(4 * fixed.length, usage.uniform | usage.copyTarget);
    this.paramsAt = changing.length; // whole dispatches: aligned
    this.inputWords = new Uint32Array(changing.length + program.paramsLength);
    this.inputWords.set(changing);
    this.inputs = this.buffer(4 * this.inputWords.length, usage.uniform | usage.storage | usage.copyTarget);
    device.queue.writeBuffer(this.uniforms, 0, fixed);
  }

  /** Bytes of device memory besides the arena. */
  get bytes(): number {
    return this.uniforms.size + this.inputs.size;
  }

  dispose(): void {
    if (!this.disposed) this.forget(this);
    this.disposed = true;
  }

  destroy(): void {
    this.uniforms.destroy();
    this.inputs.destroy();
  }

  /** What to wait for before it is known whether there is memory for all its operands. */
  get pending(): Promise<unknown> | undefined {
    if (this.allocated) return undefined;
    const operands = this.stored.flat();
    const pending = operands.find((memory) => memory?.pending)?.pending;
    this.allocated = !pending && !operands.some((memory) => memory?.missing);
    return pending;
  }

  /** The first record with an operand that there is no memory for. */
  get missing(): ExecutionFailure | undefined {
    if (this.allocated) return undefined;
    const opIndex = this.stored.findIndex((operands) => operands.some((memory) => memory?.missing));
    return opIndex < 0 ? undefined : { opIndex, op: this.program.records[opIndex].op, code: 'out-of-memory' };
  }

  /** The first record with a size that these params have out of range. */
  sizeFailure(params: Int32Array): ExecutionFailure | undefined {
    for (const [opIndex, { op, ints }] of this.program.records.entries()) {
      if (ints.some((dim) => sizeOf(dim, params) === undefined)) return { opIndex, op, code: 'size-out-of-range' };
    }
    return undefined;
  }

  /** Sets what differs from run to run; to be followed by its pieces, in order. */
  begin(params: Int32Array<ArrayBuffer>): void {
    this.values = params;
    const { inputWords } = this;
    for (const { word, dim } of this.plan.changes) inputWords[word] = params[dim.param];
    inputWords.set(params, this.paramsAt);
    if (inputWords.length > 0) this.device.queue.writeBuffer(this.inputs, 0, inputWords);
  }

  encode(pass: GPUComputePassEncoder, { first, last }: Piece, memory: RunMemory): void {
    if (memory.arena !== this.bound) {
      for (const step of this.steps) step.group = undefined;
      this.bound = memory.arena;
    }
    let pipeline: GPUComputePipeline | undefined;
    for (let i = first; i < last; i++) {
      const step = this.steps[i];
      const [x, y, z] = step.workgroups ?? folded(step.dispatch.workgroups(this.sizeNow), this.traits);
      if (x === 0 || y === 0 || z === 0) continue;
      step.group ??= this.bindGroup(step, memory);
      if (step.pipeline.pipeline !== pipeline) {
        pipeline = step.pipeline.pipeline!;
        pass.setPipeline(pipeline);
      }
      pass.setBindGroup(0, step.group);
      pass.dispatchWorkgroups(x, y, z);
    }
  }

  private bindGroup({ pipeline, layout, changes, uniformAt }: Step, { arena, status }: RunMemory): GPUBindGroup {
    const resourceOf = (memory: DeviceMemory, begin: number, size: number): GPUBufferBinding =>
      memory === 'params'
        ? { buffer: this.inputs, offset: 4 * this.paramsAt + begin, size }
        : { buffer: typeof memory === 'number' ? arena[memory] : memory, offset: begin, size };
    const resources: GPUBufferBinding[] = [
      { buffer: changes ? this.inputs : this.uniforms, offset: 4 * uniformAt, size: 4 * uniformWords },
      ...(pipeline.reports ? [{ buffer: status }] : []),
      ...layout.variables.map(({ buffer, begin, end }) => resourceOf(buffer, begin, end - begin)),
    ];
    const entries = resources.map((resource, binding) => ({ binding, resource }));
    return this.device.createBindGroup({ layout: pipeline.bindings, entries });
  }

  /** As much of a segment, from its dispatch `first` on, as is to go to the device together. */
  pieceOf({ last }: Piece, first: number): Piece {
    const count = Math.min(mostAtOnce, Math.max(leastAtOnce, Math.round(pieceMilliseconds / this.milliseconds)));
    return { first, last: Math.min(last, first + count) };
  }

  /** Tells how long the device took for a piece; of pieces found done together the first one has all their time, and the others none. */
  measured({ first, last }: Piece, milliseconds: number): void {
    const { sofar } = this;
    sofar.milliseconds = sofar.milliseconds * remembered + milliseconds;
    sofar.dispatches = sofar.dispatches * remembered + (last - first);
    this.milliseconds = Math.max(milliseconds / (last - first), sofar.milliseconds / sofar.dispatches);
  }

  private cutUp(cuts: readonly number[]): Piece[] {
    const starts = [0, ...cuts].map((cut) => {
      const at = this.steps.findIndex(({ record }) => record >= cut);
      return at < 0 ? this.steps.length : at;
    });
    return starts.map((first, i) => ({ first, last: starts[i + 1] ?? this.steps.length }));
  }

  /** The record of a dispatch. */
  recordOf(dispatch: number): number {
    return this.steps[dispatch].record;
  }

  private buffer(bytes: number, flags: number): GPUBuffer {
    return this.device.createBuffer({ size: Math.max(256, Math.ceil(bytes / 256) * 256), usage: flags });
  }
}

/** Workgroups in as many dimensions as the device's limit takes. */
function folded([x, y, z]: readonly [number, number, number], { workgroups }: DeviceTraits): readonly [number, number, number] {
  if (x <= workgroups && y <= workgroups && z <= workgroups) return [x, y, z];
  const rows = Math.ceil(x / workgroups);
  if (y !== 1 || z !== 1 || rows > workgroups) throw new Error(`${[x, y, z]} workgroups are more than the device takes`);
  return [Math.ceil(x / rows), rows, 1];
}
