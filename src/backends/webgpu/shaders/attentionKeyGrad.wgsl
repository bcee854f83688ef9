// dkeys and dvalues of attention: a workgroup takes 32 cache rows and a query head (its y), and walks over all rows that see them,
// sequence by sequence, 32 at a time: probabilities p and ds, then dvalues += p^T dout, dkeys += ds^T query. Each query head's share
// is a part of its own: parts[keys, values][head of the group][cache row][kv head][headDim], which productSum.wgsl adds up. Rows
// that no sequence uses get zeros.
// include ragged
// include attentionTiles
var<workgroup> found: array<vec4u, 2>;

// Where to look on: a sequence, its next segment and the keys before that.
struct Search {
  s: u32,
  g: u32,
  before: u32,
}

// The next segment that has some of the cache rows: (first row and rows of its sequence, keys before the sequence's first row, 1),
// (first cache row, length, keys before it, 0); (..., 0) when there is none.
fn search(state: ptr<function, Search>, first: u32) -> array<vec4u, 2> {
  for (; (*state).s < p.sequence_count; (*state).s++) {
    let sequence = sequence_at((*state).s);
    for (; sequence.rows > 0u && (*state).g < sequence.segments; (*state).g++) {
      let at = p.segments_at + 2u * (sequence.first_segment + (*state).g);
      let segment = vec2u(u32(segments[at]), u32(segments[at + 1u]));
      let before = (*state).before;
      (*state).before += segment.y;
      if (segment.x < first + 32u && segment.x + segment.y > first) {
        (*state).g++;
        let rows = vec4u(sequence.first_row, sequence.rows, sequence.keys - sequence.rows, 1u);
        return array<vec4u, 2>(rows, vec4u(segment, before, 0u));
      }
    }
    (*state).g = 0u;
    (*state).before = 0u;
  }
  return array<vec4u, 2>();
}

struct Sums {
  dkeys: mat4x4f,
  dvalues: mat4x4f,
}

// dvalues += p^T dout over 32 dims.
fn add_values(thread: u32, head: u32, slice: u32, sums: Sums) -> Sums {
  workgroupBarrier();
  for (var i = thread / 8u; i < p.lines; i += 8u) {
    tiles[i * 8u + thread % 8u] = dout_quad(query_rows[i], head, 32u * slice + 4u * (thread % 8u));
  }
  workgroupBarrier();
  return Sums(sums.dkeys, sums.dvalues + product_of(thread));
}

fn add_keys(thread: u32, head: u32, slice: u32, sums: Sums) -> Sums {
  workgroupBarrier();
  for (var i = thread / 8u; i < p.lines; i += 8u) {
    tiles[i * 8u + thread % 8u] = query_quad(query_rows[i], head, 32u * slice + 4u * (thread % 8u));
  }
  workgroupBarrier();
  return Sums(sums.dkeys + product_of(thread), sums.dvalues);
}

fn store(thread: u32, head: u32, slice: u32, first: u32, sums: Sums) {
  let dim = 32u * slice + 4u * (thread % 8u);
  let group_size = p.query_heads / p.kv_heads;
  for (var i = 0u; i < 4u; i++) {
    let row = first + 4u * (thread / 8u) + i;
    if (row >= p.cache_rows || dim >= p.head_dim) { continue; }
    let at = p.parts_at + (((head % group_size * p.cache_rows + row) * p.kv_heads + head / group_size) * p.head_dim + dim) / 2u;
    let further = at + p.query_heads * p.cache_rows * p.head_dim / 2u;
    parts[at] = sums.dkeys[i].xy;
    parts[further] = sums.dvalues[i].xy;
    if (dim + 2u < p.head_dim) {
      parts[at + 1u] = sums.dkeys[i].zw;
      parts[further + 1u] = sums.dvalues[i].zw;
    }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.y;
  let kv_head = head / (p.query_heads / p.kv_heads);
  let first = group.x * 32u;
  let tx = thread % 8u;
  let ty = thread / 8u;
  if (thread < 32u) { key_rows[thread] = select(no_row, first + thread, first + thread < p.cache_rows); }
  var state: Search;
  var sums0: Sums; var sums1: Sums; var sums2: Sums; var sums3: Sums;
  loop {
    if (thread == 0u) { found = search(&state, first); }
    let next = workgroupUniformLoad(&found);
    if (next[0].w == 0u) { break; }
    let sequence = next[0]; // first row, rows, keys before
    let segment = next[1]; // first cache row, length, keys before
    // Of the keys here the first one is seen by this row of the sequence, and all after it.
    let key = segment.z + max(first, segment.x) - segment.x;
    for (var row = key - min(key, sequence.z); row < sequence.y; row += 32u) {
      workgroupBarrier();
      if (thread < 32u) { query_rows[thread] = select(no_row, sequence.x + row + thread, row + thread < sequence.y); }
      workgroupBarrier();
      let scores = scores_of(thread, head, kv_head);
      var probabilities: mat4x4f;
      var ds: mat4x4f;
      for (var i = 0u; i < 4u; i++) {
        let own = query_rows[4u * ty + i];
        if (own == no_row) { continue; }
        let cached = vec4u(first + 4u * tx) + vec4u(0u, 1u, 2u, 3u);
        let inside = (cached >= vec4u(segment.x)) & (cached < vec4u(segment.x + segment.y));
        // Its number among the sequence's keys, at most that of the row's own.
        let last = sequence.z + row + 4u * ty + i;
        let seen = inside & (cached + segment.z - segment.x <= vec4u(last));
        let known = stats[p.stats_at + own * p.query_heads + head];
        let e = exp(scores.s[i] * p.scale - known.x);
        probabilities[i] = select(vec4f(), e, seen);
        let d = e * (scores.dp[i] - known.y) * p.scale;
        ds[i] = select(vec4f(), d, seen & vec4<bool>(last > 0u)); // one key alone is taken whole, whatever its score
      }
      for (var i = 0u; i < 4u; i++) { factors[(4u * ty + i) * 8u + tx] = probabilities[i]; }
      sums0 = add_values(thread, head, 0u, sums0);
      if (dims > 1u) { sums1 = add_values(thread, head, 1u, sums1); }
      if (dims > 2u) { sums2 = add_values(thread, head, 2u, sums2); }
      if (dims > 3u) { sums3 = add_values(thread, head, 3u, sums3); }
      workgroupBarrier();
      for (var i = 0u; i < 4u; i++) { factors[(4u * ty + i) * 8u + tx] = ds[i]; }
      sums0 = add_keys(thread, head, 0u, sums0);
      if (dims > 1u) { sums1 = add_keys(thread, head, 1u, sums1); }
      if (dims > 2u) { sums2 = add_keys(thread, head, 2u, sums2); }
      if (dims > 3u) { sums3 = add_keys(thread, head, 3u, sums3); }
    }
  }
  store(thread, head, 0u, first, sums0);
  if (dims > 1u) { store(thread, head, 1u, first, sums1); }
  if (dims > 2u) { store(thread, head, 2u, first, sums2); }
  if (dims > 3u) { store(thread, head, 3u, first, sums3); }
}
