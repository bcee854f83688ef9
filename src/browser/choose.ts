// What computes in a worker: the GPU, where there is one that was measured to be faster than WebAssembly with models of about this size,
// else WebAssembly; or what was asked for. The measurement (probe.ts) takes a fifth of a second, once for a GPU and a size.

import { browserWasmBackend } from '../backends/wasm-browser.js';
import { InputError, messageOf } from '../errors.js';
import type { Backend } from '../tensor/backend.js';
import type { BackendOptions, ChosenBackend } from './computing.js';

/** The GPU must be faster by so much: it also compiles shaders, and drains batteries. */
const clearly = 1.2;

/** `weightBytes`: what each step will read. @throws InputError for what was asked for and is not there. */
export async function chooseBackend(options: BackendOptions, weightBytes: number): Promise<ChosenBackend> {
  const { backend: asked = 'auto', powerPreference, arithmetic = 'f32' } = options;
  if (asked === 'wasm') return because(await browserWasmBackend(options), 'it was asked for');
  const found = await findAdapter(powerPreference);
  if ('reason' in found) {
    if (asked === 'auto') return because(await browserWasmBackend(options), found.reason);
    throw new InputError(`backend is 'webgpu', but ${found.reason}: use 'wasm' or 'auto' here`);
  }
  // Fetched only where there is a GPU.
  const { measured, webgpuBackend } = await import('./probe.js');
  if (asked === 'webgpu') return because(await webgpuBackend(found.adapter, { arithmetic }), 'it was asked for');
  const wasm = await browserWasmBackend(options);
  if (found.software) return because(wasm, `the only GPU is a program of the CPU (${found.name})`);
  let gpu: Backend | undefined;
  try {
    gpu = await webgpuBackend(found.adapter, { arithmetic });
    const times = await measured(gpu, wasm, weightBytes, `${found.name}, ${navigator.userAgent}, ${wasm.description}`);
    const factor = times.wasm / times.gpu;
    if (factor >= clearly) {
      await wasm.dispose();
      return because(gpu, `measured ${factor.toFixed(1)} times as fast as WebAssembly here`);
    }
    await gpu.dispose();
    return because(wasm, `the GPU (${found.name}) was measured ${factor.toFixed(1)} times as fast here`);
  } catch (error) {
    void gpu?.dispose().catch(() => {}); // not waited for: it may hang
    return because(wasm, `the GPU (${found.name}) failed: ${messageOf(error)}`);
  }
}

function because<B extends Backend>(backend: B, reason: string): B & { reason: string } {
  return Object.assign(backend, { reason });
}

type FoundAdapter =
  | { readonly adapter: GPUAdapter; readonly name: string; readonly software: boolean }
  | { readonly reason: string };

async function findAdapter(powerPreference: GPUPowerPreference | undefined): Promise<FoundAdapter> {
  const gpu = (globalThis.navigator as { gpu?: GPU } | undefined)?.gpu;
  if (!gpu) return { reason: 'this browser has no WebGPU, or not on a page like this one (https: is needed)' };
  const adapter = await gpu.requestAdapter({ powerPreference }).catch(() => null);
  if (!adapter) return { reason: 'WebGPU finds no GPU here' };
  const { info } = adapter;
  const name = info.description || info.device || [info.vendor, info.architecture].join(' ').trim() || 'unknown GPU';
  const software = info.isFallbackAdapter || /swiftshader|llvmpipe|basic render|warp/i.test(`${name} ${info.architecture}`);
  return { adapter, name, software };
}
