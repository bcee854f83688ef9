// Arrays that are filled without knowing how long they get. They double, so that copying costs little in all.

/** The array itself, or a larger one that begins with its first `used` elements, where there is no room for `more`. */
export function withRoom<T extends Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer>>(array: T, used: number, more: number): T {
  if (used + more <= array.length) return array;
  const larger = new (array.constructor as new (length: number) => T)(Math.max(array.length * 2, used + more));
  larger.set(array.subarray(0, used));
  return larger;
}
