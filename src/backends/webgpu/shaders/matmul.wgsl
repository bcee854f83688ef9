// out = x weight^T (+ residual) for many rows. Products are in `real`, sums in f32; with `halves` real is f16, and so are sums over every fourth
// input of a step, before they join the others. A workgroup of 16 x 16 makes tile_rows x tile_outputs
// results; an invocation every 16th row and output of them, in registers. tile_inputs at a time are read (the next ones while these are
// multiplied), dequantized and laid into workgroup memory, a quad of padding a row: then the 8 that are read at once lie in different banks.
// With `gate` a tile holds gates and ups of its outputs: out = silu(gate) * up.
// Workgroups: [outputs / tile_outputs (half of it with gate), rows / tile_rows, 1]. Traffic: the weight once for tile_rows rows, x once for tile_outputs outputs.
// Constants: weight_type, tile_rows, tile_outputs (multiples of 16), tile_inputs (a multiple of the block), gate, minimums, halves.

const block = array<u32, 7>(4, 8, 8, 16, 32, 16, 32)[weight_type]; // elements in a vec4u
const is_f32 = weight_type == 0;
const is_f16 = weight_type == 1;
const is_bf16 = weight_type == 2;
const is_q4 = weight_type == 4 || weight_type == 6;
const is_coded = weight_type >= 3;
const sign_bits = select(select(0u, 0x80808080u, weight_type == 5), 0x88888888u, is_q4);
const offset = select(0.0, select(128.0, 8.0, is_q4), minimums);
const quads = tile_inputs / 4;
const stride = quads + 1;
const row_words = tile_inputs / block; // of a row of the weight in a step
const m_count = tile_rows / 16;
const n_count = tile_outputs / 16;
const x_each = (tile_rows * quads + 255) / 256;
const w_each = (tile_outputs * row_words + 255) / 256;

var<workgroup> xs: array<vec4<real>, tile_rows * stride>;
var<workgroup> ws: array<vec4<real>, tile_outputs * stride>;

// include tileOutputs

fn brain_floats(words: vec2u) -> vec4f {
  let low = bitcast<vec2f>(words << vec2u(16));
  let high = bitcast<vec2f>(words & vec2u(0xffff0000u));
  return vec4f(low.x, high.x, low.y, high.y);
}

// Lays a block of the weight into workgroup memory from `place` on.
fn lay(v: vec4u, factor: vec2f, place: u32) {
  if (is_f32) {
    ws[place] = vec4<real>(bitcast<vec4f>(v));
  } else if (is_f16) {
    ws[place] = vec4<real>(vec4f(unpack2x16float(v.x), unpack2x16float(v.y)));
    ws[place + 1] = vec4<real>(vec4f(unpack2x16float(v.z), unpack2x16float(v.w)));
  } else if (is_bf16) {
    ws[place] = vec4<real>(brain_floats(v.xy));
    ws[place + 1] = vec4<real>(brain_floats(v.zw));
  } else {
    let least = vec4f(fma(offset, factor.x, factor.y));
    if (is_q4) {
      let scale = vec4f(factor.x * 0.0625);
      let low = (v << vec4u(4)) & vec4u(0xf0f0f0f0u);
      let high = v & vec4u(0xf0f0f0f0u);
      ws[place] = vec4<real>(fma(signed_bytes(low.x), scale, least));
      ws[place + 1] = vec4<real>(fma(signed_bytes(low.y), scale, least));
      ws[place + 2] = vec4<real>(fma(signed_bytes(low.z), scale, least));
      ws[place + 3] = vec4<real>(fma(signed_bytes(low.w), scale, least));
      ws[place + 4] = vec4<real>(fma(signed_bytes(high.x), scale, least));
      ws[place + 5] = vec4<real>(fma(signed_bytes(high.y), scale, least));
      ws[place + 6] = vec4<real>(fma(signed_bytes(high.z), scale, least));
      ws[place + 7] = vec4<real>(fma(signed_bytes(high.w), scale, least));
    } else {
      let scale = vec4f(factor.x);
      ws[place] = vec4<real>(fma(signed_bytes(v.x), scale, least));
      ws[place + 1] = vec4<real>(fma(signed_bytes(v.y), scale, least));
      ws[place + 2] = vec4<real>(fma(signed_bytes(v.z), scale, least));
      ws[place + 3] = vec4<real>(fma(signed_bytes(v.w), scale, least));
    }
  }
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let tx = local % 16;
  let ty = local / 16;
  let first_row = workgroup.y * tile_rows;
  let steps = (p.inputs + tile_inputs - 1) / tile_inputs;

  var next_x: array<vec4f, x_each>;
  var next_w: array<vec4u, w_each>;
  var next_factor: array<vec2f, w_each>;
  var acc: array<f32, m_count * n_count>;
  for (var step = 0u; step <= steps; step++) {
    if (step > 0) { // lay down what was read
      workgroupBarrier();
      for (var i = 0u; i < x_each; i++) {
        let quad = local + 256 * i;
        if (quad < tile_rows * quads) {
          xs[quad / quads * stride + quad % quads] = vec4<real>(next_x[i]);
        }
      }
      for (var i = 0u; i < w_each; i++) {
        let word = local + 256 * i;
        if (word < tile_outputs * row_words) {
          lay(next_w[i], next_factor[i], word / row_words * stride + word % row_words * (block / 4));
        }
      }
      workgroupBarrier();
    }
    if (step < steps) {
      for (var i = 0u; i < x_each; i++) {
        let quad = local + 256 * i;
        let row = first_row + quad / quads;
        let at = step * quads + quad % quads;
        next_x[i] = vec4f();
        if (row < p.rows && at < p.inputs / 4 && quad < tile_rows * quads) {
          next_x[i] = x[p.x_at + row * (p.inputs / 4) + at];
        }
      }
      for (var i = 0u; i < w_each; i++) {
        let word = local + 256 * i;
        let at = step * row_words + word % row_words;
        next_w[i] = vec4u();
        next_factor[i] = vec2f();
        if (at * block < p.inputs && word < tile_outputs * row_words) {
          let row = weight_row(workgroup.x, word / row_words);
          next_w[i] = weight[p.weight_at + row * p.stride / 4 + at] ^ vec4u(sign_bits);
          if (is_coded) {
            let group = row * p.groups + at * block / weight_group;
            if (minimums) {
              next_factor[i] = unpack2x16float(scales[p.scales_at + group]);
            } else {
              let pair = unpack2x16float(scales[p.scales_at + group / 2]);
              next_factor[i].x = select(pair.x, pair.y, group % 2 == 1);
            }
          }
        }
      }
    }
    if (step > 0) {
      var runs: array<vec4<real>, m_count * n_count>;
      for (var i = 0u; halves && i < m_count * n_count; i++) {
        runs[i] = vec4<real>();
      }
      for (var quad = 0u; quad < quads; quad++) {
        var a: array<vec4<real>, m_count>;
        for (var i = 0u; i < m_count; i++) {
          a[i] = xs[(ty + 16 * i) * stride + quad];
        }
        for (var j = 0u; j < n_count; j++) {
          let b = ws[(tx + 16 * j) * stride + quad];
          for (var i = 0u; i < m_count; i++) {
            let at = i * n_count + j;
            if (halves) {
              runs[at] = fma(a[i], b, runs[at]);
            } else {
              let u = vec4f(a[i]);
              let v = vec4f(b);
              acc[at] = fma(u.w, v.w, fma(u.z, v.z, fma(u.y, v.y, fma(u.x, v.x, acc[at]))));
            }
          }
        }
      }
      for (var i = 0u; halves && i < m_count * n_count; i++) {
        let run = vec4f(runs[i]);
        acc[i] += (run.x + run.y) + (run.z + run.w);
      }
    }
  }

// include tileResults
}
