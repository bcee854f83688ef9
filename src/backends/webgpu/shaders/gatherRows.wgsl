// out[r] = x[indices[r]]; x: [sourceRows, columns]. A thread an element: reads and writes each once.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i >= p.rows * p.columns) {
    return;
  }
  let row = i / p.columns;
  let source = u32(indices[p.indices_at + row]);
  if (source >= p.sourceRows) {
    index_out_of_range();
    return;
  }
  out[p.out_at + i] = x[p.x_at + source * p.columns + i - row * p.columns];
}
