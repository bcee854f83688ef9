// WebGPU in Node: Dawn, through the package `webgpu`, which who wants it installs. Finds it, the GPUs that it sees and one of them to
// compute on, and says in one sentence what is missing. What the backend does is backend.ts's, the same as in browsers.

import { isMainThread } from 'node:worker_threads';
import { InputError, messageOf } from '../../errors.js';
import { type WebgpuBackend, type WebgpuOptions, webgpuBackend } from './backend.js';
import type { GpuChoice } from './choices.js';

export interface NodeWebgpuOptions extends WebgpuOptions {
  /** Default `high-performance`. */
  readonly gpu?: GpuChoice;
}

/** A GPU as Dawn tells of it. */
export interface NodeGpu {
  readonly name: string;
  /** The system's interface that it is reached by: vulkan, metal, d3d12. */
  readonly api: string;
  readonly adapter: GPUAdapter;
  /** A program of the CPU's that behaves as a GPU: right, and slow. */
  readonly software: boolean;
}

interface Dawn {
  create(flags: string[]): GPU;
}

let dawn: Promise<Dawn> | undefined;
/** By their flags, and never let go of: a device whose GPU object was collected brings the process down. */
const instances = new Map<string, GPU>();

/**
 * A backend on a GPU. The process ends as ever with it, disposed of or not: nothing of Dawn's waits while nothing is computed. With
 * `OPENELM_GPU_SUBGROUPS=0` it does without subgroups, though the device has them.
 * @throws InputError when the package, a driver, a GPU or its device is missing.
 */
export async function nodeWebgpuBackend({ gpu, traits, ...options }: NodeWebgpuOptions = {}): Promise<WebgpuBackend> {
  const { adapter, language } = await findGpu(gpu);
  const withheld = process.env.OPENELM_GPU_SUBGROUPS === '0' ? { subgroups: false } : {};
  return webgpuBackend(adapter, { language, ...options, traits: { ...withheld, ...traits } });
}

/** The GPU that is chosen. @throws InputError as `nodeWebgpuBackend`. */
export async function findGpu(choice: GpuChoice = 'high-performance'): Promise<NodeGpu & { language: ReadonlySet<string> }> {
  if (typeof choice === 'number') {
    const gpus = await gpuNames();
    const named = gpus[choice];
    if (named) return request(named);
    const list = gpus.map(({ name }, i) => `${i} ${name}`).join(', ');
    throw new InputError(`there is no GPU ${choice}: choose one of ${list}`);
  }
  return request(undefined, choice);
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

/** All GPUs that Dawn sees, one at least. @throws InputError as `nodeWebgpuBackend`. */
export async function listGpus(): Promise<NodeGpu[]> {
  const gpus: NodeGpu[] = [];
  for (const named of await gpuNames()) gpus.push(await request(named));
  return gpus;
}

/** The address of the package's main file, without loading it; undefined when it is not installed. */
export function dawnPlace(): string | undefined {
  try {
    return import.meta.resolve('webgpu');
  } catch {
    return undefined;
  }
}

/** Why a thread of workers should compute on the CPU unless it was told otherwise; undefined on the main thread. */
export function whyNotHere(): string | undefined {
  return isMainThread ? undefined : 'ending a worker thread in the middle of a read would end the process';
}

interface GpuName {
  readonly api: string;
  readonly name: string;
}

async function request(
  named?: GpuName,
  powerPreference?: GPUPowerPreference,
): Promise<NodeGpu & { language: ReadonlySet<string> }> {
  const gpu = await instance(named ? [`backend=${named.api}`, `adapter=${named.name}`] : []);
  let adapter: GPUAdapter | null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference });
  } catch (error) {
    throw new InputError(`${noGpu()} (${messageOf(error).split('\n')[0]})`);
  }
  if (!adapter) throw new InputError(noGpu());
  const { info } = adapter;
  const name = named?.name ?? (info.device || info.description || info.vendor);
  const software =
    info.isFallbackAdapter || /llvmpipe|swiftshader|lavapipe|basic render|warp/i.test(`${name} ${info.description}`);
  return { name, api: named?.api ?? '', adapter, software, language: gpu.wgslLanguageFeatures };
}

// Dawn lists its adapters only to one who asks for a name that none has.
async function gpuNames(): Promise<GpuName[]> {
  const gpu = (await loadDawn()).create(['adapter=(none is called this)']);
  const said = await gpu.requestAdapter().then(() => '', messageOf);
  const names = [...said.matchAll(/backend: '([^']*)', name: '(.*)'/g)].map(([, api, name]) => ({ api, name }));
  if (names.length === 0) throw new InputError(noGpu());
  return names;
}

async function instance(flags: string[]): Promise<GPU> {
  const key = flags.join(' ');
  const known = instances.get(key);
  if (known) return known;
  const made = (await loadDawn()).create(flags);
  instances.set(key, made);
  return made;
}

function loadDawn(): Promise<Dawn> {
  const name: string = 'webgpu'; // not installed with this package, so nothing that a compiler may look for
  dawn ??= import(name).catch((error: unknown) => {
    const missing = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' && /'webgpu'/.test(messageOf(error));
    throw new InputError(
      missing
        ? "GPUs are reached through the package webgpu, which is not installed: npm install webgpu (in the project's folder, or with -g where openelm is)"
        : `the package webgpu cannot be loaded on ${process.platform} ${process.arch}: ${messageOf(error).split('\n')[0]}`,
    );
  });
  return dawn;
}

/** What was looked for, and what helps. */
function noGpu(): string {
  if (process.platform === 'darwin') return 'no GPU was found: Metal names none';
  if (process.platform === 'win32') return "no GPU was found by Direct3D 12 or Vulkan: install the driver of the GPU's maker";
  return (
    "no GPU was found by Vulkan: install its loader and the GPU's driver (Debian, Ubuntu: apt install libvulkan1 mesa-vulkan-drivers for AMD and Intel, " +
    "NVIDIA's own driver for NVIDIA; in a container pass the GPU in); vulkaninfo --summary lists what there is"
  );
}
