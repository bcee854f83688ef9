// The native CPU backend: native/ as an addon of Node's, a C++ executor with its own threads and kernels per instruction set. Finds
// and opens it, and says why there is none; what a backend does with it is in door.ts.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { counted, InputError, messageOf } from '../errors.js';
import type { EncodeBlocks } from '../io/gguf-blocks.js';
import { abiHash } from '../tensor/optable.js';
import { accessOfOperands, type Door, DoorBackend, dtypes, type Handle, storedDtypes } from './door.js';
import { threadCount } from './native-threads.js';

const isas = ['plain', 'avx2', 'avxvnni', 'avx512', 'vnni', 'neon', 'dotprod', 'i8mm'] as const;
/** Instruction sets: plain C++, those of x64, those of ARM; each above the one before of its kind. */
export type Isa = (typeof isas)[number];
const isaNames: Record<Isa, string> = {
  plain: 'plain C++',
  avx2: 'AVX2',
  avxvnni: 'AVX-VNNI',
  avx512: 'AVX-512',
  vnni: 'AVX-512 VNNI',
  neon: 'NEON',
  dotprod: 'NEON with dot products',
  i8mm: 'NEON with int8 matrix products',
};

/** native/node.cc. */
export interface NativeAddon extends Door {
  readonly abiHash: string;
  readonly isas: readonly Isa[];
  create(isa: Isa, threads: number, access: Uint8Array): Handle | string;
  encode(dtype: number, type: number, numbers: Uint8Array, out: Uint8Array): Promise<Uint8Array>;
}

/** See `nativeBackend`. */
export type NativeBackend = DoorBackend<Isa>;

/** The addon that was built here, or else the one that was packed for this platform, or why there is neither. */
export function loadNative(): { addon: NativeAddon } | { reason: string } {
  let reason: string | undefined;
  for (const place of ['build/Release', `prebuilds/${process.platform}-${process.arch}`]) {
    try {
      const addon = createRequire(import.meta.url)(nativePath(`${place}/openelm.node`)) as NativeAddon;
      if (addon.abiHash === abiHash) return { addon };
      reason = 'the addon was built for another version: run npm rebuild';
    } catch (error) {
      if ((error as NodeJS.ErrnoException)?.code === 'MODULE_NOT_FOUND') continue;
      reason = `the addon cannot be loaded: ${messageOf(error)}`;
    }
  }
  return { reason: reason ?? whyNotBuilt() };
}

function nativePath(file: string): string {
  return fileURLToPath(new URL(`../../native/${file}`, import.meta.url));
}

/** What native/install.mjs wrote down when it could not build. */
function whyNotBuilt(): string {
  try {
    const reason = readFileSync(nativePath('build/not-built.txt'), 'utf8').trim();
    return `${reason}; with Python 3, make and a C++17 compiler \`npm rebuild openelm\` builds it`;
  } catch {
    return 'the addon was not built (npm rebuild openelm builds it)';
  }
}

export interface NativeOptions {
  /** Default: `OPENELM_THREADS`, else one a core. */
  readonly threads?: number;
  /** Default: `OPENELM_ISA`, else the best that the CPU supports. */
  readonly isa?: Isa;
}

/**
 * A native backend with its own threads, or the reason why there is none on this machine.
 * @throws InputError for a number of threads or an instruction set that cannot be.
 */
export function nativeBackend(options: NativeOptions = {}): { backend: NativeBackend } | { reason: string } {
  const loaded = loadNative();
  if ('reason' in loaded) return loaded;
  const { addon } = loaded;
  const threads = threadCount(options.threads);
  const wanted = options.isa ?? process.env.OPENELM_ISA;
  const isa = wanted ? addon.isas.find((known) => known === wanted) : addon.isas[addon.isas.length - 1];
  if (!isa) {
    const why = (isas as readonly (string | undefined)[]).includes(wanted) ? 'is not supported by this CPU' : 'is not known';
    throw new InputError(`the instruction set '${wanted}' ${why}: use one of ${addon.isas.join(', ')}`);
  }
  const handle = addon.create(isa, threads, accessOfOperands());
  if (typeof handle === 'string') return { reason: handle };
  const description = `native, ${isaNames[isa]}, ${counted(threads, 'thread')}`;
  return { backend: new DoorBackend('native', description, isa, addon, handle, { threads, memory: totalmem() }) };
}

/** `encodeBlocks` of formats/encode.ts on other threads; undefined where there is no addon. */
export function nativeEncoder(): EncodeBlocks | undefined {
  const loaded = loadNative();
  if ('reason' in loaded) return undefined;
  const { addon } = loaded;
  return (type, dtype, numbers, out) => addon.encode(storedDtypes[dtype]!, type === 'Q8_0' ? dtypes.q8 : dtypes.q4, numbers, out);
}
