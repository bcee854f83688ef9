// out[i] += x[i] / by[i], an element an invocation.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= p.count) { return; }
  out[p.out_at + id.x] += x[p.x_at + id.x] / by[p.by_at + id.x];
}
