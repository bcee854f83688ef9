// out = x * sigmoid(x), element by element: 256 a workgroup, reads and writes each once.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i < p.rows * p.columns) {
    out[p.out_at + i] = silu(x[p.x_at + i]);
  }
}
