// out[r] = x[r] * table[ids[r]] (+ residual[r]), element by element; without ids all rows take row 0.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  if (i >= p.rows * p.columns) { return; }
  var row = 0u;
  if (has_ids) {
    row = u32(ids[p.ids_at + i / p.columns]);
    if (row >= p.groups) {
      index_out_of_range();
      return;
    }
  }
  var value = x[p.x_at + i] * table[p.table_at + row * p.columns + i % p.columns];
  if (has_residual) { value += residual[p.residual_at + i]; }
  out[p.out_at + i] = value;
}
