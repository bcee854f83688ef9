// Adds up what the splits of product.wgsl made: c = sum over them (+ c) (+ r), the first split first. A multiply-add's worth of
// reads: splits + 1 or 2 elements read for one written, by one invocation.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  let elements = min(p.m - min(p.m, p.m_first), p.m_most) * p.n;
  if (i >= elements) { return; }
  var sum = parts[p.parts_at + i];
  for (var s = 1u; s < splits; s++) { sum += parts[p.parts_at + s * elements + i]; }
  if (accumulate) { sum += c[p.c_at + i]; }
  if (has_r) { sum += r[p.r_at + i]; }
  c[p.c_at + i] = sum;
}
