// What computes in a worker: how it is asked for, how it is opened, and what a page is told of it.

import type { Backend } from '../tensor/backend.js';

export interface BackendOptions {
  readonly threads?: number;
  readonly isa?: 'simd' | 'relaxed' | 'dot';
  readonly wasm?: string;
}

/** What computes. */
export interface Computing {
  readonly description: string;
  readonly isa: string;
  readonly threads: number;
}

export type OpenBackend = (options: BackendOptions) => Promise<Backend & { readonly isa?: string }>;

export function computing({ description, isa = '', limits }: Awaited<ReturnType<OpenBackend>>): Computing {
  return { description, isa, threads: limits.threads };
}
