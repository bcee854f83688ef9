// The words by which a GPU and its arithmetic are chosen, without WebGPU's types: who only passes them on needs none of those.

/** Which GPU in Node: by what it is for, or its number in `listGpus` (`openelm info`). */
export type GpuChoice = 'high-performance' | 'low-power' | number;

export const arithmetics = ['f32', 'f16'] as const;

/** What products of prompts are computed in. */
export type Arithmetic = (typeof arithmetics)[number];
