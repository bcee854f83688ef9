// norms[n] = |weight[n] + scaling b[n] a|, out[n] = magnitude[n] / norms[n], a workgroup an output: of rows [first_row, first_row +
// part_rows) of the weight, which lie in f32 rows. a [rank, inputs] is read once an output, from caches.
const reduce_lanes = 256u;
@compute @workgroup_size(256)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let number = workgroup_index(workgroup.id, groups);
  if (number >= p.part_rows) { return; }
  let n = p.first_row + number;
  var sum = 0.0;
  for (var k = lane; k < p.inputs; k += 256u) {
    var product = 0.0;
    for (var i = 0u; i < p.rank; i++) { product += b[p.b_at + n * p.rank + i] * a[p.a_at + i * p.inputs + k]; }
    let value = weight[p.weight_at + number * p.stride + k] + p.scaling * product;
    sum += value * value;
  }
  let norm = sqrt(workgroup_sum(lane, sum));
  if (lane == 0u) {
    norms[p.norms_at + n] = norm;
    out[p.out_at + n] = magnitude[p.magnitude_at + n] / norm;
  }
}
