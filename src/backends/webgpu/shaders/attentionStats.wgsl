// stats[row][head] = (logsumexp, dout . out), the latter being the sum over keys of p dp. 32 invocations take a row's head, a workgroup 8 of them. The
// first workgroups also check the tables of sequences, an invocation a sequence.
// include ragged
const reduce_lanes = 256u;
var<workgroup> sums: array<f32, reduce_lanes>;

@compute @workgroup_size(256)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let number = workgroup_index(workgroup.id, groups);
  let s = number * 256u + lane;
  if (s < p.sequence_count) { _ = sequence_at(s); }
  let head = number * 8u + lane / 32u; // of all rows
  var sum = 0.0;
  if (head < p.rows * p.query_heads) {
    for (var d = lane % 32u; d < p.head_dim; d += 32u) { sum += dout[p.dout_at + head * p.head_dim + d] * out[p.out_at + head * p.head_dim + d]; }
  }
  let folded = min(32u, folding(workgroup));
  sums[lane] = folded_sum(sum, folded);
  for (var distance = 16u; distance >= folded; distance /= 2u) {
    workgroupBarrier();
    if (lane % 32u < distance) { sums[lane] += sums[lane + distance]; }
  }
  if (lane % 32u == 0u && head < p.rows * p.query_heads) { stats[p.stats_at + head] = vec2f(logsumexp[p.logsumexp_at + head], sums[lane]); }
}
