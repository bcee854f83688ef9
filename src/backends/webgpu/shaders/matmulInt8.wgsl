// out = x weight^T (+ residual) for many rows of quantized x (quantizeRows.wgsl) and codes, four products an instruction. A workgroup of
// 16 x 16 makes tile_rows x tile_outputs results; an invocation every 16th row and output of them, in registers. 64 inputs at a time, two groups, are
// read (the next ones while these are multiplied) and laid into workgroup memory, nibbles as bytes, 5 words a row of 4: then
// the 8 words that are read at once lie in different banks. Integer sums of a group are exact; groups are added in f32.
// With `gate` a tile holds gates and ups of its outputs: out = silu(gate) * up.
// Workgroups: [outputs / tile_outputs (half of it with gate), rows / tile_rows, 1]. Traffic: the weight once for tile_rows rows, x once for tile_outputs outputs.
// Constants: weight_type, tile_rows, tile_outputs (multiples of 16), gate, minimums.

const is_q4 = weight_type == 4 || weight_type == 6;
const sign_bits = select(select(0u, 0x80808080u, weight_type == 5), 0x88888888u, is_q4);
const offset = select(0.0, select(128.0, 8.0, is_q4), minimums);
const code_scale = select(1.0, 0.0625, is_q4); // nibbles are kept in the high halves of bytes
const row_words = select(4, 2, is_q4); // of a row of the weight in a step
const m_count = tile_rows / 16;
const n_count = tile_outputs / 16;
const x_each = (tile_rows * 4 + 255) / 256;
const w_each = (tile_outputs * row_words + 255) / 256;

var<workgroup> xs: array<vec4u, tile_rows * 5>;
var<workgroup> ws: array<vec4u, tile_outputs * 5>;
var<workgroup> x_factors: array<f32, tile_rows * 2>;
var<workgroup> w_factors: array<vec2f, tile_outputs * 2>; // scale, and what is added for each unit of x

fn sum4(v: vec4u) -> i32 {
  return dot4(v.x, 0x01010101u) + dot4(v.y, 0x01010101u) + dot4(v.z, 0x01010101u) + dot4(v.w, 0x01010101u);
}

// include tileOutputs

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let tx = local % 16;
  let ty = local / 16;
  let first_row = workgroup.y * tile_rows;
  let x_groups = p.inputs / 32;
  let steps = (x_groups + 1) / 2;

  var next_x: array<vec4u, x_each>;
  var next_w: array<vec4u, w_each>;
  var next_x_factor = 0.0;
  var next_w_factors = vec2f();
  var acc: array<f32, m_count * n_count>;
  for (var step = 0u; step <= steps; step++) {
    if (step > 0) { // lay down what was read
      workgroupBarrier();
      for (var i = 0u; i < x_each; i++) {
        let word = local + 256 * i;
        if (word < tile_rows * 4) {
          xs[word / 4 * 5 + word % 4] = next_x[i];
        }
      }
      for (var i = 0u; i < w_each; i++) {
        let word = local + 256 * i;
        if (word < tile_outputs * row_words) {
          if (is_q4) {
            ws[word / 2 * 5 + word % 2 * 2] = (next_w[i] << vec4u(4)) & vec4u(0xf0f0f0f0u);
            ws[word / 2 * 5 + word % 2 * 2 + 1] = next_w[i] & vec4u(0xf0f0f0f0u);
          } else {
            ws[word / 4 * 5 + word % 4] = next_w[i];
          }
        }
      }
      if (local < tile_rows * 2) {
        x_factors[local] = next_x_factor;
      }
      if (local < tile_outputs * 2) {
        w_factors[local] = next_w_factors;
      }
      workgroupBarrier();
    }
    if (step < steps) {
      for (var i = 0u; i < x_each; i++) {
        let word = local + 256 * i;
        let row = first_row + word / 4;
        let at = step * 4 + word % 4;
        next_x[i] = vec4u();
        if (row < p.rows && at < x_groups * 2 && word < tile_rows * 4) {
          next_x[i] = x[p.x_at + row * (x_groups * 2) + at];
        }
      }
      for (var i = 0u; i < w_each; i++) {
        let word = local + 256 * i;
        let at = step * row_words + word % row_words;
        next_w[i] = vec4u();
        if (at < x_groups * (row_words / 2) && word < tile_outputs * row_words) {
          let row = weight_row(workgroup.x, word / row_words);
          next_w[i] = weight[p.weight_at + row * p.stride / 4 + at] ^ vec4u(sign_bits);
        }
      }
      let group = step * 2 + local % 2;
      next_x_factor = 0.0;
      if (local < tile_rows * 2 && first_row + local / 2 < p.rows && group < x_groups) {
        next_x_factor = x_scales[p.x_scales_at + (first_row + local / 2) * x_groups + group];
      }
      next_w_factors = vec2f();
      if (local < tile_outputs * 2 && group < x_groups) {
        let at = weight_row(workgroup.x, local / 2) * p.groups + group * 32 / weight_group;
        if (minimums) {
          let pair = unpack2x16float(scales[p.scales_at + at]);
          next_w_factors = vec2f(pair.x * code_scale, fma(offset, pair.x, pair.y));
        } else {
          let pair = unpack2x16float(scales[p.scales_at + at / 2]);
          next_w_factors.x = select(pair.x, pair.y, at % 2 == 1) * code_scale;
        }
      }
    }
    if (step > 0) {
      for (var g = 0u; g < 2; g++) {
        for (var j = 0u; j < n_count; j++) {
          let n = tx + 16 * j;
          let b = ws[n * 5 + 2 * g];
          let c = ws[n * 5 + 2 * g + 1];
          let w_factor = w_factors[n * 2 + g];
          for (var i = 0u; i < m_count; i++) {
            let m = ty + 16 * i;
            let u = xs[m * 5 + 2 * g];
            let v = xs[m * 5 + 2 * g + 1];
            let products = dot4(u.x, b.x) + dot4(u.y, b.y) + dot4(u.z, b.z) + dot4(u.w, b.w)
              + dot4(v.x, c.x) + dot4(v.y, c.y) + dot4(v.z, c.z) + dot4(v.w, c.w);
            let x_factor = x_factors[m * 2 + g];
            acc[i * n_count + j] += f32(products) * (x_factor * w_factor.x);
            if (minimums) {
              let total = sum4(u) + sum4(v);
              acc[i * n_count + j] += w_factor.y * (x_factor * f32(total));
            }
          }
        }
      }
    }
  }

// include tileResults
}
