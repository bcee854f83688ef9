// The two 16-bit floats, f16 (IEEE 754 binary16) and bf16 (the upper half of an f32), to and from f32: scalars and whole
// arrays. Towards 16 bits it rounds to nearest, ties to even; subnormals, infinities and NaN (kept, made quiet) included,
// which is what the x86 and ARM conversion instructions do. JavaScript has no 16-bit float arrays: the bits live in Uint16Array.

const floatScratch = new Float32Array(1);
const bitScratch = new Uint32Array(floatScratch.buffer);

/** The bits of an f16 nearest to the f32 with these bits. */
function float16FromBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x47800000) {
    // 65536 and up, infinity, NaN (kept quiet, with the upper bits of its payload)
    return magnitude > 0x7f800000 ? sign | 0x7e00 | ((magnitude >>> 13) & 0x1ff) : sign | 0x7c00;
  }
  if (magnitude >= 0x38800000) {
    // normal: half of the last place minus one, plus the last kept bit, makes ties go to even; 65520 and up carries into infinity
    return sign | ((magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign; // at most half of 2^-24
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - (magnitude >>> 23); // 14..24: the subnormal's unit is 2^-24
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

/** The bits of the bf16 nearest to the f32 with these bits. */
function bfloat16FromBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The f32 bits that equal an f16 exactly. */
function bitsFromFloat16(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  const zeros = Math.clz32(mantissa) - 21; // 1..10 places up to the implicit bit
  return (sign | ((113 - zeros) << 23) | (((mantissa << zeros) & 0x3ff) << 13)) >>> 0;
}

let float16Table: Uint32Array | undefined;

/** All 65,536 f16 values as f32 bits (256 KiB), made at first use: a look-up is several times as fast as the arithmetic. */
function table(): Uint32Array {
  if (!float16Table) {
    float16Table = new Uint32Array(0x10000);
    for (let half = 0; half < 0x10000; half++) float16Table[half] = bitsFromFloat16(half);
  }
  return float16Table;
}

/** All f16 values by their 16 bits, for loops that look them up themselves. */
export function float16Values(): Float32Array {
  return new Float32Array(table().buffer);
}

/** The value of an f16 given by its 16 bits. */
export function float16ToNumber(half: number): number {
  bitScratch[0] = bitsFromFloat16(half);
  return floatScratch[0];
}

/** The 16 bits of the f16 nearest to an f32 value (a double is rounded to f32 first). */
export function numberToFloat16(value: number): number {
  floatScratch[0] = value;
  return float16FromBits(bitScratch[0]);
}

/** f16 bits to f32, exactly; `out` has the same length. */
export function decodeFloat16(halves: Uint16Array, out: Float32Array = new Float32Array(halves.length)): Float32Array {
  const bits = bitsOf(out, halves.length);
  const values = table();
  for (let i = 0; i < halves.length; i++) bits[i] = values[halves[i]];
  return out;
}

/** f32 to f16 bits, to nearest even; `out` has the same length. */
export function encodeFloat16(floats: Float32Array, out: Uint16Array = new Uint16Array(floats.length)): Uint16Array {
  const bits = bitsOf(floats, out.length);
  for (let i = 0; i < bits.length; i++) out[i] = float16FromBits(bits[i]);
  return out;
}

/** bf16 bits to f32, exactly; `out` has the same length. */
export function decodeBfloat16(halves: Uint16Array, out: Float32Array = new Float32Array(halves.length)): Float32Array {
  const bits = bitsOf(out, halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  return out;
}

/** f32 to bf16 bits, to nearest even; `out` has the same length. */
export function encodeBfloat16(floats: Float32Array, out: Uint16Array = new Uint16Array(floats.length)): Uint16Array {
  const bits = bitsOf(floats, out.length);
  for (let i = 0; i < bits.length; i++) out[i] = bfloat16FromBits(bits[i]);
  return out;
}

/** The same memory as integers: NaN bits then pass through untouched. */
function bitsOf(floats: Float32Array, length: number): Uint32Array {
  if (floats.length !== length) throw new RangeError(`arrays of ${floats.length} and ${length} elements`);
  return new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
}
