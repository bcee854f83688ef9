// Rows of x, few, in workgroup memory, and their products with rows of the weight, `outs` of them a team of `lanes` invocations. How it is laid out,
// and the constants: matvec.wgsl. `acc` begins with zeros; of `folded` neighbouring invocations values meet without workgroup memory.

const block = array<u32, 7>(4, 8, 8, 16, 32, 16, 32)[weight_type]; // elements in a vec4u
const is_f32 = weight_type == 0;
const is_f16 = weight_type == 1;
const is_bf16 = weight_type == 2;
const is_q4 = weight_type == 4 || weight_type == 6; // nibbles: of a group of 32 the first half low, the second high
const is_coded = weight_type >= 3;
const teams = size / lanes;
const chunk_blocks = chunk / block;
const packed = select(4, 16, int8); // elements of x in a word of workgroup memory
const words = block / packed; // of x for a block of the weight
const x_groups = select(1, rows * chunk / 32, is_coded);
// Codes without a sign get one by these bits: that takes 8 from those of q4, as it should be, and `offset` from affine ones.
const sign_bits = select(select(0u, 0x80808080u, weight_type == 5), 0x88888888u, is_q4);
const offset = select(0.0, select(128.0, 8.0, is_q4), minimums);

var<workgroup> xs: array<vec4u, rows * chunk / packed>; // [rows][words][chunk_blocks]
var<workgroup> x_scale: array<f32, x_groups>;
var<workgroup> x_sum: array<f32, x_groups>; // of the group's elements, where minimums or codes without a sign want it
var<workgroup> peaks: array<u32, size>; // bits of max|x|, which as integers order as numbers do, and what is no number above all
var<workgroup> sums: array<f32, size * outs>;
var<private> inverse: array<f32, rows>;
var<workgroup> share_factors: array<f32, heads * splits>;

fn row_of_x(row: u32) -> u32 {
  if (!has_indices) {
    return row;
  }
  let index = indices[p.indices_at + row];
  if (index < 0 || u32(index) >= p.source_rows) {
    index_out_of_range();
    return 0;
  }
  return u32(index);
}

// Of a row; of a single row that attention left in shares, these put together.
fn quad_of_x(row: u32, quad: u32) -> vec4f {
  if (joined) {
    let head = quad / (head_dim / 4);
    var sum = vec4f();
    for (var s = 0u; s < splits; s++) {
      let factor = share_factors[head * splits + s];
      let part = x[p.x_at + (head * splits + s) * (head_dim / 4) + quad % (head_dim / 4)];
      sum = select(sum, fma(vec4f(factor), part, sum), factor != 0.0);
    }
    return sum;
  }
  return x[p.x_at + row * (p.inputs / 4) + quad];
}

// What each share of attention's keys counts for.
fn measure_shares(local: u32) {
  if (local < heads) {
    let at = p.x_at + p.inputs / 4 * splits + local * splits;
    var shares: array<vec2f, splits>; // largest score, sum of weights
    var largest = -3.0e38;
    for (var s = 0u; s < splits; s++) {
      shares[s] = x[at + s].xy;
      largest = max(largest, shares[s].x);
    }
    var total = 0.0;
    for (var s = 0u; s < splits; s++) {
      total += select(exp(shares[s].x - largest) * shares[s].y, 0.0, shares[s].y == 0.0);
    }
    for (var s = 0u; s < splits; s++) {
      share_factors[local * splits + s] = select(exp(shares[s].x - largest) / total, 0.0, shares[s].y == 0.0);
    }
  }
  workgroupBarrier();
}

// inverse[m] = 1 / rms of row m
fn measure(count: u32, first_row: u32, local: u32) {
  for (var m = 0u; m < count; m++) {
    let row = row_of_x(first_row + m);
    var sum = 0.0;
    for (var quad = local; quad < p.inputs / 4; quad += size) {
      let v = quad_of_x(row, quad);
      sum += dot(v, v);
    }
    inverse[m] = 1.0 / sqrt(workgroup_sum(local, sum) / f32(p.inputs) + p.eps);
  }
}

fn prepared(m: u32, row: u32, quad: u32) -> vec4f {
  var v = quad_of_x(row, quad);
  if (norm) {
    v = v * inverse[m] * norm_weight[p.norm_weight_at + quad];
  }
  return v;
}

// Elements [first, first + chunk) of all rows into workgroup memory, those past the end as zeros.
fn prepare(count: u32, first_row: u32, first: u32, local: u32, folded: u32) {
  let left = min(chunk, p.inputs - first);
  for (var m = 0u; m < count; m++) {
    let row = row_of_x(first_row + m);
    if (!int8) {
      for (var quad = local; quad < left / 4; quad += size) {
        let place = (m * words + quad % words) * chunk_blocks + quad / words;
        xs[place] = bitcast<vec4u>(prepared(m, row, first / 4 + quad));
      }
      continue;
    }
    for (var start = 0u; start < left / 16; start += size) { // half a group an invocation
      let half = start + local;
      var v: array<vec4f, 4>;
      var bits = 0u;
      if (half < left / 16) {
        for (var i = 0u; i < 4; i++) {
          v[i] = prepared(m, row, first / 4 + half * 4 + i);
          let a = bitcast<vec4u>(v[i]) & vec4u(0x7fffffffu);
          bits = max(bits, max(max(a.x, a.y), max(a.z, a.w)));
        }
      }
      if (folded == 1) {
        peaks[local] = bits;
        workgroupBarrier();
        bits = max(bits, peaks[local ^ 1]);
      }
      let peak = bitcast<f32>(folded_max_bits(bits, min(folded, 2)));
      var total = 0;
      if (half < left / 16) {
        let factor = select(0.0, divide(127.0, peak), peak > 0.0);
        var codes: vec4u;
        for (var i = 0u; i < 4; i++) {
          let q = vec4i(round(v[i] * factor));
          total += q.x + q.y + q.z + q.w;
          let bytes = vec4u(q) & vec4u(255);
          codes[i] = bytes.x | (bytes.y << 8) | (bytes.z << 16) | (bytes.w << 24);
        }
        xs[(m * words + half % words) * chunk_blocks + half / words] = codes;
        if (half % 2 == 0) {
          x_scale[m * (chunk / 32) + half / 2] = peak / 127.0;
        }
      }
      if (minimums) {
        var sum = folded_sum(f32(total), min(folded, 2));
        if (folded == 1) {
          sums[local] = sum;
          workgroupBarrier();
          sum += sums[local ^ 1];
        }
        if (half < left / 16 && half % 2 == 0) {
          x_sum[m * (chunk / 32) + half / 2] = sum;
        }
      }
      if (folded == 1) {
        workgroupBarrier();
      }
    }
  }
}

fn brain_floats(words: vec2u) -> vec4f {
  let low = bitcast<vec2f>(words << vec2u(16));
  let high = bitcast<vec2f>(words & vec2u(0xffff0000u));
  return vec4f(low.x, high.x, low.y, high.y);
}

fn kept(place: u32) -> vec4f {
  return bitcast<vec4f>(xs[place]);
}

// Sum of products of a block, codes without their scale, with x from word `place` on.
fn products_of(v: vec4u, place: u32) -> f32 {
  var sum: vec4f;
  if (is_f32) {
    sum = bitcast<vec4f>(v) * kept(place);
  } else if (is_f16) {
    sum = vec4f(unpack2x16float(v.x), unpack2x16float(v.y)) * kept(place);
    sum = fma(vec4f(unpack2x16float(v.z), unpack2x16float(v.w)), kept(place + chunk_blocks), sum);
  } else if (is_bf16) {
    sum = brain_floats(v.xy) * kept(place);
    sum = fma(brain_floats(v.zw), kept(place + chunk_blocks), sum);
  } else if (is_q4) {
    sum = signed_halves(v << vec4u(4), place) + signed_halves(v, place + 4 * chunk_blocks);
  } else {
    sum = signed_bytes(v.x) * kept(place);
    sum = fma(signed_bytes(v.y), kept(place + chunk_blocks), sum);
    sum = fma(signed_bytes(v.z), kept(place + 2 * chunk_blocks), sum);
    sum = fma(signed_bytes(v.w), kept(place + 3 * chunk_blocks), sum);
  }
  return (sum.x + sum.y) + (sum.z + sum.w);
}

// The codes in the high halves of the bytes.
fn signed_halves(v: vec4u, place: u32) -> vec4f {
  let codes = v & vec4u(0xf0f0f0f0u);
  var sum = signed_bytes(codes.x) * kept(place);
  sum = fma(signed_bytes(codes.y), kept(place + chunk_blocks), sum);
  sum = fma(signed_bytes(codes.z), kept(place + 2 * chunk_blocks), sum);
  sum = fma(signed_bytes(codes.w), kept(place + 3 * chunk_blocks), sum);
  return sum * 0.0625;
}

// Sum of x over a block.
fn sum_of_x(place: u32) -> f32 {
  var sum = vec4f();
  for (var i = 0u; i < words; i++) {
    sum += kept(place + i * chunk_blocks);
  }
  return (sum.x + sum.y) + (sum.z + sum.w);
}

var<private> weight_row: array<u32, outs>;
var<private> w: array<vec4u, outs * depth>;
var<private> w_scale: array<vec2f, outs * depth>; // and minimum
var<private> acc: array<f32, outs * rows>;

// Asks for the words from block `first / block + step` on of the rows of the weight; `end` blocks are left there.
fn ask(first: u32, step: u32, end: u32, lane: u32) {
  for (var d = 0u; d < depth; d++) {
    let place = step + d * lanes + lane;
    if (place < end) {
      let at = first / block + place;
      for (var j = 0u; j < outs; j++) {
        w[j * depth + d] = weight[p.weight_at + weight_row[j] * p.stride / 4 + at] ^ vec4u(sign_bits);
        if (is_coded) {
          let group = weight_row[j] * p.groups + at * block / weight_group;
          if (minimums) {
            w_scale[j * depth + d] = unpack2x16float(scales[p.scales_at + group]);
          } else {
            let pair = unpack2x16float(scales[p.scales_at + group / 2]);
            w_scale[j * depth + d].x = select(pair.x, pair.y, group % 2 == 1);
          }
        }
      }
    }
  }
}

// Adds their products with x to `acc`.
fn multiply(step: u32, end: u32, lane: u32) {
  for (var d = 0u; d < depth; d++) {
    let place = step + d * lanes + lane;
    if (place >= end) {
      break;
    }
    for (var m = 0u; m < rows; m++) {
      if (int8) {
        let group = m * (chunk / 32) + place * block / 32;
        for (var j = 0u; j < outs; j++) {
          let v = w[j * depth + d];
          let scale = x_scale[group] * w_scale[j * depth + d].x;
          if (is_q4) {
            let low = xs[m * 2 * chunk_blocks + place];
            let high = xs[(m * 2 + 1) * chunk_blocks + place];
            let a = (v << vec4u(4)) & vec4u(0xf0f0f0f0u);
            let b = v & vec4u(0xf0f0f0f0u);
            let products = dot4(a.x, low.x) + dot4(a.y, low.y) + dot4(a.z, low.z) + dot4(a.w, low.w)
              + dot4(b.x, high.x) + dot4(b.y, high.y) + dot4(b.z, high.z) + dot4(b.w, high.w);
            acc[j * rows + m] += f32(products) * 0.0625 * scale;
          } else {
            let u = xs[m * chunk_blocks + place];
            let products = dot4(v.x, u.x) + dot4(v.y, u.y) + dot4(v.z, u.z) + dot4(v.w, u.w);
            acc[j * rows + m] += f32(products) * scale;
          }
          if (minimums && (is_q4 || place % 2 == 0)) {
            acc[j * rows + m] += fma(offset, w_scale[j * depth + d].x, w_scale[j * depth + d].y) * (x_scale[group] * x_sum[group]);
          }
        }
      } else {
        for (var j = 0u; j < outs; j++) {
          let factors = w_scale[j * depth + d];
          let products = products_of(w[j * depth + d], m * words * chunk_blocks + place);
          acc[j * rows + m] += select(products, products * factors.x, is_coded);
          if (minimums) {
            acc[j * rows + m] += fma(offset, factors.x, factors.y) * sum_of_x(m * words * chunk_blocks + place);
          }
        }
      }
    }
  }
}
