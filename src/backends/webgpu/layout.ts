// How a dispatch's bindings become variables of its shader: WebGPU forbids one buffer read-only and writable in one dispatch, two
// writable bindings that overlap, and more storage buffers than a device has. So memory that a dispatch writes is bound writable
// throughout, and what overlaps or would be too many becomes one variable, each binding beginning somewhere in it. Pure: no device.

import { InputError } from '../../errors.js';
import { alignment } from '../../tensor/plan.js';
import type { Binding, Dispatch, Element, Slice } from './dispatch.js';

/** Where a memory's bytes lie: `buffer` is any name of the device buffer. */
export interface Place<Memory> {
  readonly buffer: Memory;
  readonly offset: number;
}

/** A variable of the shader: bytes [begin, end) of a buffer. */
export interface Variable<Memory> {
  readonly name: string;
  readonly element: Element;
  readonly writable: boolean;
  readonly buffer: Memory;
  readonly begin: number;
  readonly end: number;
}

export interface Layout<Memory> {
  readonly variables: readonly Variable<Memory>[];
  /** Of each binding: its variable (null: left out), and the index there of its first element. */
  readonly bindings: readonly { readonly name: string; readonly variable: string | null; readonly at: number }[];
}

const elementBytes: Record<Element, number> = {
  ...{ f32: 4, i32: 4, u32: 4, vec2f: 8, vec2i: 8, vec2u: 8, vec4f: 16, vec4i: 16, vec4u: 16 },
};
/** Sizes of buffers and bindings are multiples of the largest element. */
export const sizeAlignment = 16;

/** Whether a slice may be bound as such elements, or is whole numbers of them from row to row. */
export function isAligned(slice: Pick<Slice, 'offset'>, element: Element, ...rowBytes: readonly number[]): boolean {
  return [slice.offset, ...rowBytes].every((bytes) => bytes % elementBytes[element] === 0);
}

interface Group<Memory> {
  readonly names: readonly string[];
  readonly element: Element;
  readonly writable: boolean;
  readonly buffer: Memory;
  readonly begin: number;
  readonly end: number;
}

export interface LayoutLimits {
  readonly storageBuffers: number;
  readonly bindingBytes: number;
}

/** @throws InputError when one is larger than this device binds; Error when they cannot be laid out: a mistake of the planner. */
export function layOut<Memory>(
  { shader, bindings }: Pick<Dispatch, 'shader' | 'bindings'>,
  placeOf: (slice: Slice) => Place<Memory>,
  limits: LayoutLimits,
): Layout<Memory> {
  const fail = (what: string): never => {
    throw new Error(`shader ${shader}: ${what}`);
  };
  const placed: { name: string; binding: Binding; place: Place<Memory> }[] = [];
  for (const [name, binding] of Object.entries(bindings)) {
    if (binding.slice) placed.push({ name, binding, place: placeOf(binding.slice) });
  }
  const written = new Set(placed.filter(({ binding }) => binding.access !== 'read').map(({ place }) => place.buffer));
  let groups = placed.map(({ name, binding, place }): Group<Memory> => {
    const begin = Math.floor(place.offset / alignment) * alignment;
    const end = Math.ceil((place.offset + Math.max(1, binding.slice!.bytes)) / sizeAlignment) * sizeAlignment;
    return { names: [name], element: binding.element, writable: written.has(place.buffer), buffer: place.buffer, begin, end };
  });

  const overlapping = (a: Group<Memory>, b: Group<Memory>): boolean =>
    a.writable && a.buffer === b.buffer && a.begin < b.end && b.begin < a.end;
  for (let pair = find(groups, overlapping); pair; pair = find(groups, overlapping)) {
    if (pair[0].element !== pair[1].element) fail(`'${pair[0].names}' and '${pair[1].names}' overlap as different elements`);
    groups = joined(groups, pair);
  }
  while (groups.length > limits.storageBuffers) {
    const pairs = groups.flatMap((a, i) => groups.slice(i + 1).map((b) => [a, b] as const));
    const possible = pairs.filter(([a, b]) => a.buffer === b.buffer && a.element === b.element && a.writable === b.writable);
    possible.sort((x, y) => span(...x) - span(...y));
    if (!possible.length) fail(`takes ${groups.length} storage buffers, the device has ${limits.storageBuffers}`);
    groups = joined(groups, possible[0]);
  }
  for (const { names, begin, end } of groups) {
    if (end - begin > limits.bindingBytes) {
      throw new InputError(
        `'${names}' of ${shader} takes ${end - begin} bytes at once, but this GPU binds at most ${limits.bindingBytes} ` +
          '(maxStorageBufferBindingSize): take fewer rows at a time, or compute on the CPU.',
      );
    }
  }

  const of = new Map(groups.flatMap((group) => group.names.map((name) => [name, group] as const)));
  return {
    variables: groups.map(({ names, ...variable }) => ({ name: names[0], ...variable })),
    bindings: Object.keys(bindings).map((name) => {
      const group = of.get(name);
      if (!group) return { name, variable: null, at: 0 };
      const at = (placed.find((each) => each.name === name)!.place.offset - group.begin) / elementBytes[group.element];
      if (!Number.isInteger(at)) fail(`'${name}' begins inside of a ${group.element}`);
      return { name, variable: group.names[0], at };
    }),
  };
}

function span<Memory>(a: Group<Memory>, b: Group<Memory>): number {
  return Math.max(a.end, b.end) - Math.min(a.begin, b.begin);
}

function find<T>(items: readonly T[], matches: (a: T, b: T) => boolean): readonly [T, T] | undefined {
  for (const [i, a] of items.entries()) {
    const b = items.slice(i + 1).find((other) => matches(a, other));
    if (b) return [a, b];
  }
  return undefined;
}

function joined<Memory>(groups: readonly Group<Memory>[], [a, b]: readonly [Group<Memory>, Group<Memory>]): Group<Memory>[] {
  const both = { ...a, names: [...a.names, ...b.names], begin: Math.min(a.begin, b.begin), end: Math.max(a.end, b.end) };
  return groups.flatMap((group) => (group === a ? [both] : group === b ? [] : [group]));
}
