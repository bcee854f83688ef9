// Causal attention of a few rows, as a decode step has them: the query heads of a kv head share a workgroup, which reads each key and
// value once for all of them. 128 keys a tile: an invocation a key for the scores; then, for the values, an invocation a quad of
// dimensions and every `groups`th key, for all queries, `ahead` of them asked for before one is used; with a running maximum (online softmax;
// Dao et al. 2022). The groups' sums meet at the end. With `splits` above 1 the keys of a row are shared out over so many
// workgroups (`least_keys` each at least), whose sums attentionJoin.wgsl or the product that follows puts together. With `qkv` the single
// row is normed, rotated and stored here as by qkNormRope.wgsl: each workgroup makes what it needs; the first of a head writes the cache, and
// none reads there what is new. Sequences of more than `most_rows` rows are attentionRows.wgsl's.
// Workgroups: [kv_heads * splits, rows, 1]. Traffic: keys and values once a row.
// Constants: query_heads, kv_heads, head_dim, cache_type, splits, least_keys (of a share), most_rows, size, queries (query_heads / kv_heads), batch (queries whose sums meet at once). Loops up to p.quads
// are not unrolled: it would take compilers long.

// include attend

const makes = has_qkv;
const reduce_lanes = size;

fn new_quad(kv_head: u32, h: u32, quad: u32) -> vec4f {
  let head = select(select(query_heads + kv_heads + kv_head, query_heads + kv_head, h == queries), kv_head * queries + h, h < queries);
  return qkv[p.qkv_at + head * quads + quad];
}

@compute @workgroup_size(size)
fn main(workgroup: Workgroup, invocation: Invocation) {
  let local = own_place(workgroup, invocation);
  let group = workgroup.id;
  let kv_head = group.x / splits;
  let split = group.x % splits;
  // By the last invocation, which has least to do while heads are made.
  if (local == size - 1) {
    sequence = sequence_of(group.y);
  }
  if (group.x == 0 && group.y == 0) {
    for (var s = local; s < p.sequence_count; s += size) {
      _ = sequence_at(s);
    }
  }
  if (makes) {
    ask_for_heads(kv_head, local);
    make_heads(kv_head, split == 0, local);
  }
  let here = workgroupUniformLoad(&sequence);
  if (here.rows > 0 && here.rows <= most_rows) {
    attend(here, group.y, kv_head, kv_head * queries, share_of(here, group.y, split), local, folding(workgroup));
  }
}
