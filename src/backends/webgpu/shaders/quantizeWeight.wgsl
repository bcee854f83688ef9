// Rows of a stored matrix (f32, f16, bf16: `source_type` 0, 1, 2) to q8 or q4 in the order of weights.ts, to the byte as
// tensor/quantize.ts has them (but for the sign of a zero scale): what the language leaves open (quotients, halves, sums that may be fused with products) is computed from
// integers and comparisons. A thread two groups of 32, whose scales share a word: reads 64 elements, writes their codes. Numbers of turns are
// uniforms (p.code_bits 8 or 4, p.levels 16, p.quotient_bits 25): compilers that unroll such loops take seconds over them.

fn element(i: u32) -> f32 {
  if (source_type == 0) {
    return bitcast<f32>(source[p.source_at + i]);
  }
  let half = (source[p.source_at + i / 2] >> (i % 2 * 16)) & 0xffff;
  if (source_type == 2) {
    return bitcast<f32>(half << 16);
  }
  return unpack2x16float(half).x;
}

// a / b, rounded to nearest even; both positive and, as the quotient, of usual size.
fn quotient(a: f32, b: f32) -> f32 {
  let x = bitcast<u32>(a);
  let y = bitcast<u32>(b);
  var rest = (x & 0x7fffff) | 0x800000;
  let divisor = (y & 0x7fffff) | 0x800000;
  var exponent = (x >> 23) + 127 - (y >> 23);
  if (rest < divisor) {
    rest <<= 1;
    exponent -= 1;
  }
  // 24 bits and one more.
  var bits = 0u;
  for (var i = 0u; i < p.quotient_bits; i++) {
    bits <<= 1;
    if (rest >= divisor) {
      rest -= divisor;
      bits |= 1;
    }
    rest <<= 1;
  }
  let up = (bits & 1) == 1 && (rest != 0 || (bits & 2) == 2);
  return bitcast<f32>((exponent << 23) + (bits >> 1) - 0x800000 + select(0u, 1u, up));
}

// The bits of the nearest f16, ties to even.
fn half_bits(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16) & 0x8000;
  let magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return sign | 0x7e00;
  }
  if (magnitude >= 0x47800000) {
    return sign | 0x7c00;
  }
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13);
  }
  if (magnitude <= 0x33000000) {
    return sign;
  }
  let mantissa = (magnitude & 0x7fffff) | 0x800000;
  let shift = 126 - (magnitude >> 23);
  let kept = mantissa >> shift;
  let rest = mantissa & ((1u << shift) - 1);
  let middle = 1u << (shift - 1);
  return sign | (kept + select(0u, 1u, rest > middle || (rest == middle && (kept & 1) == 1)));
}

// Halves away from zero.
fn code8(x: f32) -> u32 {
  let whole = floor(abs(x));
  let rounded = i32(whole) + select(0, 1, abs(x) >= whole + 0.5);
  return bitcast<u32>(select(rounded, -rounded, x < 0.0)) & 0xff;
}

// x + 8.5 in f32, cut to 0..15: from n on where it is n less half of the place before.
fn code4(x: f32) -> u32 {
  var code = 0u;
  for (var n = 1u; n < p.levels; n++) {
    let place = select(select(4.76837158203125e-7, 2.384185791015625e-7, n < 9), 0.0, n < 5);
    code = select(code, n, x >= (f32(n) - 8.5) - place);
  }
  return code;
}

// Quantizes a group; its scale's bits.
fn quantize(group: u32) -> u32 {
  let row = group / p.groups;
  let g = group - row * p.groups;
  let first = row * p.columns + 32 * g;
  let count = min(32, p.columns - 32 * g);
  // The element of largest magnitude, with its sign; what is not finite is above all.
  var peak = 0u;
  for (var k = 0u; k < count; k++) {
    let bits = bitcast<u32>(element(first + k));
    peak = select(peak, bits, (bits & 0x7fffffff) > (peak & 0x7fffffff));
  }
  let magnitude = peak & 0x7fffffff;
  // Too small for any f16 scale: such groups are zero.
  let is_small = magnitude < 0x0d800000;
  let is_finite = magnitude < 0x7f800000;
  var scale = bitcast<f32>(select(0x3f800000u, magnitude, is_finite && !is_small));
  if (p.code_bits == 8) {
    scale = quotient(scale, 127.0);
  } else {
    scale = select(-0.125, 0.125, peak >= 0x80000000) * scale;
  }
  let inverse = select(1.0, -1.0, scale < 0.0) * quotient(1.0, abs(scale));
  let at = p.codes_at + row * p.stride + g * p.code_bits;
  for (var word = 0u; word < p.code_bits; word++) {
    var packed = 0u;
    for (var k = 0u; k < 32 / p.code_bits; k++) {
      // Of q4: low halves first, which are the columns of the first sixteen.
      let column = select(4 * word + k % 4 + k / 4 * 16, 4 * word + k, p.code_bits == 8);
      var x = 0.0;
      if (column < count && is_finite && !is_small) {
        x = element(first + column) * inverse;
      }
      if (p.code_bits == 8) {
        packed |= code8(x) << (8 * k);
      } else {
        packed |= code4(x) << (k % 4 * 8 + k / 4 * 4);
      }
    }
    codes[at + word] = packed;
  }
  if (!is_finite) {
    return select(0x7c00u, 0x7e00u, magnitude > 0x7f800000) | select(0u, 0x8000u, p.code_bits == 4 && peak < 0x80000000);
  }
  return select(half_bits(scale), 0u, is_small);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let pair = workgroup_index(group, groups) * 64 + lane;
  let count = p.rows * p.groups;
  if (2 * pair >= count) {
    return;
  }
  var word = 0u;
  for (var i = 0u; i < min(2, count - 2 * pair); i++) {
    word |= quantize(2 * pair + i) << (16 * i);
  }
  scales[p.scales_at + pair] = word;
}
