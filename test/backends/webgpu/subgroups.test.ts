// What the invocations of a workgroup make together, with subgroups and without, for workgroups that whole subgroups fill and for some that they do not.
// Skipped, and said so, without an adapter.

import { describe, expect, it } from 'vitest';
import { findGpu, type NodeGpu } from '../../../src/backends/webgpu/node.js';
import { common, noSubgroups, subgroups } from '../../../src/backends/webgpu/wgsl.js';

const gpu: (NodeGpu & { language: ReadonlySet<string> }) | undefined = await findGpu().catch(() => undefined);
const has = gpu?.adapter.features.has('subgroups') && gpu.language.has('subgroup_id');
const results = 12;

/** What each of `size` invocations has in the end. */
async function run(device: GPUDevice, size: number, together: boolean): Promise<number[][]> {
  const code = `${together ? 'enable subgroups;\nrequires subgroup_id;' : ''}
    const reduce_lanes = ${size}u;
    @group(0) @binding(0) var<storage, read_write> out: array<f32>;
    ${common}
    ${together ? subgroups : noSubgroups}
    @compute @workgroup_size(${size})
    fn main(workgroup: Workgroup, invocation: Invocation) {
      let lane = own_place(workgroup, invocation);
      let folded = folding(workgroup);
      let own = f32(lane) + 1;
      let first = workgroup_first(lane, vec2u(lane / 3 % 4, ${size}u - lane));
      var found = array<f32, ${results}>(
        f32(lane), f32(folded), folded_sum(own, folded), folded_max(own, folded), f32(folded_max_bits(lane, min(folded, 2))),
        workgroup_sum(lane, own), 0, 0, workgroup_max(lane, -own), workgroup_max(lane, own), f32(first.x), f32(first.y));
      let pair = workgroup_sums(lane, vec2f(own, 2 * own));
      found[6] = pair.x;
      found[7] = pair.y;
      for (var i = 0u; i < ${results}; i++) {
        out[${results} * lane + i] = found[i];
      }
    }`;
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main' },
  });
  const bytes = 4 * results * size;
  const [out, copy] = [128 | 4, 8 | 1].map((usage) => device.createBuffer({ size: bytes, usage }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer: out } }] }),
  );
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(out, 0, copy, 0, bytes);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(1);
  const all = [...new Float32Array(copy.getMappedRange())];
  return Array.from({ length: size }, (_, i) => all.slice(results * i, results * (i + 1)));
}

describe.skipIf(!gpu)(`a workgroup together${gpu ? '' : ' (no adapter)'}`, () => {
  // Subgroups do not fill the last one.
  const cases = [64, 256, 64, 20].map((size, i) => ({ size, together: i > 0 }));
  it('sums, finds the largest and the first of them', async () => {
    const features = has ? (['subgroups'] as GPUFeatureName[]) : [];
    const device = await gpu!.adapter.requestDevice({ requiredFeatures: features });
    for (const { size, together } of cases) {
      if (together && !has) continue;
      const what = `${size} ${together ? 'with' : 'without'} subgroups`;
      const found = await run(device, size, together);
      const sum = (size * (size + 1)) / 2;
      const top = Math.min(3, Math.floor((size - 1) / 3));
      // The last of those that have the largest x has the smallest y.
      const last = Math.max(...found.map((_, lane) => (Math.floor(lane / 3) % 4 === top ? lane : 0)));
      for (const [lane, [place, folded, foldedSum, foldedMax, ofTwo, ...whole]] of found.entries()) {
        expect(place, what).toBe(lane);
        const start = lane - (lane % folded);
        expect(foldedSum, what).toBe(folded * start + (folded * (folded + 1)) / 2);
        expect(foldedMax, what).toBe(start + folded);
        expect(ofTwo, what).toBe(folded > 1 ? lane | 1 : lane);
        expect(whole, what).toEqual([sum, sum, 2 * sum, -1, size, top, size - last]);
      }
      if (together && size >= 64 && size % gpu!.adapter.info.subgroupMaxSize === 0) expect(found[0][1]).toBeGreaterThan(1);
    }
    device.destroy();
  });
});
