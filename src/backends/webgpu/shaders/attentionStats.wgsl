// stats[row][head] = (logsumexp, dout . out), the latter being the sum over keys of p dp. 32 invocations take a row's head, a workgroup 8 of them. The
// first workgroups also check the tables of sequences, an invocation a sequence.
// include ragged
var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let number = workgroup_index(group, groups);
  let s = number * 256u + lane;
  if (s < p.sequence_count) { _ = sequence_at(s); }
  let head = number * 8u + lane / 32u; // of all rows
  var sum = 0.0;
  if (head < p.rows * p.query_heads) {
    for (var d = lane % 32u; d < p.head_dim; d += 32u) { sum += dout[p.dout_at + head * p.head_dim + d] * out[p.out_at + head * p.head_dim + d]; }
  }
  sums[lane] = sum;
  for (var distance = 16u; distance > 0u; distance /= 2u) {
    workgroupBarrier();
    if (lane % 32u < distance) { sums[lane] += sums[lane + distance]; }
  }
  if (lane % 32u == 0u && head < p.rows * p.query_heads) { stats[p.stats_at + head] = vec2f(logsumexp[p.logsumexp_at + head], sums[lane]); }
}
