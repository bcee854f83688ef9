// A model on WebGPU in Chromium, by its GPU in software (SwiftShader): the golden ids in the worker, and why it is not taken unasked.

import { ok, strictEqual } from 'node:assert/strict';
import type * as Door from '../../src/browser.js';
import { launch } from './launch.js';
import type { StaticServer } from './static-server.js';

declare const openelm: typeof Door;

/** What makes Chromium offer SwiftShader to WebGPU. */
const flags = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--ignore-gpu-blocklist',
];

/** `model` at the server has `files` and continues `golden.prompt` with `golden.ids`. */
export async function computesOnGpu(
  server: StaticServer,
  model: string,
  files: readonly string[],
  golden: { readonly prompt: string; readonly ids: readonly number[] },
): Promise<void> {
  const { context, close } = await launch({}, flags);
  try {
    const page = await context.newPage();
    await page.goto(`${server.url}/page`);
    await page.waitForFunction(() => 'openelm' in globalThis);
    if (!(await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter())))) {
      console.log('SKIPPED: this Chromium offers no GPU in software to WebGPU');
      return;
    }
    const found = await page.evaluate(
      async ([address, names, prompt]) => {
        const options = { files: names as string[], dtype: 'f32' } as const;
        const auto = await openelm.load(address as string, options);
        const unasked = auto.backend;
        await auto.dispose();
        const loaded = await openelm.load(address as string, { ...options, backend: 'webgpu' });
        const { ids, timings } = await loaded.complete(prompt as string, { temperature: 0, maxTokens: 16 });
        const { backend } = loaded;
        await loaded.dispose();
        return { unasked, backend, ids, timings };
      },
      [model, files, golden.prompt] as const,
    );
    strictEqual(found.backend.name, 'webgpu');
    strictEqual(JSON.stringify(found.ids), JSON.stringify(golden.ids.slice(0, 16)));
    strictEqual(found.unasked.name, 'wasm');
    ok(/the only GPU is a program of the CPU/.test(found.unasked.reason), found.unasked.reason);
    console.log(
      `ok: Node's greedy ids on ${found.backend.description}, in the worker; unasked WebAssembly, as ${found.unasked.reason}`,
    );
  } finally {
    await close();
  }
}
