// What stands before every shader, behind the generated declarations: `p` (uniforms), bindings, constants and the status buffer.

// The number of a workgroup of a dispatch [n, 1, 1], which may have been folded: past the end for some.
fn workgroup_index(id: vec3u, count: vec3u) -> u32 {
  return id.y * count.x + id.x;
}

// Tells that an index of this record points outside its table: the first record that does counts.
fn index_out_of_range() {
  atomicMax(&status_of_run, ~p.record);
}

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(-x));
}

fn silu(x: f32) -> f32 {
  return x * sigmoid(x);
}
