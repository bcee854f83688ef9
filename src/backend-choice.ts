// What computes in Node: native kernels, a GPU, WebAssembly or the reference, by the user's word or, with `auto`, by what is there;
// and what is said of a choice. Part of the library's door.

import { nativeBackend } from './backends/native.js';
import { referenceBackend } from './backends/reference.js';
import { nodeWasmBackend } from './backends/wasm-node.js';
import { type Arithmetic, arithmetics, type GpuChoice } from './backends/webgpu/choices.js';
import { InputError, messageOf, shown } from './errors.js';
import { oneOf, type Rule } from './options.js';
import type { Backend } from './tensor/backend.js';

export const backendNames = ['auto', 'native', 'webgpu', 'wasm', 'reference'] as const;

/**
 * Which backend computes. `auto`: for a large model a GPU with memory of its own, where the package `webgpu` is installed; else native
 * where it was built, else WebAssembly, else the reference.
 */
export type BackendChoice = (typeof backendNames)[number];

/** How a backend is opened. */
export interface BackendOptions {
  /** Threads of the backend; default all that this process may use. */
  readonly threads?: number;
  /** Which GPU, for `webgpu` and `auto`: a power preference, or its number (`openelm info`). Default `high-performance`. */
  readonly gpu?: GpuChoice;
  /** What a GPU multiplies prompts with gates in. Default f32; f16 is faster where the GPU has it, within 0.2%, and an error where it has not. */
  readonly arithmetic?: Arithmetic;
}

const choices = oneOf(...backendNames);

export const backendRules = {
  backend: { says: `${choices.says}, or a backend`, holds: (value) => choices.holds(value) || isBackend(value) },
  gpu: {
    says: "'high-performance', 'low-power' or the number of a GPU",
    holds: (value) =>
      value === 'high-performance' || value === 'low-power' || (Number.isSafeInteger(value) && (value as number) >= 0),
  },
  arithmetic: oneOf(...arithmetics),
} as const satisfies Record<string, Rule>;

function isBackend(value: unknown): value is Backend {
  return typeof value === 'object' && value !== null && 'submit' in value && 'limits' in value;
}

/** The chosen backend, and why it is not the faster one. */
export interface ChosenBackend {
  readonly backend: Backend;
  readonly reason?: string;
  /** What `auto` should say: why a GPU that was expected does not compute. */
  readonly notice?: string;
}

/**
 * Weights from which `auto` takes a GPU. A step on a GPU costs about a millisecond beside the reading of weights, however small they are;
 * a CPU with 40 GB/s reads 200 MB in five.
 */
const gpuPays = 200e6;

/**
 * Opens what is asked for; `weightBytes` are the bytes that each step will read, where they are known.
 * @throws InputError when `native`, `webgpu` or `wasm` is asked for and is not there, with the reason, and on any other word.
 */
export async function openBackend(
  choice: BackendChoice = 'auto',
  options: BackendOptions = {},
  weightBytes = 0,
): Promise<ChosenBackend> {
  if (!choices.holds(choice)) throw new InputError(`the backend is ${shown(choice)}; expected ${choices.says}`);
  if (choice === 'reference') return { backend: referenceBackend(), reason: 'it was asked for' };
  if (choice === 'wasm') return { backend: nodeWasmBackend(options), reason: 'it was asked for' };
  if (choice === 'webgpu') {
    const { nodeWebgpuBackend } = await import('./backends/webgpu/node.js');
    return { backend: await nodeWebgpuBackend(options), reason: 'it was asked for' };
  }
  const found = choice === 'auto' && weightBytes >= gpuPays ? await gpuWherePays(options, weightBytes) : {};
  return 'backend' in found ? found : { ...openCpu(choice, options), ...found };
}

/** What computes on the CPU. */
function openCpu(choice: 'auto' | 'native', options: BackendOptions): ChosenBackend {
  const native = nativeBackend(options);
  if ('backend' in native) return native;
  const { reason } = native;
  if (choice === 'native') throw new InputError(`the native backend is not available: ${reason}`);
  try {
    return { backend: nodeWasmBackend(options), reason };
  } catch (error) {
    return { backend: referenceBackend(), reason: `${reason}; nor WebAssembly: ${messageOf(error)}` };
  }
}

/** The GPU, where it is sure to be faster than the CPU; or what there is to say of it. */
async function gpuWherePays(options: BackendOptions, weightBytes: number): Promise<ChosenBackend | { notice?: string }> {
  const { dawnPlace, findGpu, hasOwnMemory, nodeWebgpuBackend, whyNotHere } = await import('./backends/webgpu/node.js');
  if (whyNotHere() !== undefined || dawnPlace() === undefined) return {};
  try {
    const { adapter, software } = await findGpu(options.gpu);
    if (software || !hasOwnMemory(adapter.info)) return {};
    const backend = await nodeWebgpuBackend(options);
    return { backend, reason: `it has memory of its own, and the model is large (${Math.round(weightBytes / 1e6)} MB)` };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { notice: `the CPU computes: ${error.message}` };
  }
}

/** What a user should know of a choice, in one sentence: why it is not the fastest, unless it was asked for; which options it leaves unused. */
export function noticeOf(choice: BackendChoice, { gpu, arithmetic }: BackendOptions, chosen: ChosenBackend): string | undefined {
  const unused = Object.entries({ gpu, arithmetic }).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  const { name } = chosen.backend;
  const said = choice === 'auto' ? slowness(chosen) : undefined;
  if (unused.length === 0 || name === 'webgpu' || chosen.notice !== undefined) return said;
  const idle = `${unused.join(' and ')} ${unused.length > 1 ? 'are' : 'is'} not used, as the ${name} backend computes; webgpu is the one on a GPU`;
  return said === undefined ? idle : `${said}; ${idle}`;
}

function slowness({ backend, reason, notice }: ChosenBackend): string | undefined {
  if (reason === undefined || backend.name === 'native') return notice;
  if (backend.name === 'webgpu') return `the GPU computes (${backend.description.replace(/^webgpu, /, '')}): ${reason}`;
  const how = backend.name === 'wasm' ? 'in WebAssembly, about half as fast as' : 'slowly, without';
  return `this runs ${how} the native backend: ${reason}`;
}
