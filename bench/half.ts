// IEEE half precision in plain TypeScript, for the GGUF writer alone: Node 20 has no Float16Array. Rounds to nearest even,
// keeps subnormals, overflows to infinity; a NaN keeps its sign and quietness only.

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The f16 bits nearest to `value` (taken as f32 first). */
export function f32ToF16Bits(value: number): number {
  float[0] = value;
  const sign = (word[0] >>> 16) & 0x8000;
  const magnitude = word[0] & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude < 0x38800000) {
    // Below 2^-14: a multiple of 2^-24. Adding 0.5 puts that unit into the last bit of the f32 and rounds to even.
    word[0] = magnitude;
    float[0] += 0.5;
    return sign | (word[0] - 0x3f000000);
  }
  const odd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
}

let table: Float32Array | undefined;

/** All 65,536 halves as f32, made once. */
export function f16ToF32Table(): Float32Array {
  if (table) return table;
  table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >>> 10) & 31;
    const fraction = bits & 1023;
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 31
          ? fraction === 0
            ? Number.POSITIVE_INFINITY
            : Number.NaN
          : (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 0x8000 ? -size : size;
  }
  return table;
}
