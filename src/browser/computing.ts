// What computes in a worker: how it is asked for, how it is opened, and what a page is told of it. Which one it is, is choose.ts's.

import type { Arithmetic } from '../backends/webgpu/choices.js';
import type { Backend } from '../tensor/backend.js';

export interface BackendOptions {
  /** Default `auto`: the GPU where it was measured to be faster than WebAssembly; for training WebAssembly. */
  readonly backend?: 'auto' | 'webgpu' | 'wasm';
  /** Which GPU, where there are several. */
  readonly powerPreference?: 'high-performance' | 'low-power';
  /** What a GPU multiplies prompts in. Default f32; f16 is faster where the GPU has it, within 0.2%; with `webgpu` an error where it has not. */
  readonly arithmetic?: Arithmetic;
  /** WebAssembly's. */
  readonly threads?: number;
  readonly isa?: 'simd' | 'relaxed' | 'dot';
  readonly wasm?: string;
}

/** What computes. */
export interface Computing {
  /** `webgpu` or `wasm`. */
  readonly name: string;
  readonly description: string;
  /** Why it is this one, in words. */
  readonly reason: string;
  readonly isa: string;
  readonly threads: number;
}

export type ChosenBackend = Backend & { readonly isa?: string; readonly reason?: string };

/** `weightBytes`: of the model that it is opened for. */
export type OpenBackend = (options: BackendOptions, weightBytes: number) => Promise<ChosenBackend>;

export function computing({ name, description, reason = '', isa = '', limits }: ChosenBackend): Computing {
  return { name, description, reason, isa, threads: limits.threads };
}
