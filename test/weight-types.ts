// The types of weights that cases go through, and what sizes a type can have.

import type { DType } from '../src/tensor/backend.js';

/** What weights may be; of affine ones, inputs are whole groups. */
export const weightTypes = ['f32', 'f16', 'bf16', 'q8', 'q4', 'affine8', 'affine4', 'affine3'] as const;
export const isAffine = (dtype: DType): boolean => dtype.startsWith('affine');
export const isQuantized = (dtype: DType): boolean => dtype.startsWith('q') || isAffine(dtype);
/** The sizes of a weight that a type can have: the inputs next to these. */
export const inputsOf = (dtype: DType, inputs: number): number => (isAffine(dtype) ? Math.ceil(inputs / 32) * 32 : inputs);
