// The one queue of a device: writes, runs and reads are handed over in order, a few runs ahead of what the device has finished, and
// completed in the same order, which is where failures are found out: what failed on the device, or depends on what did. How a
// program is encoded is in executable.ts, what the caller may ask for in backend.ts.

import type { ExecutionFailure, Submission } from '../../tensor/backend.js';
import { ExecutionError, executionError } from '../../tensor/execution.js';
import { opSpec } from '../../tensor/optable.js';
import type { Piece, RunMemory, WebgpuExecutable } from './executable.js';
import { usage, type WebgpuMemory } from './memory.js';

/** Something that waits for its turn: hands over to the device what it can, and says whether that was all. */
interface Item {
  readonly issue: () => boolean;
  readonly issued: () => void;
  readonly failed: (reason: unknown) => void;
}

/** What the segments of a submission share. */
interface Run {
  readonly executable: WebgpuExecutable;
  readonly params: Int32Array<ArrayBuffer>;
  cancelled: boolean;
  failure: ExecutionError | undefined;
  /** What it should have written is known to have failed. */
  spoiled: boolean;
}

/** Command buffers that the device may have before it: enough that it never waits for the host. */
const mostInFlight = 4;

export class WebgpuQueue {
  private readonly items: Item[] = [];
  private completed: Promise<unknown> = Promise.resolve();
  private inFlight = 0;
  private lastLanding = 0;
  private pumping = false;
  private pumpsSoon = false;
  /** Failed runs so far, and how many of them callers have been told of. */
  private failures = 0;
  private observed = 0;
  private lost = false;
  private fault: Error | undefined;
  private closed = false;
  private readonly status: GPUBuffer;
  /** Commands that were not submitted yet: none outside of `pump`; and what follows when they were. */
  private open: GPUCommandEncoder | undefined;
  private readonly following: (() => void)[] = [];

  /**
   * `arenaFor`: the arena's blocks, at least so large, now that a program begins which takes them; or what to wait for before it can be
   * asked again. It throws `ExecutionError` where there is no memory.
   */
  constructor(
    private readonly device: GPUDevice,
    private readonly memory: WebgpuMemory,
    private readonly arenaFor: (blocks: readonly number[]) => readonly GPUBuffer[] | Promise<void>,
  ) {
    this.status = device.createBuffer({ size: 16, usage: usage.storage | usage.copySource | usage.copyTarget });
    void device.lost.then(() => {
      this.lost = true;
      this.pump();
    });
    device.addEventListener('uncapturederror', ({ error }) => {
      this.fault ??= isOutOfMemory(error) ? executionError('allocate', 'out-of-memory') : new Error(`WebGPU: ${error.message}`);
    });
  }

  /** @throws ExecutionError when the device is lost. */
  check(op: ExecutionFailure['op']): void {
    if (this.lost && !this.closed) throw executionError(op, 'device-lost');
  }

  submit(executable: WebgpuExecutable, params: Int32Array): Submission {
    const run: Run = { executable, params: params.slice(), cancelled: false, failure: undefined, spoiled: false };
    const segments = executable.segments.map((_, i) => this.segment(run, i));
    const reached = segments.slice(0, -1);
    for (const promise of reached) promise.catch(() => {}); // `done` tells too
    return {
      done: segments[segments.length - 1],
      reached,
      cancel() {
        run.cancelled = true;
      },
    };
  }

  /**
   * Runs `issue` when everything queued before was handed over to the device, and again until it says that all is done; then
   * `complete`, when everything queued before is complete, with the number of failures that the caller knew of when it called.
   */
  enqueue<T>(op: ExecutionFailure['op'], issue: () => boolean, complete: (acknowledged: number) => T | Promise<T>): Promise<T> {
    const acknowledged = this.observed;
    const issued = new Promise<void>((resolve, reject) => {
      this.items.push({ issue, issued: resolve, failed: reject });
    });
    issued.catch(() => {});
    const result = this.completed.then(async () => {
      try {
        await issued;
        return await complete(acknowledged);
      } catch (error) {
        throw this.reasonOf(error, op);
      }
    });
    this.completed = result.catch(() => {
      this.observed = this.failures;
    });
    // A run and the reads of what it makes are asked for one after another, and go to the device together.
    if (!this.pumpsSoon) queueMicrotask(this.pump);
    this.pumpsSoon = true;
    return result;
  }

  /** Of `issue`: where its commands go. They are submitted at the end of this turn, or by `flush`. */
  get commands(): GPUCommandEncoder {
    this.open ??= this.device.createCommandEncoder();
    return this.open;
  }

  /** Of `issue`: what is to follow when its commands were submitted. */
  onceSubmitted(follow: () => void): void {
    this.following.push(follow);
  }

  /** Submits what `commands` has: before anything else is done to the device, which would overtake it. */
  flush(): void {
    if (!this.open) return;
    const commands = this.open.finish();
    this.open = undefined;
    this.device.queue.submit([commands]);
    for (const follow of this.following.splice(0)) follow();
  }

  /** Drops what waits, and finishes what runs. */
  async close(): Promise<void> {
    this.pump();
    this.closed = true;
    this.pump();
    await this.completed;
  }

  /** Hands over what can be. */
  readonly pump = (): void => {
    if (this.pumping) return;
    this.pumping = true;
    this.pumpsSoon = false;
    while (this.items.length > 0) {
      const { issue, issued, failed } = this.items[0];
      try {
        if (this.closed) failed(executionError('allocate', 'cancelled'));
        else if (this.lost || this.fault) failed(this.fault);
        else if (issue()) issued();
        else break;
      } catch (error) {
        failed(error);
      }
      this.items.shift();
    }
    this.flush();
    this.pumping = false;
  };

  /** Tries again when this has settled; false, for `issue` to return. */
  retryAfter(promise: Promise<unknown>): false {
    promise.then(this.pump, this.pump);
    return false;
  }

  // What the caller is told: a device that is gone rejects all that it was asked with errors of many kinds.
  private reasonOf(error: unknown, op: ExecutionFailure['op']): unknown {
    if (error instanceof ExecutionError) return error;
    if (this.fault) return this.fault;
    if (this.closed) return executionError(op, 'cancelled');
    if (this.lost || !(error instanceof Error) || error.name === 'AbortError') return executionError(op, 'device-lost');
    return error;
  }

  private segment(run: Run, index: number): Promise<void> {
    const { executable, params } = run;
    const segment = executable.segments[index];
    const { records } = executable.program;
    let next = segment.first;
    let begun = index > 0;
    let reported = Promise.resolve(0);
    let blocks: RunMemory | undefined;
    const issue = (): boolean => {
      if (!begun) {
        if (executable.waiting) return this.retryAfter(executable.waiting);
        if (executable.broken) throw executable.broken;
        if (executable.pending) return this.retryAfter(executable.pending);
        const failure = executable.sizeFailure(params) ?? executable.missing;
        if (failure) run.failure = new ExecutionError(failure);
        else {
          this.flush();
          executable.begin(params);
        }
        begun = true;
      }
      while (next < segment.last && !run.failure) {
        if (run.cancelled) {
          const opIndex = executable.recordOf(next);
          run.failure = new ExecutionError({ opIndex, op: records[opIndex].op, code: 'cancelled' });
          break;
        }
        if (this.inFlight >= mostInFlight) return false;
        this.flush();
        try {
          const arena = blocks?.arena ?? this.arenaFor(executable.plan.arena);
          if (arena instanceof Promise) return this.retryAfter(arena);
          blocks ??= { arena, status: this.status };
        } catch (error) {
          if (!(error instanceof ExecutionError)) throw error;
          run.failure = error;
          break;
        }
        const piece = executable.pieceOf(segment, next);
        const { commands } = this;
        if (executable.reports && next === 0) commands.clearBuffer(this.status);
        const pass = commands.beginComputePass();
        executable.encode(pass, piece, blocks);
        pass.end();
        const staging = piece.last === segment.last && executable.reports ? this.memory.takeStaging(4) : undefined;
        if (staging) commands.copyBufferToBuffer(this.status, 0, staging, 0, 4);
        this.onceSubmitted(() => {
          reported = this.landed(executable, piece, staging);
          reported.catch(() => {}); // the last one is awaited, and rejects too
        });
        next = piece.last;
        if (next < segment.last) this.flush();
      }
      return true;
    };
    const first = records[0]?.op ?? 'allocate';
    return this.enqueue(first, issue, async (acknowledged) => {
      if (index === 0) this.checkOperands(run, acknowledged);
      const status = await reported;
      if (status !== 0) run.failure ??= new ExecutionError(this.failureOf(run, status));
      if (this.fault) throw this.fault;
      if (!run.failure) return;
      if (!run.spoiled) this.spoil(executable);
      run.spoiled = true;
      throw run.failure;
    });
  }

  // When a piece is done: what it reported, and how long it took the device, which may have begun it late.
  private async landed(executable: WebgpuExecutable, piece: Piece, staging: GPUBuffer | undefined): Promise<number> {
    const submitted = performance.now();
    this.inFlight++;
    try {
      return await (staging ? this.statusIn(staging) : this.device.queue.onSubmittedWorkDone().then(() => 0));
    } finally {
      const now = performance.now();
      executable.measured(piece, now - Math.max(submitted, this.lastLanding));
      this.lastLanding = now;
      this.inFlight--;
      this.pump();
    }
  }

  private async statusIn(staging: GPUBuffer): Promise<number> {
    await staging.mapAsync(usage.mapRead, 0, 4);
    const [status] = new Uint32Array(staging.getMappedRange(0, 4));
    this.memory.giveBack(staging);
    return status;
  }

  // A run that reads what a failed one should have written.
  private checkOperands(run: Run, acknowledged: number): void {
    const { program, stored } = run.executable;
    for (const [opIndex, { op }] of program.records.entries()) {
      for (const [i, memory] of stored[opIndex].entries()) {
        if (!memory || memory.failed <= acknowledged || opSpec(op).operands[i].access === 'write') continue;
        run.failure ??= new ExecutionError({ opIndex, op, code: 'poisoned' });
        return;
      }
    }
  }

  private failureOf({ executable }: Run, status: number): ExecutionFailure {
    const opIndex = ~status >>> 0;
    return { opIndex, op: executable.program.records[opIndex].op, code: 'index-out-of-range' };
  }

  private spoil({ program, stored }: WebgpuExecutable): void {
    const serial = ++this.failures;
    for (const [index, { op }] of program.records.entries()) {
      for (const [i, memory] of stored[index].entries()) {
        if (memory && opSpec(op).operands[i].access !== 'read') memory.failed = serial;
      }
    }
  }
}

function isOutOfMemory(error: GPUError): boolean {
  return error.constructor.name === 'GPUOutOfMemoryError';
}
