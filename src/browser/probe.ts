// How fast a backend is with models of a size: products like those of a model's layers, for a prompt of 64 tokens and for tokens one by
// one. A comparison of two backends on one device, not a benchmark. With the GPU's backend it is what is fetched only where there is one.

import { locked } from '../io/browser/locks.js';
import { openPlace } from '../io/browser/open-place.js';
import { readJson } from '../io/browser/place.js';
import type { StoredTensor } from '../io/bytes.js';
import { within } from '../io/pause.js';
import type { Backend, DeviceBuffer, Executable } from '../tensor/backend.js';
import { Ops } from '../tensor/ops.js';

export { webgpuBackend } from '../backends/webgpu/backend.js';

/** Products in a step, about those of 16 layers. */
const products = 64;
const promptRows = 64;
/** What is compared: a prompt and so many tokens after it. */
const tokens = 16;
const millisecondsEach = 40;
/** Milliseconds for all of a GPU's, compiling too: one that hangs never answers. */
const patience = 10_000;

interface Times {
  readonly gpu: number;
  readonly wasm: number;
}

/** As it was measured before on this device (`where`) for models of about this size, or now: not by two tabs at once, which would disturb each other. */
export async function measured(gpu: Backend, wasm: Backend, weightBytes: number, where: string): Promise<Times> {
  const width = widthFor(weightBytes);
  const place = await openPlace('openelm-speeds', where, () => {});
  const file = `${width}.json`;
  return locked('openelm speeds', true, undefined, async () => {
    const before = (await readJson(place, file).catch(() => undefined)) as Times | undefined;
    if (before && before.gpu > 0 && before.wasm > 0) return before;
    const late = new Error(`it had not answered after ${patience / 1000} s`);
    const times = { gpu: await within(patience, probeSeconds(gpu, width), late), wasm: await probeSeconds(wasm, width) };
    await place.write(file, JSON.stringify(times)).catch(() => {});
    return times;
  });
}

/** The width of square products, 64 of which have about so many bytes in f16: the sizes that are told apart. */
function widthFor(weightBytes: number): number {
  const width = Math.sqrt(weightBytes / 2 / products);
  return [128, 256, 512, 1024].find((known) => known >= width) ?? 1024;
}

/** Seconds for a prompt of 64 tokens and 16 more, each the best of some runs. */
async function probeSeconds(backend: Backend, width: number): Promise<number> {
  const weights = [await backend.upload(matrix(width), 'f16'), await backend.upload(matrix(width), 'f16')];
  const input = backend.create('f32', [promptRows, width]);
  const output = backend.create('f32', [promptRows, width]);
  const made: Executable[] = [];
  try {
    const run = async (rows: number): Promise<number> => {
      const executable = backend.compile(chain(weights, input, output, rows, width));
      made.push(executable);
      return best(backend, executable, output);
    };
    return (await run(promptRows)) + tokens * (await run(1));
  } finally {
    for (const executable of made) executable.dispose();
    for (const buffer of [...weights, input, output]) backend.free(buffer);
  }
}

function chain(weights: readonly DeviceBuffer[], input: DeviceBuffer, output: DeviceBuffer, rows: number, columns: number) {
  const ops = new Ops();
  let x = { buffer: input, rows, columns } as ReturnType<Ops['linear']>;
  for (let i = 0; i < products; i++) x = ops.linear(x, weights[i % weights.length]);
  ops.copy(x, output);
  return ops.finish();
}

/** The first run is not counted: it compiles, and pages memory in. */
async function best(backend: Backend, executable: Executable, output: DeviceBuffer): Promise<number> {
  const once = async (): Promise<number> => {
    const began = performance.now();
    const { done } = backend.submit(executable, new Int32Array(0));
    await Promise.all([done, backend.read(output, 0, 1)]);
    return (performance.now() - began) / 1000;
  };
  await once();
  let fastest = Number.POSITIVE_INFINITY;
  const end = performance.now() + millisecondsEach;
  do fastest = Math.min(fastest, await once());
  while (performance.now() < end);
  return fastest;
}

/** [width, width] in f16, all zeros. */
function matrix(width: number): StoredTensor {
  const bytes = 2 * width * width;
  const source = {
    name: 'a probe',
    size: bytes,
    read: async (_offset: number, length: number) => new Uint8Array(length),
    close: async () => {},
  };
  return { name: 'probe', dtype: 'F16', shape: [width, width], source, offset: 0, bytes };
}
