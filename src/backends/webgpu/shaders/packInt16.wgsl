// x in 16 bits: a row's scales, one a group of 64, then its codes, two to a word. An invocation packs a group.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  let scales = (p.columns + 63u) / 64u;
  if (i >= p.rows * scales) { return; }
  let row = i / scales;
  let first = i % scales * 64u;
  let end = min(first + 64u, p.columns);
  let start = p.x_at + row * p.columns;
  let to = p.packed_at + row * (scales + (p.columns + 1u) / 2u);
  var largest = 0.0;
  for (var c = first; c < end; c++) { largest = max(largest, abs(x[start + c])); }
  let inverse = select(0.0, 32767.0 / largest, largest > 1e-30);
  packed[to + i % scales] = bitcast<u32>(largest / 32767.0);
  for (var c = first; c < end; c += 2u) {
    var word = bitcast<u32>(i32(round(x[start + c] * inverse))) & 0xffffu;
    if (c + 1u < end) { word |= bitcast<u32>(i32(round(x[start + c + 1u] * inverse))) << 16u; }
    packed[to + scales + c / 2u] = word;
  }
}
