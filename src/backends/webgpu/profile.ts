// How long the device takes for each dispatch of a program, alone: for benchmarks. What the program computes is lost, as each is run
// again and again where it stands.

import type { RunMemory, WebgpuExecutable } from './executable.js';
import { usage } from './memory.js';

/** A kind of dispatch: an op, a shader, and how large where one has sizes. */
export interface DispatchTime {
  readonly name: string;
  /** Dispatches of the program that are such. */
  readonly count: number;
  /** Of all of them. */
  readonly milliseconds: number;
}

const repeats = 20;

/** Once the pipelines are there and nothing is queued. The most time first. */
export async function profileDispatches(
  device: GPUDevice,
  executable: WebgpuExecutable,
  params: Int32Array<ArrayBuffer>,
  arena: RunMemory['arena'],
): Promise<DispatchTime[]> {
  const memory = { arena, status: device.createBuffer({ size: 16, usage: usage.storage }) };
  executable.begin(params);
  const run = async (index: number, times: number): Promise<number> => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let i = 0; i < times; i++) executable.encode(pass, { first: index, last: index + 1 }, memory);
    pass.end();
    const began = performance.now();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - began;
  };
  const times = new Map<string, { count: number; milliseconds: number }>();
  for (const [index, { record, dispatch }] of executable.plan.dispatches.entries()) {
    const { shader, constants = {}, uniforms = {} } = dispatch;
    const sizes =
      shader === 'product'
        ? ` ${uniforms.m_most} x ${uniforms.n} x ${uniforms.k_most}, ${constants.tile}/${constants.splits}`
        : '';
    const name = `${executable.program.records[record].op}: ${shader}${sizes}`;
    const once = await run(index, 1);
    const often = await run(index, 1 + repeats);
    const known = times.get(name) ?? { count: 0, milliseconds: 0 };
    known.count++;
    known.milliseconds += Math.max(0, often - once) / repeats;
    times.set(name, known);
  }
  return [...times].map(([name, time]) => ({ name, ...time })).sort((a, b) => b.milliseconds - a.milliseconds);
}
