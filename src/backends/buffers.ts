// The table of a backend's persistent buffers, by their numbers, where their memory is held in JavaScript: the reference and WebGPU. What
// the memory is, is theirs; behind the native and the WebAssembly door native/memory.cc keeps such a table.

import type { DeviceBuffer, DType, Layout, Program } from '../tensor/backend.js';
import { checkRecord } from '../tensor/plan.js';
import { checkView } from '../tensor/transfers.js';

/** One count for all: a buffer of another backend is unknown in a table. */
let lastId = 0;

/** `Memory`: what is kept of a buffer; its `length` is in elements. */
export class BufferTable<Memory extends { readonly length: number }> {
  private readonly memories = new Map<number, Memory>();

  add<Type extends DType>(
    dtype: Type,
    layout: Layout,
    shape: readonly number[],
    bytes: number,
    memory: Memory,
  ): DeviceBuffer<Type> {
    const id = ++lastId;
    this.memories.set(id, memory);
    return { kind: 'persistent', id, dtype, layout, shape: [...shape], bytes, offset: 0 };
  }

  /** What a persistent buffer, or a view of one, lies in. @throws Error, after `where`, when it was freed or is unknown, or ends past its memory. */
  of(buffer: DeviceBuffer, where = ''): Memory {
    const memory = this.memories.get(buffer.id);
    if (!memory) throw new Error(`${where}a buffer that is unknown or freed`);
    checkView(buffer, memory.length, where);
    return memory;
  }

  /** What the persistent operands of a program's records lie in, in the records' order. @throws Error when a record breaks the op table, and as `of`. */
  ofOperands(program: Program): (Memory | undefined)[][] {
    return program.records.map((record, index) => {
      checkRecord(record, program);
      return record.operands.map((buffer) => (buffer?.kind === 'persistent' ? this.of(buffer, `record ${index}: `) : undefined));
    });
  }

  has(id: number): boolean {
    return this.memories.has(id);
  }

  /** Forgets a buffer; undefined when that was done, or there is none such. */
  remove({ kind, id }: DeviceBuffer): Memory | undefined {
    const memory = kind === 'persistent' ? this.memories.get(id) : undefined;
    if (memory) this.memories.delete(id);
    return memory;
  }

  clear(): void {
    this.memories.clear();
  }
}
