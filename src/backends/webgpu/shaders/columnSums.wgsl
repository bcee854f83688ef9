// parts[block][c] = the sum over a block of `block_rows` rows of a[r][c] b[r][c] (factors[r]), in the order of the rows;
// columnTotals.wgsl adds the parts up. A workgroup makes 64 columns of a block: each element is read once.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let column = group.x * 64u + lane;
  if (column >= p.columns) { return; }
  let begin = group.y * p.block_rows;
  let end = min(p.rows, begin + p.block_rows);
  var sum = 0.0;
  for (var r = begin; r < end; r++) {
    let at = r * p.columns + column;
    var product = a[p.a_at + at] * b[p.b_at + at];
    if (has_factors) { product *= factors[p.factors_at + r]; }
    sum += product;
  }
  parts[p.parts_at + group.y * p.columns + column] = sum;
}
