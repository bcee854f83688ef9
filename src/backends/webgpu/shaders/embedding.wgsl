// out[r] = table[ids[r]], dequantized, of the table's rows [first, first + rows_here). A thread an element: reads about a word of the
// table, writes one.

// include weight

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i >= p.rows * p.columns) {
    return;
  }
  let row = i / p.columns;
  let id = u32(ids[p.ids_at + row]);
  if (id >= p.table_rows) {
    index_out_of_range();
    return;
  }
  if (id >= p.first && id < p.first + p.rows_here) {
    out[p.out_at + i] = weight_value(id - p.first, i - row * p.columns);
  }
}
