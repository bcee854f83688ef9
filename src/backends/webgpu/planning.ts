// What planners share: bindings, and workgroups of shaders that take an element a thread or a row a workgroup.

import type { Dim } from '../../tensor/backend.js';
import { maxOf } from '../../tensor/plan.js';
import type { Binding, Dispatch, Element, SizeNow, Slice } from './dispatch.js';

/** Invocations of a workgroup where nothing else is said. */
export const lanes = 256;

export function read(slice: Slice | null, element: Element = 'f32'): Binding {
  return { slice, element, access: 'read' };
}

export function written(slice: Slice | null, element: Element = 'f32'): Binding {
  return { slice, element, access: 'write' };
}

export function updated(slice: Slice | null, element: Element = 'f32'): Binding {
  return { slice, element, access: 'readwrite' };
}

/** A thread an element of [rows, columns]; both are uniforms. */
export function perElement(
  dispatch: Omit<Dispatch, 'workgroups'> & { readonly uniforms: { readonly rows: Dim; readonly columns: number } },
): Dispatch {
  const { rows, columns } = dispatch.uniforms;
  if (maxOf(rows) * columns >= 2 ** 32) throw new Error(`shader ${dispatch.shader}: more elements than a word counts`);
  return { ...dispatch, workgroups: (size: SizeNow) => [Math.ceil((size(rows) * columns) / lanes), 1, 1] };
}

/** A workgroup a row; rows are a uniform. */
export function perRow(dispatch: Omit<Dispatch, 'workgroups'> & { readonly uniforms: { readonly rows: Dim } }): Dispatch {
  const { rows } = dispatch.uniforms;
  return { ...dispatch, workgroups: (size: SizeNow) => [size(rows), 1, 1] };
}
