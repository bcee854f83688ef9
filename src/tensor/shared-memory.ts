// Memory of a backend that others work on beside its queue: what sums over processes need. Types; backends that can share theirs implement
// them, and everything else goes through `backend.ts`.

import type { Backend, DeviceBuffer } from './backend.js';

/** f32 elements outside of JavaScript's memory: the first one's address, and how many they are. */
export interface MappedMemory {
  readonly address: bigint;
  readonly length: number;
}

/** f32 `rows` buffers, or views of them, while nothing queued uses them. In 16 bits elements are bf16. */
export interface SharedMemory {
  /** Where it lies. */
  of(buffer: DeviceBuffer<'f32'>): Float32Array | MappedMemory;
  /** Makes it zeros; their pages go back to the system, where it takes them. */
  clear(buffer: DeviceBuffer<'f32'>): void;
  /** Rounds `values + error`, and leaves in `error` what is lost; 0 where the result is not finite. */
  round(values: DeviceBuffer<'f32'>, error: Float32Array, rounded: Uint16Array): Promise<void>;
  /** The sum, in f32 and from the first to the last, of parts that lie one behind the other. */
  sum(parts: Uint16Array, into: DeviceBuffer<'f32'>): Promise<void>;
}

export interface SharingBackend extends Backend {
  readonly memory: SharedMemory;
}

/** A backend's memory, if it can be shared. */
export function sharedMemory(backend: Backend): SharedMemory | undefined {
  return (backend as Partial<SharingBackend>).memory;
}
