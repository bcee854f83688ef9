// Rows [first, first + rows) of a part of a weight in f32, `width` from one to the next. A thread an element: reads about a word of
// the weight, writes one.

// include weight

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i >= p.rows * p.columns) {
    return;
  }
  let row = i / p.columns;
  out[p.out_at + row * p.width + i - row * p.columns] = weight_value(p.first + row, i - row * p.columns);
}
