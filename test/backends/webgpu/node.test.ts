// WebGPU's door in Node: what is said where something is missing, and that the process ends, with the right code and soon, whatever was
// going on. Each end is a process of its own; skipped, and said so, without an adapter.

import { spawn } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { findGpu, hasOwnMemory, listGpus } from '../../../src/backends/webgpu/node.js';

const path = (name: string): string => JSON.stringify(new URL(`../../../src/${name}`, import.meta.url).href);

const loader = JSON.stringify(import.meta.resolve('tsx/esm/api'));

/** What each program begins with: `open()`, and `work(backend, n)`, the promise of n slow records and of a number read behind them. */
const prelude = `
  const { openBackend } = await import(${path('backend-choice.ts')});
  const { Ops } = await import(${path('tensor/ops.ts')});
  const open = async () => (await openBackend('webgpu')).backend;
  function work(backend, n) {
    const [rows, columns] = [4096, 512];
    const buffer = backend.create('f32', [rows, columns]);
    backend.write(buffer, new Float32Array(rows * columns).fill(1));
    const ops = new Ops();
    let x = { buffer, rows, columns };
    for (let i = 0; i < n; i++) x = ops.silu(x);
    const out = backend.create('f32', [rows, columns]);
    ops.copy(x, out);
    const { done } = backend.submit(backend.compile(ops.finish()), new Int32Array(0));
    done.catch(() => {});
    return backend.read(out, 0, 1).then(([first]) => first.toFixed(3));
  }
`;

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function node(program: string, environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const args = ['--expose-gc', '--import', 'tsx', '--input-type=module', '-e', prelude + program];
  const child = spawn(process.execPath, args, { timeout: 100_000, env: { ...process.env, ...environment } });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal, stdout: stdout.trim().replaceAll('\n', ' '), stderr })),
  );
}

/** Programs, and how they must end: a code or a signal, and what was written. */
const ends: [name: string, program: string, how: number | string, said: string][] = [
  ['used and disposed of', 'const b = await open(); console.log(await work(b, 2)); await b.dispose();', 0, '0.493'],
  ['never disposed of', 'globalThis.kept = await open(); console.log(await work(kept, 2));', 0, '0.493'],
  ['opened and never used', 'globalThis.kept = await open(); console.log("end");', 0, 'end'],
  ['at its end, with work that nobody waits for', 'work(await open(), 60).then(console.log);', 0, '0.000'],
  [
    'by process.exit in the middle of work',
    'work(await open(), 60).then(console.log); setTimeout(() => process.exit(3), 5);',
    3,
    '',
  ],
  // Dawn's threads compile on while C++ takes its tables away, and may say so once in some dozens of times.
  ['by process.exit as shaders are compiled', 'work(await open(), 1); process.exit(3);', 3, 'ANY'],
  [
    'by an exception in the middle of work',
    'work(await open(), 60); await new Promise((r) => setTimeout(r, 5)); throw new Error();',
    1,
    '',
  ],
  [
    'by Ctrl-C in the middle of work',
    'work(await open(), 60); setTimeout(() => process.kill(process.pid, "SIGINT"), 5);',
    'SIGINT',
    '',
  ],
  [
    'with a backend that was dropped and collected',
    `let b = await open(); await work(b, 1); b = undefined;
     for (let i = 0; i < 4; i++) { gc(); await new Promise((r) => setTimeout(r, 10)); }
     console.log(await work(await open(), 2));`,
    0,
    '0.493',
  ],
  [
    'with several backends, disposed of in another order',
    `const all = [await open(), await open(), await open()];
     console.log(...await Promise.all(all.map((b, i) => work(b, i + 1))));
     await all[1].dispose(); console.log(await work(all[2], 2)); await Promise.all([all[2].dispose(), all[0].dispose()]);`,
    0,
    '0.731 0.493 0.306 0.493',
  ],
  [
    'disposed of in the middle of work',
    `const b = await open(); const read = work(b, 60).then(() => 'read', (error) => error.message);
     await b.dispose(); console.log(await read);`,
    0,
    'ANY',
  ],
  [
    'with another backend after the device was lost',
    `const b = await open(); await work(b, 1); b.device.destroy(); await b.device.lost;
     console.log(await (async () => work(b, 1))().catch((error) => error.code ?? error));
     await b.dispose(); console.log(await work(await open(), 2));`,
    0,
    'device-lost 0.493',
  ],
];

/** Programs in a worker thread beside one on the main thread, which ends in its own time. */
const threads: [name: string, program: string][] = [
  ['ends', 'console.log(await work(await open(), 2));'],
  ['disposes and ends', 'const b = await open(); console.log(await work(b, 2)); await b.dispose();'],
  ['exits, idle', 'console.log(await work(await open(), 2)); process.exit(0);'],
];

const adapter = await findGpu().catch(() => undefined);
if (!adapter) console.log('no GPU: the ends of processes with one are not tried');

describe.skipIf(!adapter)('a process with a GPU ends', () => {
  it.each(ends)('%s', async (_name, program, how, said) => {
    const { code, signal, stdout, stderr } = await node(program);
    expect({ end: signal ?? code, stderr: stderr.includes('FATAL') }).toEqual({ end: how, stderr: false });
    if (said !== 'ANY') expect(stdout).toBe(said);
  });

  it.each(threads)('with a worker thread that %s', async (_name, program) => {
    // A thread has to load its own reader of TypeScript.
    const source = JSON.stringify(`import(${loader}).then(async ({ register }) => { register(); ${prelude} ${program} })`);
    const { code, stdout } = await node(`
      const { Worker } = await import('node:worker_threads');
      const b = await open();
      const worker = new Worker(${source}, { eval: true, execArgv: [] });
      await new Promise((resolve) => worker.once('exit', resolve));
      console.log('main', await work(b, 2));`);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '0.493 main 0.493' });
  });
});

describe.skipIf(!adapter)('GPUs', () => {
  it('are listed, and chosen by number', async () => {
    const gpus = await listGpus();
    expect(gpus.length).toBeGreaterThan(0);
    expect((await findGpu(0)).name).toBe(gpus[0].name);
    await expect(findGpu(99)).rejects.toThrow(/^there is no GPU 99: choose one of 0 /);
  });

  it('are missed in one sentence where there is no driver', async () => {
    if (process.platform !== 'linux') return;
    const program = 'await open().catch((error) => console.log(String(error)));';
    const { code, stdout } = await node(program, { VK_ICD_FILENAMES: '/none', VK_DRIVER_FILES: '/none' });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^InputError: no GPU was found by Vulkan: install its loader and the GPU's driver/);
  });
});

it('knows GPUs that have memory of their own', () => {
  const own = (vendor: string, device: string, description = ''): boolean => hasOwnMemory({ vendor, device, description });
  expect(own('nvidia', 'nvidia-h200', 'NVIDIA: 580.159.03')).toBe(true);
  expect(own('amd', '', 'AMD Radeon RX 7900 XTX')).toBe(true);
  expect(own('intel', 'Intel(R) Arc(TM) A770 Graphics')).toBe(true);
  for (const [vendor, device] of [
    ['nvidia', 'NVIDIA Tegra Orin'],
    ['amd', 'AMD Radeon 780M'],
    ['intel', 'Intel(R) Arc(TM) Graphics'],
    ['intel', 'Intel(R) Iris(R) Xe Graphics'],
    ['apple', 'Apple M3'],
    ['google', 'SwiftShader Device'],
    ['mesa', 'llvmpipe'],
  ])
    expect(own(vendor, device), device).toBe(false);
});
