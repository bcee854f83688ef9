// The GPUs of `openelm info`: which WebGPU sees through the package `webgpu`, and what limits and features they have.

import { readFile } from 'node:fs/promises';
import { dawnPlace, listGpus, type NodeGpu } from '../backends/webgpu/node.js';
import { messageOf } from '../errors.js';

/** In `info --json`. */
interface GpuInfo {
  readonly name: string;
  readonly api: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** A program of the CPU's that behaves as a GPU. */
  readonly software: boolean;
  readonly subgroup_sizes: readonly [least: number, most: number] | null;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

export interface GpusInfo {
  /** The version of the package `webgpu`; null when it is not installed. */
  readonly webgpu: string | null;
  readonly gpus: readonly GpuInfo[];
  /** Why there are none; else null. */
  readonly gpus_reason: string | null;
}

/** Limits that decide what can be computed. */
const shownLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupsPerDimension',
] as const;

export async function gpusInfo(): Promise<GpusInfo> {
  const place = dawnPlace();
  if (!place) return { webgpu: null, gpus: [], gpus_reason: 'the package webgpu is not installed (npm install webgpu)' };
  const { version } = JSON.parse(await readFile(new URL('package.json', place), 'utf8')) as { version: string };
  try {
    const gpus = (await listGpus()).map(gpuInfo);
    return { webgpu: version, gpus, gpus_reason: null };
  } catch (error) {
    return { webgpu: version, gpus: [], gpus_reason: messageOf(error) };
  }
}

function gpuInfo({ name, api, software, adapter: { info, features, limits } }: NodeGpu): GpuInfo {
  const names = [...features].sort();
  return {
    ...{ name, api, vendor: info.vendor, architecture: info.architecture, description: info.description, software },
    subgroup_sizes: names.includes('subgroups') ? [info.subgroupMinSize, info.subgroupMaxSize] : null,
    features: names,
    limits: Object.fromEntries(shownLimits.map((limit) => [limit, limits[limit]])),
  };
}

/** Rows of a table: a GPU's number and name, and what kernels can use of it; or why there is none. */
export function gpuRows({ webgpu, gpus, gpus_reason: reason }: GpusInfo, size: (bytes: number) => string): [string, string][] {
  if (reason !== null) return [['gpu', `none: ${reason}`]];
  return gpus.map(({ name, api, software, subgroup_sizes: subgroups, features, limits }, i) => {
    const facts = [
      `${api}, webgpu ${webgpu}`,
      ...(software ? ['software, slower than the CPU by itself'] : []),
      features.includes('shader-f16') ? 'f16' : 'no f16',
      subgroups ? `subgroups of ${subgroups[0] === subgroups[1] ? subgroups[0] : subgroups.join(' to ')}` : 'no subgroups',
      `buffers of ${size(limits.maxBufferSize)}, ${size(limits.maxStorageBufferBindingSize)} at once`,
      `workgroups of ${limits.maxComputeInvocationsPerWorkgroup} with ${size(limits.maxComputeWorkgroupStorageSize)}`,
    ];
    return [`gpu ${i}`, `${name}: ${facts.join(' · ')}`];
  });
}
