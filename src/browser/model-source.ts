// Where a model comes from: what an address or a hub id names, and under which key its files are kept. How they come is model-files.ts's,
// whether they are here kept-models.ts's.

import { isCoreNetFile, isGgufFile } from '../formats/model-file.js';
import { WEIGHTS_FILE } from '../io/weights-files.js';

/** Where a model of the hub is taken from. */
export interface HubOptions {
  /** Default `main`. */
  readonly revision?: string;
  /** Default https://huggingface.co */
  readonly endpoint?: string;
  /** For gated and private models. */
  readonly token?: string;
}

/** Which files a model has, and whether they are kept. */
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

/** What an address names. */
export interface Address {
  /** The model's folder. */
  readonly base: string;
  /** What the weights are called there; `isFile`: by the address. */
  readonly weights: string;
  readonly isFile: boolean;
  /** The file that the address names, where that is all of the model (GGUF, PyTorch). */
  readonly single?: string;
}

export function addressOf(source: string): Address {
  const url = new URL(source, globalThis.location?.href);
  const file = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
  const isFile = file.endsWith('.safetensors');
  const single = isGgufFile(file) || isCoreNetFile(file) ? file : undefined;
  const base = new URL(isFile || single || file === '' ? '.' : `${url.pathname}/`, url).href;
  return { base, weights: isFile ? file : WEIGHTS_FILE, isFile, single };
}

export const usualEndpoint = 'https://huggingface.co';

/** The key of a hub's model. */
export function hubKey(repoId: string, { revision = 'main', endpoint = usualEndpoint }: HubOptions = {}): string {
  return `${endpoint}/${repoId}@${revision}`;
}
