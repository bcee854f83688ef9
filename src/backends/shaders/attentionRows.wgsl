// Causal attention: the query heads of a kv head, of block_rows rows, share a workgroup, which reads each key and value once for all
// of them. 128 keys a tile: an invocation a key for the scores, then an invocation a quad of a query's result for the values, with a
// running maximum (online softmax; Dao et al. 2022). With `splits` above 1 the keys of a row are shared out over so many
// workgroups (at least 64 each), whose sums attentionJoin.wgsl or the product that follows puts together. With `qkv` the single
// row is normed, rotated and stored here as by qkNormRope.wgsl: each workgroup makes what it needs; the first of a head writes the cache, and
// none reads there what is new.
// Workgroups: [kv_heads * splits, rows / block_rows, 1]. Traffic: keys and values once for block_rows rows.
// Constants: query_heads, kv_heads, head_dim, cache_type, block_rows, splits.

// include cache
// include ragged

const size = 128u;
const sharing: u32 = query_heads / kv_heads;
const queries: u32 = block_rows * sharing; // of a workgroup
const quads: u32 = head_dim / 4;
const shares: u32 = (queries * quads + size - 1) / size; // quads of results that an invocation adds up
const made: u32 = select(1, (sharing + 2) * quads, has_qkv);

var<workgroup> sequence: Sequence;
var<workgroup> q: array<vec4f, queries * quads>;
var<workgroup> weights: array<f32, queries * size>;
var<workgroup> heads_here: array<u32, size>;
var<workgroup> largest: array<f32, queries>;
var<workgroup> factors: array<f32, queries>;
var<workgroup> heads_made: array<vec4f, made>; // queries, key, value
var<workgroup> made_parts: array<f32, made>;
var<workgroup> made_bits: array<u32, made>;

const nowhere = 0xffffffffu;
var<private> new_head = nowhere;

fn key_quad(head: u32, quad: u32) -> vec4f {
  if (has_qkv && head == new_head) {
    return heads_made[sharing * quads + quad];
  }
  let d = 4 * quad;
  if (cache_type == 0) {
    let at = p.keys_at + head * head_dim + d;
    return bitcast<vec4f>(vec4u(keys[at], keys[at + 1], keys[at + 2], keys[at + 3]));
  }
  if (cache_type == 1) {
    let at = p.keys_at + head * (head_dim / 2) + 2 * quad;
    return vec4f(unpack2x16float(keys[at]), unpack2x16float(keys[at + 1]));
  }
  let at = p.keys_at + head * (quads + 1);
  return signed_bytes(keys[at + quad]) * bitcast<f32>(keys[at + quads]);
}

fn value_quad(head: u32, quad: u32) -> vec4f {
  if (has_qkv && head == new_head) {
    return heads_made[(sharing + 1) * quads + quad];
  }
  let d = 4 * quad;
  if (cache_type == 0) {
    let at = p.values_at + head * head_dim + d;
    return bitcast<vec4f>(vec4u(values[at], values[at + 1], values[at + 2], values[at + 3]));
  }
  if (cache_type == 1) {
    let at = p.values_at + head * (head_dim / 2) + 2 * quad;
    return vec4f(unpack2x16float(values[at]), unpack2x16float(values[at + 1]));
  }
  let at = p.values_at + head * (quads + 1);
  return signed_bytes(values[at + quad]) * bitcast<f32>(values[at + quads]);
}

fn signed_bytes(word: u32) -> vec4f {
  return vec4f((vec4i(bitcast<i32>(word)) << vec4u(24, 16, 8, 0)) >> vec4u(24));
}

// Makes queries, key and value of row 0 and kv head `kv_head`; `stores`: writes the latter two into the cache.
fn make_heads(kv_head: u32, stores: bool, local: u32) {
  let position = u32(positions[p.positions_at]);
  let kv_row = u32(kvRows[p.kvRows_at]);
  let inside = position < p.rope_rows && kv_row < p.cache_rows;
  if (!inside) {
    index_out_of_range();
  } else {
    new_head = kv_row * kv_heads + kv_head;
  }
  for (var at = local; at < made; at += size) {
    let h = at / quads;
    let head = select(select(query_heads + kv_heads + kv_head, query_heads + kv_head, h == sharing), kv_head * sharing + h, h < sharing);
    let v = qkv[p.qkv_at + head * quads + at % quads];
    heads_made[at] = v;
    made_parts[at] = dot(v, v);
  }
  workgroupBarrier();
  for (var at = local; at < made; at += size) {
    let h = at / quads;
    let has_norm = (h < sharing && has_queryNorm) || (h == sharing && has_keyNorm);
    if (has_norm) {
      var squares = 0.0;
      for (var i = 0u; i < quads; i++) {
        squares += made_parts[h * quads + i];
      }
      let inverse = 1.0 / sqrt(squares / f32(head_dim) + p.eps);
      let v = heads_made[at] * inverse;
      if (h < sharing) {
        heads_made[at] = v * queryNorm[p.queryNorm_at + at % quads];
      } else {
        heads_made[at] = v * keyNorm[p.keyNorm_at + at % quads];
      }
    }
  }
  workgroupBarrier();
  // The lower half of a head is turned with the upper one by whoever has the lower.
  for (var at = local; at < made; at += size) {
    let h = at / quads;
    let quad = at % quads;
    if (h <= sharing && quad < quads / 2) {
      let angles = p.rope_at + min(position, p.rope_rows - 1) * quads + quad;
      let cosine = rope[angles];
      let sine = rope[angles + quads / 2];
      let a = heads_made[at];
      let b = heads_made[at + quads / 2];
      heads_made[at] = a * cosine - b * sine;
      heads_made[at + quads / 2] = b * cosine + a * sine;
    }
  }
  workgroupBarrier();
  if (cache_type == 2) {
    for (var at = local; at < made; at += size) {
      let bits = bitcast<vec4u>(heads_made[at]) & vec4u(0x7fffffff);
      made_bits[at] = max(max(bits.x, bits.y), max(bits.z, bits.w));
    }
    workgroupBarrier();
  }
  for (var at = local; at < made; at += size) {
    let h = at / quads;
    let quad = at % quads;
    if (h < sharing) {
      q[at] = heads_made[at];
      continue;
    }
    let v = heads_made[at];
    if (cache_type == 0) {
      for (var i = 0u; i < 4; i++) {
        store(stores && inside, h == sharing, new_head * head_dim + 4 * quad + i, bitcast<u32>(v[i]));
      }
    } else if (cache_type == 1) {
      let words = vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
      store(stores && inside, h == sharing, new_head * (head_dim / 2) + 2 * quad, words.x);
      store(stores && inside, h == sharing, new_head * (head_dim / 2) + 2 * quad + 1, words.y);
      heads_made[at] = vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
    } else {
      var bits = 0u;
      for (var i = 0u; i < quads; i++) {
        bits = max(bits, made_bits[h * quads + i]);
      }
      let is_finite = bits < 0x7f800000;
      let peak = bitcast<f32>(select(0u, bits, is_finite));
      let has_codes = is_finite && peak > 3.8e-37;
      let inverse = 127.0 / select(1.0, peak, has_codes);
      let codes = select(vec4i(), vec4i(round(v * inverse)), has_codes);
      let bytes = vec4u(codes) & vec4u(255);
      let scale = select(0x7fc00000u, bitcast<u32>(peak / 127.0), is_finite);
      store(stores && inside, h == sharing, new_head * (quads + 1) + quad, bytes.x | (bytes.y << 8) | (bytes.z << 16) | (bytes.w << 24));
      if (quad == 0) {
        store(stores && inside, h == sharing, new_head * (quads + 1) + quads, scale);
      }
      heads_made[at] = vec4f(codes) * bitcast<f32>(scale);
    }
  }
  workgroupBarrier();
}

fn store(stores: bool, is_key: bool, word: u32, bits: u32) {
  if (!stores) {
    return;
  }
  if (is_key) {
    new_keys[p.new_keys_at + word] = bits;
  } else {
    new_values[p.new_values_at + word] = bits;
  }
}

// Rows [first, last), which are of one sequence.
fn attend(here: Sequence, first: u32, last: u32, kv_head: u32, split: u32, local: u32) {
  if (!has_qkv) {
    for (var at = local; at < queries * quads; at += size) {
      let row = first + at / (sharing * quads);
      if (row < last) {
        let head = row * query_heads + kv_head * sharing + at / quads % sharing;
        q[at] = query[p.query_at + head * quads + at % quads];
      } else {
        q[at] = vec4f();
      }
    }
  }
  if (local < queries) {
    largest[local] = -3.0e38;
  }
  workgroupBarrier();
  // Row first + i sees the keys before seen + i.
  let seen = here.keys - here.rows + (first - here.first_row) + 1;
  let most = seen + (last - first) - 1;
  let used = clamp((most + 63) / 64, 1, splits);
  let each = (most + used - 1) / used;
  let begin = split * each;
  let end = min(most, begin + each);

  var sums: array<vec4f, shares>;
  var totals: array<f32, shares>;
  for (var i = 0u; i < shares; i++) {
    sums[i] = vec4f();
    totals[i] = 0.0;
  }
  for (var tile = begin; tile < end; tile += size) {
    let j = tile + local;
    var scores: array<f32, queries>;
    for (var c = 0u; c < queries; c++) {
      scores[c] = 0.0;
    }
    if (j < end) {
      let head = cache_row_of(here, j) * kv_heads + kv_head;
      heads_here[local] = head;
      for (var i = 0u; i < p.quads; i++) { // not unrolled: it would take compilers long
        let k = key_quad(head, i);
        for (var c = 0u; c < queries; c++) {
          scores[c] += dot(q[c * quads + i], k);
        }
      }
    }
    for (var c = 0u; c < queries; c++) {
      weights[c * size + local] = select(-3.0e38, scores[c] * p.scale, j < min(end, seen + c / sharing));
    }
    workgroupBarrier();
    if (local < queries) {
      var peak = largest[local];
      for (var i = 0u; i < min(size, end - tile); i++) {
        peak = max(peak, weights[local * size + i]);
      }
      factors[local] = exp(largest[local] - peak);
      largest[local] = peak;
    }
    workgroupBarrier();
    for (var c = 0u; c < queries; c++) {
      let weight = exp(weights[c * size + local] - largest[c]);
      weights[c * size + local] = select(0.0, weight, j < min(end, seen + c / sharing));
    }
    workgroupBarrier();
    for (var i = 0u; i < shares; i++) {
      let mine = local + i * size;
      let c = mine / quads;
      if (c < queries) {
        var sum = sums[i] * factors[c];
        var total = totals[i] * factors[c];
        for (var key = 0u; key < min(size, end - tile); key++) {
          let weight = weights[c * size + key];
          sum = fma(vec4f(weight), value_quad(heads_here[key], mine % quads), sum);
          total += weight;
        }
        sums[i] = sum;
        totals[i] = total;
      }
    }
    workgroupBarrier();
  }

  for (var i = 0u; i < shares; i++) {
    let mine = local + i * size;
    let c = mine / quads;
    let row = first + c / sharing;
    if (c < queries && row < last) {
      let quad = mine % quads;
      let head = row * query_heads + kv_head * sharing + c % sharing;
      if (splits == 1) {
        out[p.out_at + head * quads + quad] = sums[i] / totals[i];
        if (has_logsumexp && quad == 0) {
          logsumexp[p.logsumexp_at + head] = largest[c] + log(totals[i]);
        }
      } else {
        out[p.out_at + (head * splits + split) * quads + quad] = sums[i];
        if (quad == 0) { // behind all sums
          let at = p.out_at + p.rows * query_heads * splits * quads + head * splits + split;
          out[at] = vec4f(largest[c], totals[i], 0.0, 0.0);
        }
      }
    }
  }
}

@compute @workgroup_size(size)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  if (group.x == 0 && group.y == 0) {
    for (var s = local; s < p.sequence_count; s += size) {
      _ = sequence_at(s);
    }
  }
  let kv_head = group.x / splits;
  let split = group.x % splits;
  let end = min(group.y * block_rows + block_rows, p.rows);
  if (has_qkv) {
    make_heads(kv_head, split == 0, local);
  }
  for (var row = group.y * block_rows; row < end;) {
    if (local == 0) {
      sequence = sequence_of(row);
    }
    let here = workgroupUniformLoad(&sequence);
    if (here.rows == 0) {
      row++;
      continue;
    }
    let last = min(end, here.first_row + here.rows);
    attend(here, row, last, kv_head, split, local);
    if (block_rows == 1) {
      break;
    }
    row = last;
    workgroupBarrier();
  }
}
