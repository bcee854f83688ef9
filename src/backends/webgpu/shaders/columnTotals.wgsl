// out[c] = the sum of parts[i][c] (+ out[c]), of `block_lines` lines for every block of `block_rows` rows. A workgroup makes 8
// columns: 32 invocations sum every 32nd line of one, and then each other's sums.
var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let column = group.x * 8u + lane % 8u;
  let lines = (p.rows + p.block_rows - 1u) / p.block_rows * p.block_lines;
  var sum = 0.0;
  if (column < p.columns) {
    for (var i = lane / 8u; i < lines; i += 32u) { sum += parts[p.parts_at + i * p.columns + column]; }
  }
  sums[lane] = sum;
  for (var distance = 128u; distance >= 8u; distance /= 2u) {
    workgroupBarrier();
    if (lane < distance) { sums[lane] += sums[lane + distance]; }
  }
  if (lane >= 8u || column >= p.columns) { return; }
  sum = sums[lane];
  if (accumulate) { sum += out[p.out_at + column]; }
  out[p.out_at + column] = sum;
}
