// What the run benchmark races: an engine that holds one model and times a prefill or a decode on its own clock. Here the
// interface and the peer, llama.cpp in a child process (bench/peers/llama.mjs), installed on first use; our own engine's
// contender lives beside the benchmark that uses it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { openCheckpoint } from '../src/checkpoint.js';
import { convertModel } from '../src/convert.js';
import { InputError } from '../src/errors.js';
import { resultsDirectory } from './report.js';

/** Storage of the matrices while running. */
export type Precision = 'q8' | 'q4' | 'f16';

/** One engine with one model at one precision and thread count. Only one call at a time. */
export interface Contender {
  readonly name: string;
  /** Loads (or converts, then loads) the model; what it takes is not timed. */
  load(): Promise<void>;
  /** Seconds to evaluate `tokens` random ids from an empty context, up to the logits of the last one. */
  prefill(tokens: number): Promise<number>;
  /** Seconds to evaluate `tokens` random ids one after the other, with logits, behind `context` ids (not timed). */
  decode(tokens: number, context: number): Promise<number>;
  dispose(): Promise<void>;
}

/** Makes a contender for a checkpoint directory. */
export type ContenderFactory = (directory: string, precision: Precision, threads: number) => Contender;

const peersDirectory = join(import.meta.dirname, 'peers');
/** llama.cpp's own build of its kernels for each instruction set, of which it otherwise takes the best that the CPU can run. */
const llamaKernels: Readonly<Record<string, string>> = { avx2: 'haswell', avxvnni: 'alderlake', avx512: 'skylakex' };

/** llama.cpp through node-llama-cpp, flash attention on (the faster way for it), batches of 512, the same weights as GGUF. */
export class LlamaContender implements Contender {
  readonly name = 'llama.cpp';
  readonly #directory: string;
  readonly #precision: Precision;
  readonly #threads: number;
  readonly #isa: string | undefined;
  #child: ChildProcess | undefined;
  #lines: AsyncIterator<string> | undefined;

  /** `isa`: the instruction set that llama.cpp is held to. */
  constructor(directory: string, precision: Precision, threads: number, isa?: string) {
    this.#directory = directory;
    this.#precision = precision;
    this.#threads = threads;
    this.#isa = isa;
  }

  /** `sequences` of `context` tokens, for clients at once. */
  async load(sequences = 1, context?: number): Promise<void> {
    installPeers();
    const cwd = peersHeldTo(this.#isa);
    const file = await ggufOf(this.#directory, this.#precision);
    this.#child = spawn(process.execPath, ['llama.mjs'], { cwd, stdio: ['pipe', 'pipe', 'inherit'] });
    const lines: Interface = createInterface({ input: this.#child.stdout! });
    this.#lines = lines[Symbol.asyncIterator]();
    const { threads, system } = await this.#ask({ cmd: 'load', file, threads: this.#threads, sequences, contextSize: context });
    if (cwd !== peersDirectory && !this.#isa!.includes('512') && /AVX512\w* = 1/.test(String(system))) {
      throw new Error(`llama.cpp was to be held to ${this.#isa} and runs ${system}`);
    }
    if (threads !== this.#threads) throw new Error(`llama.cpp runs ${threads} threads where ${this.#threads} were asked for`);
  }

  async prefill(tokens: number): Promise<number> {
    return (await this.#ask({ cmd: 'prefill', tokens })).seconds as number;
  }

  async decode(tokens: number, context: number): Promise<number> {
    return (await this.#ask({ cmd: 'decode', tokens, context })).seconds as number;
  }

  /** Seconds until that many clients have their answers. */
  async clients(count: number, prompt: number, tokens: number): Promise<number> {
    return (await this.#ask({ cmd: 'clients', clients: count, prompt, tokens })).seconds as number;
  }

  async dispose(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((done) => child.once('exit', done));
    child.stdin!.end(`${JSON.stringify({ cmd: 'exit' })}\n`);
    await ended;
  }

  async #ask(message: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
    if (!this.#child || !this.#lines) throw new Error('llama.cpp is not loaded');
    this.#child.stdin!.write(`${JSON.stringify(message)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`llama.cpp's process ended during '${message.cmd}'`);
    const answer = JSON.parse(value) as Record<string, unknown>;
    if (typeof answer.error === 'string') throw new Error(`llama.cpp failed in '${message.cmd}': ${answer.error}`);
    return answer;
  }
}

/** Installs bench/peers unless that one of them is there: about 240 MB, never part of the package's own installation. */
export function installPeers(peer = 'node-llama-cpp'): void {
  if (existsSync(join(peersDirectory, 'node_modules', peer))) return;
  console.error('installing llama.cpp and onnxruntime-web for the comparison (npm ci in bench/peers, 240 MB)');
  const options = ['ci', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
  const { status } = spawnSync('npm', options, { cwd: peersDirectory, stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) throw new InputError(`npm ci in ${peersDirectory} failed; the comparison needs them from the npm registry.`);
}

/**
 * The folder to run llama.cpp in: bench/peers, or a copy of it without the kernels of any other instruction set, made once under
 * bench/results. There is no option for it: llama.cpp loads the best of the libraries that it finds.
 */
function peersHeldTo(isa: string | undefined): string {
  const kernels = isa && llamaKernels[isa];
  if (!kernels) return peersDirectory;
  const directory = join(resultsDirectory, `peers-${kernels}`);
  if (existsSync(directory)) return directory;
  const prefix = 'libggml-cpu-';
  const unfinished = `${directory}.part`;
  rmSync(unfinished, { recursive: true, force: true });
  for (const name of readdirSync(peersDirectory)) {
    cpSync(join(peersDirectory, name), join(unfinished, name), {
      recursive: true,
      filter: (from) => !basename(from).startsWith(prefix) || basename(from).startsWith(prefix + kernels),
    });
  }
  renameSync(unfinished, directory);
  return directory;
}

/** The checkpoint as a GGUF file under bench/results, written once for each state of its weights. */
export async function ggufOf(directory: string, dtype: Precision): Promise<string> {
  const weights = resolve(directory, 'model.safetensors');
  const { size, mtimeMs } = statSync(weights, { throwIfNoEntry: false }) ?? {};
  if (size === undefined)
    throw new InputError(`There is no ${weights}; the benchmark takes a directory with a single-file checkpoint.`);
  const key = createHash('sha256').update(`${weights} ${size} ${mtimeMs}`).digest('hex').slice(0, 12);
  const file = join(resultsDirectory, `${key}-${dtype}.gguf`);
  if (!existsSync(file)) {
    console.error(`writing ${file}`);
    await convertModel(await openCheckpoint(directory), file, { dtype });
  }
  return file;
}
