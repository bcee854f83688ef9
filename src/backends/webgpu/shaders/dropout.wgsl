// out = x * factor where the element's random word is at least `threshold`, else 0 (+ residual). An invocation draws four words and
// makes the four elements that take them, 16 apart (see the op table): a workgroup 1024 elements.
fn pcg4d(input: vec4u) -> vec4u {
  var v = input * 1664525u + 1013904223u;
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  v ^= v >> vec4u(16u);
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  return v;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let number = workgroup_index(group, groups) * 256u + lane; // 16 (e >> 6) + (e & 15)
  let words = pcg4d(vec4u(number, p.op, p.draw, p.seed));
  for (var j = 0u; j < 4u; j++) {
    let e = number / 16u * 64u + 16u * j + number % 16u;
    if (e >= p.rows * p.columns) { return; }
    var value = 0.0;
    if (words[j] >= p.threshold) { value = x[p.x_at + e] * p.factor; }
    if (has_residual) { value += residual[p.residual_at + e]; }
    out[p.out_at + e] = value;
  }
}
