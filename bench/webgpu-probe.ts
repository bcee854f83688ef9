// What a GPU can do at best, by kernels that do nothing else: bytes read and copied, multiply-adds in f32 and f16, packed products of
// bytes. Rates are of many dispatches in one submission, the best of a few; the least time of an empty one is told apart.

export interface Peaks {
  /** Bytes a second. */
  readonly read: number;
  readonly copy: number;
  /** Operations a second, a multiply-add being two. */
  readonly f32: number;
  readonly f16: number | undefined;
  readonly int8: number | undefined;
  /** Milliseconds from an empty submission to the news that it is done. */
  readonly roundTrip: number;
  /** Microseconds a dispatch that waits for the one before. */
  readonly dispatch: number;
}

const storage = 128 | 4 | 8;

/** @param software the GPU is a program: less work is enough */
export async function measurePeaks(device: GPUDevice, software: boolean, dot4: boolean): Promise<Peaks> {
  const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
  const bytes = 2 ** Math.floor(Math.log2(Math.min(maxStorageBufferBindingSize, maxBufferSize, software ? 2 ** 25 : 2 ** 29)));
  const [from, to] = [bytes, bytes].map((size) => device.createBuffer({ size, usage: storage }));
  const sink = device.createBuffer({ size: 1 << 20, usage: storage });
  try {
    const roundTrip = await seconds(device, 0, () => {});
    const rate = async (code: string, buffers: GPUBuffer[], groups: number, each: number): Promise<number> => {
      const run = await kernel(device, code, buffers, groups);
      const once = software ? 1 : 20;
      return (each * once) / Math.max(1e-9, (await seconds(device, once, run)) - roundTrip);
    };
    const groups = Math.min(4096, bytes / 16 / 256);
    const read = await rate(readCode(bytes / 16, groups), [from, sink], groups, bytes);
    const copy = await rate(copyCode, [from, to], Math.min(32768, bytes / 16 / 256), Math.min(32768 * 4096, bytes) * 2);
    const workgroups = software ? 64 : 8192;
    const operations = workgroups * 256 * 256 * 8 * 4 * 2;
    const f32 = await rate(multiplyAdds('f32', 4), [sink], workgroups, operations);
    const f16 = device.features.has('shader-f16')
      ? await rate(`enable f16;\n${multiplyAdds('f16', 4)}`, [sink], workgroups, operations)
      : undefined;
    const int8 = dot4 ? await rate(packedProducts, [sink], workgroups, operations) : undefined;
    const tiny = await kernel(device, tinyCode, [sink], 1);
    const many = 500;
    const dispatch = (((await seconds(device, many, tiny)) - roundTrip) / many) * 1e6;
    return { read, copy, f32, f16, int8, roundTrip: roundTrip * 1e3, dispatch };
  } finally {
    for (const buffer of [from, to, sink]) buffer.destroy();
  }
}

async function kernel(device: GPUDevice, code: string, buffers: readonly GPUBuffer[], workgroups: number) {
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  return (pass: GPUComputePassEncoder): void => {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(workgroups);
  };
}

/** The least of a few runs of so many dispatches. */
async function seconds(device: GPUDevice, count: number, run: (pass: GPUComputePassEncoder) => void): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4; i++) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let k = 0; k < count; k++) run(pass);
    pass.end();
    const began = performance.now();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    best = Math.min(best, performance.now() - began);
  }
  return best / 1e3;
}

const readCode = (words: number, groups: number): string => `
@group(0) @binding(0) var<storage, read> a: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> sink: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var v = vec4u();
  for (var i = id.x; i < ${words}; i += ${groups * 256 * 4}) {
    v ^= a[i] ^ a[i + ${groups * 256}] ^ a[i + ${groups * 256 * 2}] ^ a[i + ${groups * 256 * 3}];
  }
  if ((v.x ^ v.y ^ v.z ^ v.w) == 12345) {
    sink[0] = v.x;
  }
}`;

const copyCode = `
@group(0) @binding(0) var<storage, read> a: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4u>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  b[id.x] = a[id.x];
}`;

const multiplyAdds = (type: string, width: number): string => `
alias V = vec${width}<${type}>;
@group(0) @binding(0) var<storage, read_write> sink: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let x = V(${type}(id.x % 7) * ${type}(0.001));
  let y = V(${type}(0.5));
  var a = x; var b = x + y; var c = x - y; var d = y; var e = x * y; var f = y + y; var g = y - x; var h = x + x;
  for (var i = 0; i < 256; i++) {
    a = fma(a, y, x); b = fma(b, y, x); c = fma(c, y, x); d = fma(d, y, x);
    e = fma(e, y, x); f = fma(f, y, x); g = fma(g, y, x); h = fma(h, y, x);
  }
  let sum = a + b + c + d + e + f + g + h;
  if (sum.x + sum.y + sum.z + sum.w == 12345) {
    sink[0] = 1;
  }
}`;

// 32 packed products, of 8 operations, a turn of 8 chains: as many operations as above in an eighth of the instructions.
const packedProducts = `
@group(0) @binding(0) var<storage, read_write> sink: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let y = id.x * 2654435761u;
  var a = id.x; var b = id.x + 1; var c = id.x + 2; var d = id.x + 3; var e = id.x + 4; var f = id.x + 5; var g = id.x + 6; var h = id.x + 7;
  for (var i = 0; i < 256; i++) {
    a = bitcast<u32>(dot4I8Packed(a, y)); b = bitcast<u32>(dot4I8Packed(b, y)); c = bitcast<u32>(dot4I8Packed(c, y)); d = bitcast<u32>(dot4I8Packed(d, y));
    e = bitcast<u32>(dot4I8Packed(e, y)); f = bitcast<u32>(dot4I8Packed(f, y)); g = bitcast<u32>(dot4I8Packed(g, y)); h = bitcast<u32>(dot4I8Packed(h, y));
  }
  if ((a ^ b ^ c ^ d ^ e ^ f ^ g ^ h) == 12345) {
    sink[0] = 1;
  }
}`;

const tinyCode = `
@group(0) @binding(0) var<storage, read_write> sink: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  sink[id.x] += 1;
}`;
