// Activations to 8 bits by groups of 32: codes, four a word, and their scales, max|x| / 127. A thread a group: reads 32 elements (fewer
// where a row ends), writes 8 words and a scale.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i >= p.rows * p.columns) {
    return;
  }
  let row = i / p.columns;
  let first = (i - row * p.columns) * 32;
  let count = min(32, p.inputs - first);
  let start = p.x_at + row * p.inputs + first;
  var bits = 0u; // of max|x|: as integers they order as numbers do, and what is no number above all
  for (var k = 0u; k < count; k++) {
    bits = max(bits, bitcast<u32>(x[start + k]) & 0x7fffffff);
  }
  let peak = bitcast<f32>(bits);
  var inverse = 0.0;
  if (peak > 0.0) {
    inverse = divide(127.0, peak);
  }
  for (var word = 0u; word < 8; word++) {
    var packed = 0u;
    for (var k = 4 * word; k < min(count, 4 * word + 4); k++) {
      packed |= (bitcast<u32>(i32(round(x[start + k] * inverse))) & 0xff) << (k % 4 * 8);
    }
    codes[p.codes_at + 8 * i + word] = packed;
  }
  scales[p.scales_at + i] = peak / 127.0;
}
