// out = x weight^T (+ residual) for the outputs [first, first + rows_here) of a weight of any type. A thread an element of out, which reads
// its row of both: right everywhere, and what faster ones are judged by. Products are in `real`: f32, or f16.

// include weight

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i >= p.rows * p.columns) {
    return;
  }
  let row = i / p.columns;
  let output = i - row * p.columns;
  var sums = vec4f();
  for (var c = 0u; c < p.inputs; c++) {
    sums[c & 3] += f32(real(x[p.x_at + row * p.inputs + c]) * real(weight_value(output, c)));
  }
  let at = row * p.outputs + p.first + output;
  var sum = (sums.x + sums.y) + (sums.z + sums.w);
  if (has_residual) {
    sum += residual[p.residual_at + at];
  }
  out[p.out_at + at] = sum;
}
