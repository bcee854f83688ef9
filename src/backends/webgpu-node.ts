// WebGPU in Node: Dawn, from the optional package `webgpu`.

import { InputError } from '../errors.js';
import { type WebgpuBackend, type WebgpuOptions, webgpuBackend } from './webgpu.js';

/** Dawn's instance must live as long as its devices. */
const instances: GPU[] = [];

/** Opens a backend on the first adapter. @throws InputError where there is none. */
export async function nodeWebgpuBackend(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const { create } = await import('webgpu');
  const gpu = create([]);
  instances.push(gpu);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new InputError('There is no GPU that WebGPU can use.');
  return webgpuBackend(adapter, { language: gpu.wgslLanguageFeatures, ...options });
}
