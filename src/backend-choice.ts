// What computes in Node: native kernels, a GPU, WebAssembly or the reference, by the user's word or, with `auto`, by what is there;
// and what is said of a choice. Part of the library's door.

import { nativeBackend } from './backends/native.js';
import { referenceBackend } from './backends/reference.js';
import { nodeWasmBackend } from './backends/wasm-node.js';
import type { Arithmetic } from './backends/webgpu/backend.js';
import type { GpuChoice } from './backends/webgpu/node.js';
import { InputError, messageOf, shown } from './errors.js';
import { oneOf, type Rule } from './options.js';
import type { Backend } from './tensor/backend.js';

export const backendNames = ['auto', 'native', 'webgpu', 'wasm', 'reference'] as const;

/**
 * Which backend computes. `auto`: for a large model a GPU with memory of its own, where the package `webgpu` is installed; else native
 * where it was built, else WebAssembly, else the reference.
 */
export type BackendChoice = (typeof backendNames)[number];

export interface BackendOptions {
  /** Threads of the backend; default all that this process may use. */
  readonly threads?: number;
  /** Which GPU, for `webgpu` and `auto`: a power preference, or its number (`openelm info`). Default `high-performance`. */
  readonly gpu?: GpuChoice;
  /** What a GPU multiplies prompts with gates in. Default f32; f16 is faster where the GPU has it, within 0.2%, and an error where it has not. */
  readonly arithmetic?: Arithmetic;
}

export const arithmetics = ['f32', 'f16'] as const satisfies readonly Arithmetic[];

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
export const gpuPays = 200e6;

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
  const { dawnPlace, findGpu, nodeWebgpuBackend, whyNotHere } = await import('./backends/webgpu/node.js');
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

/**
 * Whether a GPU reads memory that the CPU does not: several times as fast. Those within a processor share its memory, so that writing
 * a token takes them as long. WebGPU does not tell, so it is names that are known.
 */
export function hasOwnMemory({
  vendor,
  description,
  device,
}: Pick<GPUAdapterInfo, 'vendor' | 'description' | 'device'>): boolean {
  const text = `${device} ${description}`;
  if (vendor === 'nvidia') return !/tegra|orin|xavier|thor/i.test(text);
  if (vendor === 'amd') return /\bRX\b|Radeon Pro|\bPRO W|Instinct|\bMI\d{2,3}/i.test(text);
  return vendor === 'intel' && /Arc(\(TM\))? (Pro )?[AB]\d/i.test(text);
}

/** What a user should know of a backend that was not asked for, in one sentence; nothing of the native one. */
export function slowness({ backend, reason, notice }: ChosenBackend): string | undefined {
  if (reason === undefined || backend.name === 'native') return notice;
  if (backend.name === 'webgpu') return `the GPU computes (${backend.description.replace(/^webgpu, /, '')}): ${reason}`;
  const how = backend.name === 'wasm' ? 'in WebAssembly, about half as fast as' : 'slowly, without';
  return `this runs ${how} the native backend: ${reason}`;
}
