// What a failed run is to the caller: which record, which op, which code. Not for bad input of users (errors.ts) and not
// for mistakes in encoding, which throw plain errors where they are made.

import type { ExecutionFailure } from './backend.js';

const sentences: Record<ExecutionFailure['code'], string> = {
  'index-out-of-range': 'an index points outside its table',
  'size-out-of-range': 'a size in the params exceeds what the program was planned for',
  'out-of-memory': 'there is not enough memory',
  cancelled: 'it was cancelled',
  poisoned: 'it depends on a run that failed before it',
  'device-lost': 'the GPU was lost: its driver was reset, or the system took it away; open the model again',
};

/** A rejected submission, upload, write or read. */
export class ExecutionError extends Error implements ExecutionFailure {
  override readonly name = 'ExecutionError';
  readonly opIndex: number;
  readonly op: ExecutionFailure['op'];
  readonly code: ExecutionFailure['code'];

  constructor(failure: ExecutionFailure) {
    const where = failure.opIndex >= 0 ? `${failure.op} (record ${failure.opIndex})` : failure.op;
    super(failure.code === 'device-lost' ? sentences['device-lost'] : `${where} failed: ${sentences[failure.code]}`);
    this.opIndex = failure.opIndex;
    this.op = failure.op;
    this.code = failure.code;
  }
}

/** A failure of no record: of `op` itself. */
export function executionError(op: ExecutionFailure['op'], code: ExecutionFailure['code']): ExecutionError {
  return new ExecutionError({ opIndex: -1, op, code });
}

/** What befell the GPU that computed, in words, where a CPU could go on; undefined for other errors. */
export function gpuFailure(error: unknown): string | undefined {
  if (!(error instanceof ExecutionError)) return undefined;
  if (error.code === 'device-lost') return 'was lost';
  return error.code === 'out-of-memory' ? 'ran out of memory' : undefined;
}

/** Whether something failed for want of memory: the backend's, or JavaScript's. */
export function isOutOfMemory(error: unknown): boolean {
  if (error instanceof ExecutionError) return error.code === 'out-of-memory';
  return error instanceof RangeError && /allocation failed|out of memory/i.test(error.message);
}
