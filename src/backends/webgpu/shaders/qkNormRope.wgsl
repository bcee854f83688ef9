// One head of qkv [rows, (queryHeads + 2 kvHeads) headDim] a workgroup: rms-normed (queries and keys), rotated by rope[positions[r]], and
// written to `query` or to row kvRows[r] of a cache, in f32, f16 or 8 bits (`cache_type` 0, 1, 2). Reads and writes each element once.

const reduce_lanes = 64u;

var<workgroup> head: array<f32, head_dim>;

fn store(which: u32, word: u32, bits: u32) {
  if (which == 1) {
    keys[p.keys_at + word] = bits;
  } else {
    values[p.values_at + word] = bits;
  }
}

@compute @workgroup_size(64)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let heads: u32 = query_heads + 2 * kv_heads;
  let g = workgroup_index(workgroup.id, groups);
  if (g >= p.rows * heads) {
    return;
  }
  let row = g / heads;
  let h = g - row * heads;
  // 0: a query, 1: a key, 2: a value.
  let which = select(select(2u, 1u, h < query_heads + kv_heads), 0u, h < query_heads);
  let position = u32(positions[p.positions_at + row]);
  let kv_row = u32(kvRows[p.kvRows_at + row]);
  let inside = position < p.rope_rows && kv_row < p.cache_rows;
  for (var d = lane; d < head_dim; d += 64) {
    head[d] = qkv[p.qkv_at + g * head_dim + d];
  }
  if (which < 2) {
    if ((which == 0 && has_queryNorm) || (which == 1 && has_keyNorm)) {
      var squares = 0.0;
      for (var d = lane; d < head_dim; d += 64) {
        squares += head[d] * head[d];
      }
      let inverse = 1.0 / sqrt(workgroup_sum(lane, squares) / f32(head_dim) + p.eps);
      for (var d = lane; d < head_dim; d += 64) {
        if (which == 0) {
          head[d] = head[d] * inverse * queryNorm[p.queryNorm_at + d];
        } else {
          head[d] = head[d] * inverse * keyNorm[p.keyNorm_at + d];
        }
      }
    }
    workgroupBarrier();
    let angles = p.rope_at + min(position, p.rope_rows - 1) * head_dim;
    for (var d = lane; d < head_dim / 2; d += 64) {
      let a = head[d];
      let b = head[d + head_dim / 2];
      let cosine = rope[angles + d];
      let sine = rope[angles + d + head_dim / 2];
      head[d] = a * cosine - b * sine;
      head[d + head_dim / 2] = b * cosine + a * sine;
    }
  }
  workgroupBarrier();
  if (which == 0) {
    for (var d = lane; d < head_dim; d += 64) {
      query[p.query_at + (row * query_heads + h) * head_dim + d] = head[d];
    }
  }
  // As bits: what is not finite is larger than all else.
  var peak_bits = 0u;
  if (cache_type == 2) {
    for (var d = lane; d < head_dim; d += 64) {
      peak_bits = max(peak_bits, bitcast<u32>(head[d]) & 0x7fffffff);
    }
    peak_bits = workgroup_first(lane, vec2u(peak_bits, 0)).x;
  }
  if (!inside) {
    index_out_of_range();
    return;
  }
  if (which == 0) {
    return;
  }
  let kv_head = kv_row * kv_heads + (h - query_heads) % kv_heads;
  if (cache_type == 0) {
    for (var d = lane; d < head_dim; d += 64) {
      store(which, kv_head * head_dim + d, bitcast<u32>(head[d]));
    }
  } else if (cache_type == 1) {
    for (var d = lane; d < head_dim / 2; d += 64) {
      store(which, kv_head * (head_dim / 2) + d, pack2x16float(vec2f(head[2 * d], head[2 * d + 1])));
    }
  } else {
    const words: u32 = (head_dim + 3) / 4;
    let is_finite = peak_bits < 0x7f800000;
    // 127 / peak is infinite below: such numbers are none.
    let peak = bitcast<f32>(select(0u, peak_bits, is_finite));
    let has_codes = is_finite && peak > 3.8e-37;
    let inverse = divide(127.0, select(1.0, peak, has_codes));
    for (var word = lane; word < words; word += 64) {
      var packed = 0u;
      for (var d = 4 * word; d < min(head_dim, 4 * word + 4); d++) {
        packed |= (bitcast<u32>(i32(round(head[d] * inverse))) & 0xff) << (d % 4 * 8);
      }
      store(which, kv_head * (words + 1) + word, select(0u, packed, has_codes));
    }
    if (lane == 0) {
      store(which, kv_head * (words + 1) + words, select(0x7fc00000u, bitcast<u32>(peak / 127.0), is_finite));
    }
  }
}
