// The f32 of packed bf16, as packBf16.wgsl lays them: an invocation makes one of them.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  if (i >= p.rows * p.columns) { return; }
  let column = i % p.columns;
  let word = packed[p.packed_at + i / p.columns * ((p.columns + 1u) / 2u) + column / 2u];
  out[p.out_at + i] = select(word << 16u, word & 0xffff0000u, column % 2u == 1u);
}
