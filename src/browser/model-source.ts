// Where a model comes from: what an address or a hub id names, and under which key its files are kept. How they come is model-files.ts's,
// whether they are here kept-models.ts's.

import { WEIGHTS_FILE } from '../io/weights-files.js';

export interface HubOptions {
  /** Default `main`. */
  readonly revision?: string;
  /** Default https://huggingface.co */
  readonly endpoint?: string;
  /** For gated and private models. */
  readonly token?: string;
}

export interface FileOptions {
  readonly hub?: HubOptions;
  /** Names of the files at an address, or where each of them lies; without it each that a model may have is asked for. */
  readonly files?: readonly string[] | Readonly<Record<string, string>>;
  /** SHA-256 of files at an address, by name. */
  readonly sha256?: Readonly<Record<string, string>>;
  /** Whether what was downloaded stays for the next time; default true. */
  readonly keep?: boolean;
}

/** Whether a text is an address, relative ones included, and no hub id. */
export function isAddress(text: string): boolean {
  return /^(https?:|blob:|\.{0,2}\/)/.test(text);
}

/** The folder of a model at an address, and what its weights are called there; `isFile`: the address names them. */
export function addressOf(source: string): { readonly base: string; readonly weights: string; readonly isFile: boolean } {
  const url = new URL(source, globalThis.location?.href);
  const isFile = url.pathname.endsWith('.safetensors');
  const base = new URL(isFile || url.pathname.endsWith('/') ? '.' : `${url.pathname}/`, url).href;
  return { base, weights: isFile ? url.pathname.slice(url.pathname.lastIndexOf('/') + 1) : WEIGHTS_FILE, isFile };
}

export const usualEndpoint = 'https://huggingface.co';

/** The key of a hub's model. */
export function hubKey(repoId: string, { revision = 'main', endpoint = usualEndpoint }: HubOptions = {}): string {
  return `${endpoint}/${repoId}@${revision}`;
}
