// Attention of `queries` query heads of a row that share a kv head, over a share of the keys, by a workgroup of `size`; with `makes` the heads of
// the row, which is the only one, are normed, rotated and put into the cache first. How: attention.wgsl.

// include cacheQuads
// include ragged

const groups: u32 = size / quads;
const ahead: u32 = select(2, 4, quads % 4 == 0);
const made: u32 = select(1, (queries + 2) * quads, makes);
const made_each: u32 = (made + size - 1) / size;
const peak_lanes = 8u; // of a query: 16 queries at most

var<workgroup> sequence: Sequence;
var<workgroup> q: array<vec4f, queries * quads>;
var<workgroup> weights: array<f32, queries * size>;
var<workgroup> heads_here: array<u32, size>; // of the tile's keys; the highest bit: it is the new one
var<workgroup> tops: array<f32, size>;
var<workgroup> largest: array<f32, queries>;
var<workgroup> factors: array<f32, queries>;
var<workgroup> sums_here: array<vec4f, batch * size>;
var<workgroup> totals_here: array<f32, queries * groups>;
var<workgroup> heads_made: array<vec4f, made>; // queries, key, value
var<workgroup> made_parts: array<f32, made>;
var<workgroup> made_bits: array<u32, made>;

const is_new = 0x80000000u;
const nowhere = 0xffffffffu;
var<private> new_head = nowhere;

var<private> norms: array<vec4f, made_each>;
var<private> cosine: vec4f;
var<private> sine: vec4f;

// Asks for what row 0 is made with besides its product, and finds the new head.
fn ask_for_heads(kv_head: u32, local: u32) {
  let position = u32(positions[p.positions_at]);
  let kv_row = u32(kvRows[p.kvRows_at]);
  for (var i = 0u; i < made_each; i++) {
    let quad = (local + i * size) % quads;
    norms[i] = select(keyNorm[p.keyNorm_at + quad], queryNorm[p.queryNorm_at + quad], (local + i * size) / quads < queries);
  }
  let angles = p.rope_at + min(position, p.rope_rows - 1) * quads + local % (quads / 2);
  cosine = rope[angles];
  sine = rope[angles + quads / 2];
  if (position < p.rope_rows && kv_row < p.cache_rows) {
    new_head = kv_row * kv_heads + kv_head;
  } else {
    index_out_of_range();
  }
}

// Makes queries, key and value of row 0 and kv head `kv_head` of what `new_quad` gives, [queries, key, value], once the rest was asked for;
// `stores`: writes the latter two into the cache.
fn make_heads(kv_head: u32, stores: bool, local: u32) {
  for (var at = local; at < made; at += size) {
    let v = new_quad(kv_head, at / quads, at % quads);
    heads_made[at] = v;
    made_parts[at] = dot(v, v);
  }
  let inside = new_head != nowhere;
  workgroupBarrier();
  for (var i = 0u; i < made_each; i++) {
    let at = local + i * size;
    let h = at / quads;
    if (at < made && ((h < queries && has_queryNorm) || (h == queries && has_keyNorm))) {
      var squares = 0.0;
      for (var part = 0u; part < p.quads; part++) {
        squares += made_parts[h * quads + part];
      }
      let inverse = 1.0 / sqrt(squares / f32(head_dim) + p.head_eps);
      heads_made[at] = heads_made[at] * inverse * norms[i];
    }
  }
  workgroupBarrier();
  // The lower half of a head is turned with the upper one by one invocation, which turns the same quad of other heads.
  const turning = size / (quads / 2);
  for (var h = local / (quads / 2); h <= queries && local < turning * (quads / 2); h += turning) {
    let at = h * quads + local % (quads / 2);
    let a = heads_made[at];
    let b = heads_made[at + quads / 2];
    heads_made[at] = a * cosine - b * sine;
    heads_made[at + quads / 2] = b * cosine + a * sine;
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
    if (h < queries) {
      q[at] = heads_made[at];
      continue;
    }
    let v = heads_made[at];
    if (cache_type == 0) {
      for (var i = 0u; i < 4; i++) {
        store(stores && inside, h == queries, new_head * head_dim + 4 * quad + i, bitcast<u32>(v[i]));
      }
    } else if (cache_type == 1) {
      let words = vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
      store(stores && inside, h == queries, new_head * (head_dim / 2) + 2 * quad, words.x);
      store(stores && inside, h == queries, new_head * (head_dim / 2) + 2 * quad + 1, words.y);
      heads_made[at] = vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
    } else {
      var bits = 0u;
      for (var i = 0u; i < p.quads; i++) {
        bits = max(bits, made_bits[h * quads + i]);
      }
      let is_finite = bits < 0x7f800000;
      let peak = bitcast<f32>(select(0u, bits, is_finite));
      let has_codes = is_finite && peak > 3.8e-37;
      let inverse = 127.0 / select(1.0, peak, has_codes);
      let codes = select(vec4i(), vec4i(round(v * inverse)), has_codes);
      let bytes = vec4u(codes) & vec4u(255);
      let scale = select(0x7fc00000u, bitcast<u32>(peak / 127.0), is_finite);
      store(stores && inside, h == queries, new_head * (quads + 1) + quad, bytes.x | (bytes.y << 8) | (bytes.z << 16) | (bytes.w << 24));
      if (quad == 0) {
        store(stores && inside, h == queries, new_head * (quads + 1) + quads, scale);
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

// Keys [begin, end) of those that a row sees: one of `splits` shares.
struct Share {
  split: u32,
  begin: u32,
  end: u32,
}

fn share_of(here: Sequence, row: u32, split: u32) -> Share {
  let most = here.keys - here.rows + (row - here.first_row) + 1;
  let used = clamp((most + least_keys - 1) / least_keys, 1, splits);
  let each = (most + used - 1) / used;
  return Share(split, min(most, split * each), min(most, (split + 1) * each));
}

// Row `row`, which is of this sequence, and the heads from `first_head` on. Of `folded` neighbouring invocations scores meet without workgroup memory.
fn attend(here: Sequence, row: u32, kv_head: u32, first_head: u32, share: Share, local: u32, folded: u32) {
  if (!makes) {
    for (var at = local; at < queries * quads; at += size) {
      q[at] = query[p.query_at + (row * query_heads + first_head) * quads + at];
    }
  }
  if (local < queries) {
    largest[local] = -3.0e38;
  }
  workgroupBarrier();
  let begin = share.begin;
  let end = share.end;
  // A row that is not the new one, to read in its place.
  let other_head = (new_head + kv_heads) % (p.cache_rows * kv_heads);
  let quad = local % quads;
  let group = local / quads;

  var sums: array<vec4f, queries>;
  var totals: array<f32, queries>;
  for (var c = 0u; c < queries; c++) {
    sums[c] = vec4f();
    totals[c] = 0.0;
  }
  for (var tile = begin; tile < end; tile += size) {
    let count = min(size, end - tile);
    var scores: array<f32, queries>;
    for (var c = 0u; c < queries; c++) {
      scores[c] = 0.0;
    }
    if (local < count) {
      var head = cache_row_of(here, tile + local) * kv_heads + kv_head;
      let found_new = makes && head == new_head;
      head = select(head, other_head, found_new);
      heads_here[local] = select(head, head | is_new, found_new);
      for (var i = 0u; i < p.quads; i += ahead) {
        var k: array<vec4f, ahead>;
        for (var a = 0u; a < ahead; a++) {
          k[a] = key_quad(head, i + a);
        }
        for (var a = 0u; a < ahead; a++) {
          if (makes) {
            k[a] = select(k[a], heads_made[queries * quads + i + a], found_new);
          }
          for (var c = 0u; c < queries; c++) {
            scores[c] += dot(q[c * quads + i + a], k[a]);
          }
        }
      }
    }
    var each = peak_lanes; // peaks of a query
    if (folded >= max(queries, 8)) {
      each = size / folded;
    }
    for (var c = 0u; c < queries; c++) {
      let score = select(-3.0e38, scores[c] * p.scale, local < count);
      weights[c * size + local] = score;
      if (folded >= max(queries, 8)) {
        let peak = folded_max(score, folded);
        if (local % folded == 0) {
          tops[c * each + local / folded] = peak;
        }
      }
    }
    workgroupBarrier();
    if (folded < max(queries, 8)) {
      if (local < queries * peak_lanes) {
        var peak = -3.0e38;
        for (var i = local % peak_lanes; i < count; i += peak_lanes) {
          peak = max(peak, weights[local / peak_lanes * size + i]);
        }
        tops[local] = peak;
      }
      workgroupBarrier();
    }
    if (local < queries) {
      var peak = largest[local];
      for (var i = 0u; i < each; i++) {
        peak = max(peak, tops[local * each + i]);
      }
      factors[local] = exp(largest[local] - peak);
      largest[local] = peak;
    }
    workgroupBarrier();
    for (var c = 0u; c < queries; c++) {
      let weight = exp(weights[c * size + local] - largest[c]);
      weights[c * size + local] = select(0.0, weight, local < count);
      sums[c] *= factors[c];
      totals[c] *= factors[c];
    }
    workgroupBarrier();
    if (group < groups) {
      for (var key = group; key < count; key += ahead * groups) {
        var v: array<vec4f, ahead>;
        for (var a = 0u; a < ahead; a++) {
          let head = heads_here[min(key + a * groups, count - 1)];
          v[a] = value_quad(head & ~is_new, quad);
          if (makes) {
            v[a] = select(v[a], heads_made[(queries + 1) * quads + quad], head >= is_new);
          }
        }
        for (var a = 0u; a < ahead; a++) {
          let at = min(key + a * groups, size - 1);
          for (var c = 0u; c < queries; c++) {
            let weight = select(0.0, weights[c * size + at], key + a * groups < count);
            sums[c] = fma(vec4f(weight), v[a], sums[c]);
            totals[c] += weight;
          }
        }
      }
    }
    workgroupBarrier();
  }

  if (group < groups && quad == 0) {
    for (var c = 0u; c < queries; c++) {
      totals_here[c * groups + group] = totals[c];
    }
  }
  for (var first = 0u; first < queries; first += batch) {
    for (var b = 0u; b < batch; b++) {
      sums_here[b * size + local] = sums[min(first + b, queries - 1)];
    }
    workgroupBarrier();
    for (var mine = local; mine < min(batch, queries - first) * quads; mine += size) {
      let c = first + mine / quads;
      let own = mine % quads;
      var sum = vec4f();
      var total = 0.0;
      for (var g = 0u; g < size / p.quads; g++) {
        sum += sums_here[mine / quads * size + g * quads + own];
        total += totals_here[c * groups + g];
      }
      let head = row * query_heads + first_head + c;
      if (splits == 1) {
        out[p.out_at + head * quads + own] = sum / total;
        if (has_logsumexp && own == 0) {
          logsumexp[p.logsumexp_at + head] = largest[c] + log(total);
        }
      } else {
        out[p.out_at + (head * splits + share.split) * quads + own] = sum;
        if (own == 0) { // behind all sums
          let at = p.out_at + p.rows * query_heads * splits * quads + head * splits + share.split;
          out[at] = vec4f(largest[c], total, 0.0, 0.0);
        }
      }
    }
    workgroupBarrier();
  }
}

