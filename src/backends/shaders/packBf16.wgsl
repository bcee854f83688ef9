// x [rows, columns] rounded to bf16, to nearest even, two to a word: packed [rows, ceil(columns / 2)]. An invocation makes a word.
fn bf16(bits: u32) -> u32 {
  // What is not a number stays so, whatever its bits.
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  let width = (p.columns + 1u) / 2u;
  if (i >= p.rows * width) { return; }
  let column = i % width * 2u;
  let at = p.x_at + i / width * p.columns + column;
  var word = bf16(x[at]);
  if (column + 1u < p.columns) { word |= bf16(x[at + 1u]) << 16u; }
  packed[p.packed_at + i] = word;
}
