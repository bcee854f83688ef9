// dquery of attention: a workgroup takes 32 rows of a sequence (its y a head) and walks over their keys, 32 at a time: scores and
// dout . values, from them ds, then dquery += ds keys. Reads queries and dout once a block of keys, keys and values once a block of
// rows.
// include ragged
// include attentionTiles
// include rowBlocks
fn add(thread: u32, kv_head: u32, slice: u32, sum: mat4x4f) -> mat4x4f {
  workgroupBarrier();
  for (var i = thread / 8u; i < p.lines; i += 8u) {
    tiles[i * 8u + thread % 8u] = key_quad(key_rows[i], kv_head, 32u * slice + 4u * (thread % 8u));
  }
  workgroupBarrier();
  return sum + product_of(thread);
}

fn store(thread: u32, head: u32, slice: u32, sum: mat4x4f) {
  let dim = 32u * slice + 4u * (thread % 8u);
  for (var i = 0u; i < 4u; i++) {
    let row = query_rows[4u * (thread / 8u) + i];
    if (row == no_row || dim >= p.head_dim) { continue; }
    let at = p.dquery_at + ((row * p.query_heads + head) * p.head_dim + dim) / 2u;
    dquery[at] = sum[i].xy;
    if (dim + 2u < p.head_dim) { dquery[at + 1u] = sum[i].zw; }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.y;
  let kv_head = head / (p.query_heads / p.kv_heads);
  if (thread == 0u) { place = place_of(group.x); }
  let here = workgroupUniformLoad(&place);
  if (here.count == 0u) { return; }
  let before = here.sequence.keys - here.sequence.rows + here.first; // row i here sees the first before + i + 1 keys
  if (thread < 32u) { query_rows[thread] = select(no_row, here.sequence.first_row + here.first + thread, thread < here.count); }
  workgroupBarrier();

  let ty = thread / 8u;
  var known: array<vec2f, 4>;
  for (var i = 0u; i < 4u; i++) {
    let row = query_rows[4u * ty + i];
    if (row != no_row) { known[i] = stats[p.stats_at + row * p.query_heads + head]; }
  }
  var sum0: mat4x4f; var sum1: mat4x4f; var sum2: mat4x4f; var sum3: mat4x4f;
  for (var first = 0u; first < before + here.count; first += 32u) {
    workgroupBarrier();
    if (thread < 32u) {
      var row = no_row;
      if (first + thread < before + here.count) { row = cache_row_of(here.sequence, first + thread); }
      key_rows[thread] = row;
    }
    workgroupBarrier();
    let scores = scores_of(thread, head, kv_head);
    var ds: mat4x4f;
    for (var i = 0u; i < 4u; i++) {
      let key = vec4u(first + 4u * (thread % 8u)) + vec4u(0u, 1u, 2u, 3u);
      let probability = exp(scores.s[i] * p.scale - known[i].x);
      let seen = (key <= vec4u(before + 4u * ty + i)) & vec4<bool>(4u * ty + i < here.count);
      // A row that sees one key alone takes it whole, whatever its score: its ds is 0, not what rounding leaves.
      let weighs = seen & vec4<bool>(before + 4u * ty + i > 0u);
      ds[i] = select(vec4f(), probability * (scores.dp[i] - known[i].y) * p.scale, weighs);
    }
    ds = transpose(ds);
    for (var i = 0u; i < 4u; i++) { factors[(4u * (thread % 8u) + i) * 8u + ty] = ds[i]; }
    sum0 = add(thread, kv_head, 0u, sum0);
    if (dims > 1u) { sum1 = add(thread, kv_head, 1u, sum1); }
    if (dims > 2u) { sum2 = add(thread, kv_head, 2u, sum2); }
    if (dims > 3u) { sum3 = add(thread, kv_head, 3u, sum3); }
  }
  store(thread, head, 0u, sum0);
  if (dims > 1u) { store(thread, head, 1u, sum1); }
  if (dims > 2u) { store(thread, head, 2u, sum2); }
  if (dims > 3u) { store(thread, head, 3u, sum3); }
}
