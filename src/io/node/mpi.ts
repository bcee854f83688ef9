// MPI for Node: a `Collective` on the system's own library, called through koffi, with nothing compiled here. It lives in io/node, as it
// is a way out of this process; whom it serves knows only `train/collective.ts`. Which library is found and which ABI it has (Open
// MPI 4 and 5, MPICH 3 and 4 and what descends from it) is seen at run time. Long calls run on a thread of koffi's, and only once
// every rank is there (a barrier that is polled), as MPI waits by spinning; short ones are started and polled.

import { setTimeout as delay, setImmediate as immediately } from 'node:timers/promises';
import type { LibraryHandle } from 'koffi';
import { InputError, messageOf } from '../../errors.js';
import { type Collective, CollectiveError, type Elements } from '../../train/collective.js';

/** Calls run on stacks that koffi makes; MPI wants more than its 128 KiB. */
const stackBytes = 8 << 20;
/** MPI_THREAD_SERIALIZED: one call at a time, from any thread. */
const threadLevel = 2;
/** Elements of a call at most: MPI counts in 32 bits, and a piece's end lets the next one overlap. */
const mostElements = 1 << 28;
/** A short call: started and polled, where a thread would cost more. */
const shortBytes = 4096;

/**
 * UCX, which MPICH and Open MPI may move data with, reads these when it is loaded. It rewrites brk and munmap in a process whose threads
 * are calling them, to know when registered memory goes: V8's heap then vanishes under it, one start in 20 where ranks outnumber cores.
 * And it takes SIGSEGV, which is V8's for WebAssembly's bounds. What the user's environment says comes first.
 */
const ucxSettings = { UCX_MEM_EVENTS: 'n', UCX_MEM_MMAP_HOOK_MODE: 'none', UCX_ERROR_SIGNALS: 'SIGILL,SIGBUS,SIGFPE' };

export type MpiAbi = 'Open MPI' | 'MPICH' | 'MPI 5';

/** What was found. */
export interface MpiLibrary {
  readonly file: string;
  readonly abi: MpiAbi;
  /** As the library says. */
  readonly version: string;
}

/** Names that libraries go by, the ones that belong to what launched this process first. */
function libraryNames(): readonly string[] {
  const { env } = process;
  if (env.OPENELM_MPI) return [env.OPENELM_MPI];
  const openMpi = process.platform === 'darwin' ? ['libmpi.40.dylib', 'libmpi.dylib'] : ['libmpi.so.40', 'libmpi.so.80'];
  const mpich =
    process.platform === 'darwin'
      ? ['libmpich.12.dylib', 'libmpi.12.dylib']
      : ['libmpich.so.12', 'libmpi.so.12', 'libmpi_abi.so.0'];
  const last = process.platform === 'darwin' ? [] : ['libmpi.so'];
  const hydra = env.PMI_RANK !== undefined && env.OMPI_COMM_WORLD_SIZE === undefined;
  return hydra ? [...mpich, ...openMpi, ...last] : [...openMpi, ...mpich, ...last];
}

/** How many processes this one was started with, by what the launchers leave in the environment; 1 without any. */
export function launchedRanks(env: NodeJS.ProcessEnv = process.env): number {
  const said = env.OMPI_COMM_WORLD_SIZE ?? env.PMI_SIZE ?? (env.SLURM_PROCID && (env.SLURM_STEP_NUM_TASKS ?? env.SLURM_NTASKS));
  return /^[1-9][0-9]*$/.test(said ?? '') ? Number(said) : 1;
}

/** This process's number among them, as far as the launcher says. */
export function launchedRank(env: NodeJS.ProcessEnv = process.env): number {
  return Number(env.OMPI_COMM_WORLD_RANK ?? env.PMI_RANK ?? env.SLURM_PROCID ?? 0) || 0;
}

interface Constants {
  readonly world: bigint;
  readonly float: bigint;
  readonly double: bigint;
  readonly byte: bigint;
  readonly uint16: bigint;
  readonly sum: bigint;
  readonly errorsReturn: bigint;
  readonly inPlace: bigint;
  readonly ignoreStatus: bigint;
}

/** MPICH's ABI, which Intel's, MVAPICH's and Cray's libraries share; handles are ints, of which the low half counts. */
const mpichConstants: Constants = {
  ...{ world: 0x44000000n, float: 0x4c00040an, double: 0x4c00080bn, byte: 0x4c00010dn, uint16: 0x4c00023cn },
  ...{ sum: 0x58000003n, errorsReturn: 0x54000001n, inPlace: 0xffffffffffffffffn, ignoreStatus: 1n },
};

/** The ABI that MPI 5.0 defines; handles are small numbers. From its text: no such library was at hand. */
const standardConstants: Constants = {
  ...{ world: 0x101n, float: 0x210n, double: 0x214n, byte: 0x247n, uint16: 0x249n },
  ...{ sum: 0x21n, errorsReturn: 0x143n, inPlace: 1n, ignoreStatus: 0n },
};

type KoffiFunction = ReturnType<LibraryHandle['func']>;

interface Loaded extends MpiLibrary {
  readonly constants: Constants;
  call(name: string): KoffiFunction;
  /** What a function that fills a buffer says. */
  text(name: string, length: number): string;
}

let loaded: Loaded | undefined;

/** Loads the library. Throws `InputError` saying what was looked for. */
async function load(): Promise<Loaded> {
  if (loaded) return loaded;
  const koffi = await import('koffi').then(
    (module) => module.default,
    (error: unknown) => {
      throw new InputError(
        `MPI is called through the package koffi, which is not installed (npm install koffi): ${messageOf(error)}`,
      );
    },
  );
  for (const [name, value] of Object.entries(ucxSettings)) process.env[name] ??= value;
  koffi.config({ sync_stack_size: stackBytes, async_stack_size: stackBytes });
  const { file, library } = openLibrary((name) => koffi.load(name, { global: true, lazy: true }));
  const symbol = (name: string): bigint | undefined => {
    try {
      const found: unknown = library.symbol(name);
      return found === null ? undefined : koffi.address(found);
    } catch {
      return undefined;
    }
  };
  const [abi, constants] = constantsOf(file, symbol);
  const functions = new Map<string, KoffiFunction>();
  const call = (name: string): KoffiFunction => {
    let found = functions.get(name);
    if (!found) {
      found = library.func(
        name,
        'int',
        [...signatures[name]].map((kind) => kinds[kind as keyof typeof kinds]),
      );
      functions.set(name, found);
    }
    return found;
  };
  const text = (name: string, length: number): string => {
    const bytes = Buffer.alloc(length);
    const size = new Int32Array(1);
    call(name)(bytes, size);
    return bytes.toString('utf8', 0, size[0]).split('\n')[0].replaceAll('\0', '').trim();
  };
  loaded = { file, abi, constants, call, text, version: '' };
  loaded = { ...loaded, version: versionOf(text('MPI_Get_library_version', 8192)) };
  return loaded;
}

/** The first of the libraries that is there. */
function openLibrary(open: (name: string) => LibraryHandle): { readonly file: string; readonly library: LibraryHandle } {
  const names = libraryNames();
  const reasons: string[] = [];
  for (const file of names) {
    try {
      return { file, library: open(file) };
    } catch (error) {
      const message = messageOf(error);
      if (!/no such file|cannot open shared object|image not found/i.test(message)) reasons.push(message);
    }
  }
  const why = reasons.length > 0 ? ` (${reasons[0]})` : '';
  throw new InputError(
    `no MPI library is installed: looked for ${names.join(', ')}${why}; install Open MPI or MPICH, or name the library in OPENELM_MPI`,
  );
}

/** `Open MPI v4.1.4`, of all that the libraries say of themselves. */
function versionOf(text: string): string {
  return /^(Open MPI v[\d.]+|[^,]+)/.exec(text)?.[1].replace(/\s+/g, ' ').trim() ?? text;
}

function constantsOf(file: string, symbol: (name: string) => bigint | undefined): [MpiAbi, Constants] {
  if (symbol('ompi_mpi_comm_world') !== undefined) {
    const of = (name: string): bigint => symbol(`ompi_${name}`)!;
    return [
      'Open MPI',
      {
        ...{ world: of('mpi_comm_world'), float: of('mpi_float'), double: of('mpi_double'), byte: of('mpi_byte') },
        ...{ uint16: of('mpi_uint16_t'), sum: of('mpi_op_sum'), errorsReturn: of('mpi_errors_return') },
        ...{ inPlace: 1n, ignoreStatus: 0n },
      },
    ];
  }
  if (symbol('MPI_Abi_get_version') !== undefined && file.includes('abi')) return ['MPI 5', standardConstants];
  if (
    symbol('MPIR_Err_return_comm') !== undefined ||
    symbol('MPIX_Comm_agree') !== undefined ||
    symbol('MPIR_Dup_fn') !== undefined
  ) {
    return ['MPICH', mpichConstants];
  }
  throw new InputError(
    `${file} is no MPI library, or one of an unknown kind: Open MPI's ompi_mpi_comm_world, MPICH's MPIR_Dup_fn and MPI 5's MPI_Abi_get_version were looked for in it; install Open MPI 4 or 5, or MPICH 4`,
  );
}

/** h: a handle, p: an address, i: an int. */
const kinds = { h: 'uintptr_t', p: 'void *', i: 'int' } as const;
const signatures: Readonly<Record<string, string>> = {
  MPI_Init_thread: 'ppip',
  MPI_Finalize: '',
  MPI_Abort: 'hi',
  MPI_Comm_rank: 'hp',
  MPI_Comm_size: 'hp',
  MPI_Comm_set_errhandler: 'hh',
  MPI_Error_string: 'ipp',
  MPI_Get_library_version: 'pp',
  MPI_Ibarrier: 'hp',
  MPI_Iallgather: 'pihpihhp',
  MPI_Test: 'ppp',
  MPI_Allreduce: 'ppihhh',
  MPI_Reduce_scatter: 'ppphhh',
  MPI_Allgatherv: 'pihppphh',
  MPI_Alltoallv: 'ppphppphh',
  MPI_Bcast: 'pihih',
};

/** The library on this machine. Throws `InputError` saying what was looked for. */
export async function findMpi(): Promise<MpiLibrary> {
  const { file, abi, version } = await load();
  return { file, abi, version };
}

/** MPI's processes, this one among them. */
export class MpiCollective implements Collective {
  readonly traffic = { seconds: 0, bytes: 0 };
  private last: Promise<unknown> = Promise.resolve();
  private since?: number;
  private readonly request = new BigUint64Array(1);
  private readonly flag = new Int32Array(1);

  private constructor(
    private readonly mpi: Loaded,
    readonly rank: number,
    readonly size: number,
  ) {}

  /** Seconds since the call under way began, which waits for the others; 0 where there is none. */
  get waitedFor(): number {
    return this.since === undefined ? 0 : (performance.now() - this.since) / 1000;
  }

  get library(): MpiLibrary {
    return this.mpi;
  }

  /** Joins the others. Throws `InputError` when there is no library, or it sees other processes than were launched. */
  static async open(): Promise<MpiCollective> {
    const mpi = await load();
    const { world, errorsReturn } = mpi.constants;
    const provided = new Int32Array(1);
    check(mpi, 'MPI_Init_thread', mpi.call('MPI_Init_thread')(null, null, threadLevel, provided));
    check(mpi, 'MPI_Comm_set_errhandler', mpi.call('MPI_Comm_set_errhandler')(world, errorsReturn));
    const numberOf = (name: string): number => {
      const value = new Int32Array(1);
      check(mpi, name, mpi.call(name)(world, value));
      return value[0];
    };
    const collective = new MpiCollective(mpi, numberOf('MPI_Comm_rank'), numberOf('MPI_Comm_size'));
    if (provided[0] < threadLevel) {
      collective.end();
      throw new InputError(
        `${mpi.version} (${mpi.file}) allows calls from one thread only; install one that was built with threads`,
      );
    }
    const launched = launchedRanks();
    if (collective.size !== launched) {
      collective.end();
      throw new InputError(
        `${launched} processes were started together, but ${mpi.version} (${mpi.file}) sees ${collective.size}: start them with the launcher that belongs to it (with Slurm: srun --mpi=pmix, or pmi2), or name the library in OPENELM_MPI`,
      );
    }
    return collective;
  }

  gather(values: ArrayLike<number>): Promise<Float64Array[]> {
    const { double } = this.mpi.constants;
    const own = Float64Array.from(values);
    const all = new Float64Array(own.length * this.size);
    if (own.length === 0) return Promise.resolve(Array.from({ length: this.size }, () => own));
    return this.queued(async () => {
      await this.started('MPI_Iallgather', own, own.length, double, all, own.length, double);
      return Array.from({ length: this.size }, (_, r) => all.slice(r * own.length, (r + 1) * own.length));
    });
  }

  async gatherTexts(text: string): Promise<string[]> {
    const own = new TextEncoder().encode(text);
    const lengths = (await this.gather([own.length])).map(([length]) => length);
    const longest = Math.max(1, ...lengths);
    const padded = new Uint8Array(longest);
    padded.set(own);
    const all = new Uint8Array(longest * this.size);
    const { byte } = this.mpi.constants;
    await this.queued(() => this.started('MPI_Iallgather', padded, longest, byte, all, longest, byte));
    return lengths.map((length, r) => new TextDecoder().decode(all.subarray(r * longest, r * longest + length)));
  }

  allReduce(elements: Elements): Promise<void> {
    const { inPlace, sum, world } = this.mpi.constants;
    const [type, bytes] = this.typeOf(elements);
    return this.counted(elements.length * bytes, (2 * elements.length * bytes * (this.size - 1)) / this.size, async () => {
      for (let from = 0; from < elements.length; from += mostElements) {
        const length = Math.min(mostElements, elements.length - from);
        await this.called('MPI_Allreduce', inPlace, addressOf(elements, from, bytes), length, type, sum, world);
      }
    });
  }

  reduceScatter(elements: Elements, lengths: readonly number[]): Promise<void> {
    const { inPlace, sum, world } = this.mpi.constants;
    const [type, bytes] = this.typeOf(elements);
    const counts = this.countsOf(elements, lengths);
    return this.counted(elements.length * bytes, (elements.length - counts[this.rank]) * bytes, () =>
      this.called('MPI_Reduce_scatter', inPlace, addressOf(elements, 0, bytes), counts, type, sum, world),
    );
  }

  allGather(elements: Elements, lengths: readonly number[]): Promise<void> {
    const { inPlace, world } = this.mpi.constants;
    const [type, bytes] = this.typeOf(elements);
    const counts = this.countsOf(elements, lengths);
    return this.counted(elements.length * bytes, counts[this.rank] * bytes * (this.size - 1), () =>
      this.called('MPI_Allgatherv', inPlace, 0, type, addressOf(elements, 0, bytes), counts, placesOf(counts), type, world),
    );
  }

  allToAll(sent: Elements, received: Elements, lengths: readonly number[]): Promise<void> {
    const [type, bytes] = this.typeOf(sent);
    const counts = this.countsOf(sent, lengths);
    const own = this.countsOf(received, new Array<number>(this.size).fill(lengths[this.rank]));
    const [from, to] = [addressOf(sent, 0, bytes), addressOf(received, 0, bytes)];
    return this.counted(sent.length * bytes, (sent.length - counts[this.rank]) * bytes, () =>
      this.called(
        ...(['MPI_Alltoallv', from, counts, placesOf(counts), type] as const),
        ...[to, own, placesOf(own), type, this.mpi.constants.world],
      ),
    );
  }

  broadcast(elements: Elements, from = 0): Promise<void> {
    const [type, bytes] = this.typeOf(elements);
    return this.counted(elements.length * bytes, this.rank === from ? elements.length * bytes : 0, async () => {
      for (let at = 0; at < elements.length; at += mostElements) {
        const length = Math.min(mostElements, elements.length - at);
        await this.called('MPI_Bcast', addressOf(elements, at, bytes), length, type, from, this.mpi.constants.world);
      }
    });
  }

  barrier(): Promise<void> {
    return this.queued(() => this.started('MPI_Ibarrier'));
  }

  /** Leaves; the last call, made by all ranks. */
  end(): void {
    this.mpi.call('MPI_Finalize')();
  }

  /** Ends all ranks, this one first. */
  abort(code: number): never {
    this.mpi.call('MPI_Abort')(this.mpi.constants.world, code);
    process.exit(code);
  }

  private typeOf(elements: Elements): [type: bigint, bytes: number] {
    const { float, double, uint16, byte } = this.mpi.constants;
    if ('address' in elements || elements instanceof Float32Array) return [float, 4];
    if (elements instanceof Float64Array) return [double, 8];
    return elements instanceof Uint16Array ? [uint16, 2] : [byte, 1];
  }

  private countsOf(elements: Elements, lengths: readonly number[]): Int32Array {
    const all = lengths.reduce((sum, length) => sum + length, 0);
    if (lengths.length !== this.size || all !== elements.length || all >= 2 ** 31) {
      throw new Error(
        `${lengths.length} parts of ${all} elements in all do not divide ${elements.length} among ${this.size} ranks`,
      );
    }
    return Int32Array.from(lengths);
  }

  /** After all calls that were made before. */
  private queued<T>(work: () => Promise<T>): Promise<T> {
    const done = this.last.then(() => {
      this.since = performance.now();
      return work();
    });
    const over = (): void => {
      this.since = undefined;
    };
    this.last = done.then(over, over);
    return done;
  }

  /** `bytes`: of the elements, as large on all ranks; `sent`: by this one. */
  private counted(bytes: number, sent: number, work: () => Promise<void>): Promise<void> {
    if (bytes === 0) return Promise.resolve();
    return this.queued(async () => {
      const began = performance.now();
      if (bytes > shortBytes) await this.started('MPI_Ibarrier');
      await work();
      this.traffic.bytes += sent;
      this.traffic.seconds += (performance.now() - began) / 1000;
    });
  }

  /** A blocking call on a thread of its own; what it works on is kept until then. */
  private called(name: string, ...values: unknown[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.mpi.call(name).async(...values, (error: unknown, code: number) => {
        if (error) reject(error);
        else {
          try {
            check(this.mpi, name, code, values);
            resolve();
          } catch (failed) {
            reject(failed);
          }
        }
      });
    });
  }

  /** A call that returns at once and is asked after until it is done: often at first, then once a millisecond. */
  private async started(name: string, ...values: unknown[]): Promise<void> {
    const { mpi, request, flag } = this;
    const { world, ignoreStatus } = mpi.constants;
    check(mpi, name, mpi.call(name)(...values, world, request));
    for (let looks = 0; ; looks++) {
      check(mpi, name, mpi.call('MPI_Test')(request, flag, ignoreStatus), values);
      if (flag[0] !== 0) return;
      if (looks < 200) await immediately();
      else await delay(1);
    }
  }
}

/** `kept` lives until here. */
function check(mpi: Loaded, name: string, code: number, _kept?: unknown): void {
  if (code === 0) return;
  const bytes = Buffer.alloc(4096);
  const size = new Int32Array(1);
  mpi.call('MPI_Error_string')(code, bytes, size);
  throw new CollectiveError(`${name}: ${bytes.toString('utf8', 0, size[0])}`);
}

/** Where parts of those lengths begin. */
function placesOf(counts: Int32Array): Int32Array {
  const places = new Int32Array(counts.length);
  for (let r = 1; r < counts.length; r++) places[r] = places[r - 1] + counts[r - 1];
  return places;
}

/** An array's own place, or an address. */
function addressOf(elements: Elements, from: number, bytes: number): unknown {
  return 'address' in elements ? elements.address + BigInt(from * bytes) : elements.subarray(from);
}
