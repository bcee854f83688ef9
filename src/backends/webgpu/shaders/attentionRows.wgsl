// Causal attention of many rows, as prompts and training have them: a workgroup takes 32 rows of a sequence and a query head, and walks over
// their keys, 32 at a time: of the scores each of 64 invocations has 4 rows (4 ty and on) by 4 keys (4 tx and on), summed 16 dims
// at a time; of the result 4 rows by 4 of each 32 dims, scaled anew as the maximum of a row grows (online softmax; Dao et al. 2022).
// What is multiplied next is asked for before this is. Sequences of at most `few` rows are attention.wgsl's.
// Workgroups: [rows / 32 + sequences, query_heads, 1]. Traffic: keys and values once for 32 rows of a query head, queries once for 32 keys.
// Workgroup memory: 9 KiB. Constants: query_heads, kv_heads, head_dim (at most 128), cache_type, few.

// include cacheQuads
// include ragged
// include rowBlocks
// include blocks

const dims: u32 = (head_dim + 31) / 32;
const lowest = -3.0e38;
const reduce_lanes = 64;

var<workgroup> tiles: array<vec4f, 256>; // queries, keys: [32][16 dims / 4] each; or values: [32][32 dims / 4]
var<workgroup> factors: array<vec4f, 256>; // weights: [32 keys][32 rows / 4]
var<workgroup> parts: array<f32, 256>; // of a row, by tx: [32][8]
var<workgroup> heads_here: array<u32, 32>; // of the block's keys, in the cache

// Quads thread % 4 of rows thread / 4 and 16 further on: queries, then keys, of dims 16 step and on.
fn asked(thread: u32, here: Rows, head: u32, step: u32) -> mat4x4f {
  let quad = 4u * step + thread % 4u;
  var found = mat4x4f();
  if (quad < quads) {
    for (var i = 0u; i < 2u; i++) {
      let row = min(thread / 4u + 16u * i, here.count - 1u);
      found[i] = query[p.query_at + ((here.sequence.first_row + here.first + row) * query_heads + head) * quads + quad];
      found[2u + i] = key_quad(heads_here[thread / 4u + 16u * i], quad);
    }
  }
  return found;
}

// Quads thread % 8 of values thread / 8 and 8, 16, 24 further on, of dims 32 slice and on.
fn asked_values(thread: u32, slice: u32) -> mat4x4f {
  let quad = 8u * slice + thread % 8u;
  var found = mat4x4f();
  if (quad < quads) {
    found[0] = value_quad(heads_here[thread / 8u], quad);
    found[1] = value_quad(heads_here[thread / 8u + 8u], quad);
    found[2] = value_quad(heads_here[thread / 8u + 16u], quad);
    found[3] = value_quad(heads_here[thread / 8u + 24u], quad);
  }
  return found;
}

// Sums of weights times the values of a slice; `next`: those of the one behind it.
fn add(thread: u32, v: mat4x4f, slice: u32, sum: mat4x4f, next: ptr<function, mat4x4f>) -> mat4x4f {
  workgroupBarrier();
  tiles[thread] = v[0];
  tiles[thread + 64u] = v[1];
  tiles[thread + 128u] = v[2];
  tiles[thread + 192u] = v[3];
  workgroupBarrier();
  if (slice + 1u < dims) {
    *next = asked_values(thread, slice + 1u);
  }
  return sum + product_of(thread);
}

fn scaled(sum: mat4x4f, by: vec4f) -> mat4x4f {
  return mat4x4f(sum[0] * by.x, sum[1] * by.y, sum[2] * by.z, sum[3] * by.w);
}

fn tell(thread: u32, each: vec4f) {
  let at = 32u * (thread / 8u) + thread % 8u;
  parts[at] = each.x;
  parts[at + 8u] = each.y;
  parts[at + 16u] = each.z;
  parts[at + 24u] = each.w;
}

fn told(thread: u32, by: u32) -> vec4f {
  let at = 32u * (thread / 8u) + by;
  return vec4f(parts[at], parts[at + 8u], parts[at + 16u], parts[at + 24u]);
}

// Of rows 4 ty and on, over all keys of a block.
fn largest_of(thread: u32, each: vec4f, folded: u32) -> vec4f {
  if (folded == 8u) {
    return vec4f(folded_max(each.x, 8u), folded_max(each.y, 8u), folded_max(each.z, 8u), folded_max(each.w, 8u));
  }
  tell(thread, each);
  workgroupBarrier();
  var largest = vec4f(lowest);
  for (var t = 0u; t < p.parts; t++) {
    largest = max(largest, told(thread, t));
  }
  return largest;
}

fn total_of(thread: u32, each: vec4f, folded: u32) -> vec4f {
  if (folded == 8u) {
    return vec4f(folded_sum(each.x, 8u), folded_sum(each.y, 8u), folded_sum(each.z, 8u), folded_sum(each.w, 8u));
  }
  workgroupBarrier();
  tell(thread, each);
  workgroupBarrier();
  var total = vec4f();
  for (var t = 0u; t < p.parts; t++) {
    total += told(thread, t);
  }
  return total;
}

fn store(thread: u32, here: Rows, head: u32, slice: u32, sum: mat4x4f) {
  let quad = 8u * slice + thread % 8u;
  for (var i = 0u; i < 4u; i++) {
    let row = 4u * (thread / 8u) + i;
    if (row < here.count && quad < quads) {
      out[p.out_at + ((here.sequence.first_row + here.first + row) * query_heads + head) * quads + quad] = sum[i];
    }
  }
}

@compute @workgroup_size(64)
fn main(workgroup: Workgroup, invocation: Invocation) {
  let thread = own_place(workgroup, invocation);
  let folded = min(8u, folding(workgroup));
  let head = workgroup.id.y;
  let kv_head = head / (query_heads / kv_heads);
  if (workgroup.id.x == 0u && workgroup.id.y == 0u) {
    for (var s = thread; s < p.sequence_count; s += 64u) {
      _ = sequence_at(s);
    }
  }
  if (thread == 0u) {
    place = place_of(workgroup.id.x);
  }
  let here = workgroupUniformLoad(&place);
  if (here.count == 0u || here.sequence.rows <= few) {
    return;
  }
  let before = here.sequence.keys - here.sequence.rows + here.first; // row i here sees the first before + i + 1 keys
  let tx = thread % 8u;
  let ty = thread / 8u;

  var largest = vec4f(lowest); // of rows 4 ty and on
  var total = vec4f(); // of their weights, of keys 4 tx and on of each block
  var sum0 = mat4x4f();
  var sum1 = mat4x4f();
  var sum2 = mat4x4f();
  var sum3 = mat4x4f();
  for (var first = 0u; first < before + here.count; first += 32u) {
    workgroupBarrier();
    if (thread < 32u) {
      heads_here[thread] = cache_row_of(here.sequence, min(first + thread, before + here.count - 1u)) * kv_heads + kv_head;
    }
    workgroupBarrier();
    var scores = mat4x4f();
    var next = asked(thread, here, head, 0u);
    for (var step = 0u; step < p.steps; step++) {
      workgroupBarrier();
      for (var i = 0u; i < 2u; i++) {
        tiles[tile_at(0u, thread / 4u + 16u * i, thread % 4u)] = next[i];
        tiles[tile_at(1u, thread / 4u + 16u * i, thread % 4u)] = next[2u + i];
      }
      workgroupBarrier();
      if (step + 1u < p.steps) {
        next = asked(thread, here, head, step + 1u);
      }
      for (var quad = 0u; quad < p.step_quads; quad++) {
        let k = mat4x4f(
          tiles[tile_at(1u, 4u * tx, quad)], tiles[tile_at(1u, 4u * tx + 1u, quad)],
          tiles[tile_at(1u, 4u * tx + 2u, quad)], tiles[tile_at(1u, 4u * tx + 3u, quad)]);
        scores[0] += tiles[tile_at(0u, 4u * ty, quad)] * k;
        scores[1] += tiles[tile_at(0u, 4u * ty + 1u, quad)] * k;
        scores[2] += tiles[tile_at(0u, 4u * ty + 2u, quad)] * k;
        scores[3] += tiles[tile_at(0u, 4u * ty + 3u, quad)] * k;
      }
    }
    let values_first = asked_values(thread, 0u);

    let key = vec4u(first + 4u * tx) + vec4u(0u, 1u, 2u, 3u);
    var peaks = vec4f();
    for (var i = 0u; i < 4u; i++) {
      let seen = key <= vec4u(before + 4u * ty + i);
      scores[i] = select(vec4f(lowest), scores[i] * p.scale, seen);
      peaks[i] = max(max(scores[i].x, scores[i].y), max(scores[i].z, scores[i].w));
    }
    let now = max(largest, largest_of(thread, peaks, folded));
    let shrink = exp(largest - now);
    largest = now;
    var weights = mat4x4f();
    for (var i = 0u; i < 4u; i++) {
      let seen = key <= vec4u(before + 4u * ty + i);
      weights[i] = select(vec4f(), exp(scores[i] - now[i]), seen);
      total[i] = total[i] * shrink[i] + (weights[i].x + weights[i].y) + (weights[i].z + weights[i].w);
    }
    weights = transpose(weights);
    for (var i = 0u; i < 4u; i++) {
      factors[(4u * tx + i) * 8u + ty] = weights[i];
    }
    var v = mat4x4f();
    sum0 = add(thread, values_first, 0u, scaled(sum0, shrink), &v);
    if (dims > 1u) { sum1 = add(thread, v, 1u, scaled(sum1, shrink), &v); }
    if (dims > 2u) { sum2 = add(thread, v, 2u, scaled(sum2, shrink), &v); }
    if (dims > 3u) { sum3 = add(thread, v, 3u, scaled(sum3, shrink), &v); }
  }
  total = total_of(thread, total, folded);
  let inverse = 1.0 / total;
  store(thread, here, head, 0u, scaled(sum0, inverse));
  if (dims > 1u) { store(thread, here, head, 1u, scaled(sum1, inverse)); }
  if (dims > 2u) { store(thread, here, head, 2u, scaled(sum2, inverse)); }
  if (dims > 3u) { store(thread, here, head, 3u, scaled(sum3, inverse)); }
  if (has_logsumexp && tx == 0u) {
    for (var i = 0u; i < 4u; i++) {
      if (4u * ty + i < here.count) {
        logsumexp[p.logsumexp_at + (here.sequence.first_row + here.first + 4u * ty + i) * query_heads + head] = largest[i] + log(total[i]);
      }
    }
  }
}
