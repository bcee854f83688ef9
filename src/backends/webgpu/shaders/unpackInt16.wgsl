// The f32 of what packInt16.wgsl packed: an invocation makes one of them.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  if (i >= p.rows * p.columns) { return; }
  let column = i % p.columns;
  let scales = (p.columns + 63u) / 64u;
  let start = p.packed_at + i / p.columns * (scales + (p.columns + 1u) / 2u);
  let word = packed[start + scales + column / 2u];
  let code = bitcast<i32>(select(word << 16u, word, column % 2u == 1u)) >> 16u;
  out[p.out_at + i] = f32(code) * bitcast<f32>(packed[start + column / 64u]);
}
