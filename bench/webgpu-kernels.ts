// Each fast kernel beside itself without subgroups and beside the plain one, on one product or attention of the 270M at a time: milliseconds, and on a GPU in software of all
// its threads' CPU time, since others may want the CPU too. The least of a few runs.

import type { WebgpuBackend } from '../src/backends/webgpu/backend.js';
import type { DeviceTraits } from '../src/backends/webgpu/dispatch.js';
import type { StoredTensor } from '../src/io/bytes.js';
import type { Precision } from '../src/model/parameters.js';
import { Ops } from '../src/tensor/ops.js';
import type { Row } from './report.js';

interface Kernel {
  readonly name: string;
  readonly encode: (ops: Ops) => Promise<void> | void;
}

/** Kernels of one backend that are set beside each other. */
export interface KernelKind {
  readonly name: 'fast' | 'lone' | 'plain';
  readonly traits: Pick<DeviceTraits, 'plain' | 'subgroups'>;
}

/** `lone`: without subgroups, where the device has some. */
export function kernelKinds({ subgroups }: DeviceTraits): KernelKind[] {
  const lone: KernelKind[] = subgroups ? [{ name: 'lone', traits: { plain: false, subgroups: false } }] : [];
  return [{ name: 'fast', traits: { plain: false, subgroups } }, ...lone, { name: 'plain', traits: { plain: true, subgroups } }];
}

/** `tensor` makes a weight of random codes. */
export async function* kernelRows(
  backend: WebgpuBackend,
  software: boolean,
  tensor: (shape: readonly number[], precision: Precision) => StoredTensor,
): AsyncGenerator<Row> {
  const usual = { ...backend.traits };
  const kinds = kernelKinds(usual);
  for (const { name, encode } of kernels(backend, software, tensor)) {
    const least: Record<string, number> = {};
    for (const kind of kinds) least[kind.name] = await time(kind);
    yield { kernel: name, ...least, 'plain / fast': least.plain / least.fast };

    async function time({ traits }: KernelKind): Promise<number> {
      Object.assign(backend.traits, traits);
      const ops = new Ops();
      await encode(ops);
      const executable = backend.compile(ops.finish());
      Object.assign(backend.traits, usual);
      const params = new Int32Array(executable.program.paramsLength);
      await backend.submit(executable, params).done;
      const times = software ? 5 : 20;
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i < 5; i++) {
        const [cpu, began] = [process.cpuUsage(), performance.now()];
        await Promise.all(Array.from({ length: times }, () => backend.submit(executable, params).done));
        const { user, system } = process.cpuUsage(cpu);
        least = Math.min(least, (software ? (user + system) / 1e3 : performance.now() - began) / times);
      }
      executable.dispose();
      return least;
    }
  }
}

function kernels(
  backend: WebgpuBackend,
  software: boolean,
  tensor: (shape: readonly number[], precision: Precision) => StoredTensor,
): Kernel[] {
  const floats = (rows: number, columns: number) => ({ buffer: backend.create('f32', [rows, columns]), rows, columns });
  const products = ([1, 64] as const).flatMap((rows) =>
    (['f32', 'f16', 'q8', 'q4'] as const).map((precision): Kernel => {
      const shape = [software ? 512 : 1920, 1280];
      return {
        name: `${rows} x 1280 x ${shape[0]}, ${precision}`,
        encode: async (ops) => {
          const weight = await backend.upload(tensor(shape, precision), precision);
          ops.linear(floats(rows, 1280), weight, { int8: true, into: backend.create('f32', [rows, shape[0]]) });
        },
      };
    }),
  );
  const attentions = ([1, 64] as const).map((rows): Kernel => {
    const [keys, heads] = [512, { queryHeads: 12, kvHeads: 3, headDim: 64 }];
    return {
      name: `attention of ${rows} to ${keys}`,
      encode: (ops) => {
        const [cacheKeys, values] = [0, 1].map(() => backend.create('f16', [keys, heads.kvHeads, heads.headDim]));
        const [sequences, segments] = [backend.create('i32', [4]), backend.create('i32', [2])];
        backend.write(sequences, Int32Array.of(0, rows, 0, 1));
        backend.write(segments, Int32Array.of(0, keys));
        const ragged = { sequences, sequenceCount: 1, segments, segmentCount: 1 };
        const out = ops.attention(floats(rows, 12 * 64), heads, { keys: cacheKeys, values }, ragged);
        ops.copy(out, backend.create('f32', [rows, 12 * 64]));
      },
    };
  });
  return [...products, ...attentions];
}
