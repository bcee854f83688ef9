// Buffers of a device: made with a look at what there is, written at any element though WebGPU writes whole words, and read through
// staging buffers, which are kept. When each of this happens is queue.ts's.

import type { Dispatch } from './dispatch.js';
import { type LayoutLimits, layOut, sizeAlignment } from './layout.js';
import { type Placed, uniformWords } from './plan.js';
import type { Pipelines } from './shaders.js';

/** Memory of a persistent buffer. */
export interface Stored extends Placed {
  readonly buffers: readonly GPUBuffer[];
  /** Elements. */
  readonly length: number;
  /** Serial of the failed run that last should have written it. */
  failed: number;
  /** There was no memory for it: nothing may be done with it. */
  missing: boolean;
  /** Settles when that is known; undefined from then on. */
  pending: Promise<unknown> | undefined;
}

/** Usages of buffers: Node has no globals for them. */
export const usage = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128 } as const;

/** Staging buffers of a size that are kept for later, and the largest such size. */
const keptStaging = 8;
const largestKept = 1 << 20;

export class WebgpuMemory {
  /** Bytes of all buffers that were made and not destroyed. */
  bytes = 0;
  private readonly staging = new Map<number, GPUBuffer[]>();

  constructor(
    private readonly device: GPUDevice,
    private readonly pipelines: Pipelines,
    private readonly limits: LayoutLimits,
  ) {}

  /** A zero-filled buffer, and whether it turns out that there is no memory for it: what uses it before that is known may break the device's use. */
  allocate(bytes: number): { buffer: GPUBuffer; missing: Promise<boolean> } {
    const size = Math.max(sizeAlignment, Math.ceil(bytes / sizeAlignment) * sizeAlignment);
    this.device.pushErrorScope('out-of-memory');
    const buffer = this.device.createBuffer({ size, usage: usage.storage | usage.copySource | usage.copyTarget });
    const missing = this.device.popErrorScope().then(
      (error) => error !== null,
      () => false, // the device is lost
    );
    this.bytes += size;
    return { buffer, missing };
  }

  destroy(buffer: GPUBuffer): void {
    this.bytes -= buffer.size;
    buffer.destroy();
  }

  /** Writes at any even byte; undefined, or a promise to wait for before it can be tried again. */
  write(buffer: GPUBuffer, offset: number, data: Uint8Array<ArrayBuffer>): Promise<void> | undefined {
    const first = Math.min(data.length, offset % 4 === 0 ? 0 : 2);
    const last = Math.max(first, data.length - ((offset + data.length) % 4));
    const edges = [
      { at: offset, bytes: data.subarray(0, first) },
      { at: offset + last, bytes: data.subarray(last) },
    ].filter(({ bytes }) => bytes.length > 0);
    for (const { at, bytes } of edges) {
      const waiting = this.run(this.halfOf(buffer, at, bytes[0] | (bytes[1] << 8)));
      if (waiting) return waiting;
    }
    if (last > first) this.device.queue.writeBuffer(buffer, offset + first, data, first, last - first);
    return undefined;
  }

  /** Runs a dispatch over persistent buffers at once; undefined, or a promise to wait for before it can be tried again. */
  run(dispatch: Dispatch): Promise<void> | undefined {
    const { device } = this;
    const layout = layOut(
      dispatch,
      ({ memory, offset }) => ({ buffer: memory.kind === 'persistent' ? memory.buffers[0] : undefined, offset }),
      this.limits,
    );
    const { pipeline, bindings, ready } = this.pipelines.get(dispatch, layout);
    if (!pipeline) return ready;
    const uniforms = device.createBuffer({ size: 4 * uniformWords, usage: usage.uniform | usage.copyTarget });
    const values = Object.values(dispatch.uniforms ?? {}).map(Number);
    device.queue.writeBuffer(uniforms, 0, Uint32Array.from([0, ...values, ...layout.bindings.map(({ at }) => at)]));
    const entries = layout.variables.map(({ buffer, begin, end }, i) => ({
      binding: 1 + i,
      resource: { buffer: buffer!, offset: begin, size: end - begin },
    }));
    const group = device.createBindGroup({
      layout: bindings,
      entries: [{ binding: 0, resource: { buffer: uniforms } }, ...entries],
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...dispatch.workgroups(Number));
    pass.end();
    device.queue.submit([encoder.finish()]);
    uniforms.destroy();
    return undefined;
  }

  /** Copies bytes [offset, offset + length) among other commands; what is given reads them, once these were submitted. */
  read(encoder: GPUCommandEncoder, buffer: GPUBuffer, offset: number, length: number): () => Promise<Uint8Array<ArrayBuffer>> {
    const from = Math.floor(offset / 4) * 4;
    const bytes = Math.ceil((offset + length - from) / 4) * 4;
    const staging = this.takeStaging(bytes);
    encoder.copyBufferToBuffer(buffer, from, staging, 0, bytes);
    return async () => {
      await staging.mapAsync(usage.mapRead, 0, bytes);
      const copy = new Uint8Array(staging.getMappedRange(0, bytes)).slice(offset - from, offset - from + length);
      this.giveBack(staging);
      return copy;
    };
  }

  /** A buffer to copy so many bytes into and map; not in use elsewhere. */
  takeStaging(bytes: number): GPUBuffer {
    const size = bytes > largestKept ? bytes : 2 ** Math.ceil(Math.log2(Math.max(256, bytes)));
    const kept = this.staging.get(size)?.pop();
    return kept ?? this.device.createBuffer({ size, usage: usage.mapRead | usage.copyTarget });
  }

  giveBack(staging: GPUBuffer): void {
    staging.unmap();
    const kept = this.staging.get(staging.size) ?? [];
    if (staging.size > largestKept || kept.length >= keptStaging) staging.destroy();
    else this.staging.set(staging.size, [...kept, staging]);
  }

  private halfOf(buffer: GPUBuffer, offset: number, value: number): Dispatch {
    const slice = { memory: { kind: 'persistent', buffers: [buffer] }, offset: Math.floor(offset / 4) * 4, bytes: 4 } as const;
    return {
      shader: 'writeHalf',
      bindings: { out: { slice, element: 'u32', access: 'readwrite' } },
      uniforms: { half: (offset >> 1) & 1, value },
      workgroups: () => [1, 1, 1],
    };
  }
}
