// out = x / sqrt(mean(x^2) + eps) * weight over each row. A workgroup a row, which is read twice (the second time from a cache).

const reduce_lanes = 256u;

@compute @workgroup_size(256)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let row = workgroup_index(workgroup.id, groups);
  if (row >= p.rows) {
    return;
  }
  let start = p.x_at + row * p.columns;
  var squares = 0.0;
  for (var c = lane; c < p.columns; c += 256) {
    squares += x[start + c] * x[start + c];
  }
  let mean = workgroup_sum(lane, squares) / f32(p.columns);
  let inverse = 1.0 / sqrt(mean + p.eps);
  for (var c = lane; c < p.columns; c += 256) {
    out[p.out_at + row * p.columns + c] = x[start + c] * inverse * weight[p.weight_at + c];
  }
}
