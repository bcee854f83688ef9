// out = silu(x[:, :columns]) * x[:, columns:]; x: [rows, 2 columns]. A thread an element: reads two, writes one.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i < p.rows * p.columns) {
    let gate = p.x_at + i + i / p.columns * p.columns;
    out[p.out_at + i] = silu(x[gate]) * x[gate + p.columns];
  }
}
