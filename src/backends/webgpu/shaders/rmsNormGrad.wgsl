// dx = (weight dout - n mean(weight dout n)) / rms (+ residual), n = x / rms, a row a workgroup; `inverse` takes 1 / rms of each row
// for the weight's gradient (columnSums.wgsl). Reads x, dout and the weight twice, the second time from caches.
const reduce_lanes = 256u;
@compute @workgroup_size(256)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let row = workgroup_index(workgroup.id, groups);
  if (row >= p.rows) { return; }
  let start = row * p.columns;
  var squares = 0.0;
  var products = 0.0; // weight dout x
  for (var c = lane; c < p.columns; c += 256u) {
    let value = x[p.x_at + start + c];
    squares += value * value;
    products += weight[p.weight_at + c] * dout[p.dout_at + start + c] * value;
  }
  let means = workgroup_sums(lane, vec2f(squares, products)) / f32(p.columns);
  let scale = 1.0 / sqrt(means.x + p.eps);
  let projection = means.y * scale * scale;
  for (var c = lane; c < p.columns; c += 256u) {
    var d = (weight[p.weight_at + c] * dout[p.dout_at + start + c] - x[p.x_at + start + c] * projection) * scale;
    if (has_residual) { d += residual[p.residual_at + start + c]; }
    dx[p.dx_at + start + c] = d;
  }
  if (has_inverse && lane == 0u) { inverse[p.inverse_at + row] = scale; }
}
