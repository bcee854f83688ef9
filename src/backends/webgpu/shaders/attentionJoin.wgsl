// Puts together what the workgroups of attention.wgsl made of shares of the keys: of each row and head `splits` sums [head_dim],
// and behind all of them as many vec4f (largest score, sum of weights, 0, 0). An invocation a quad of columns; each part is read once.
// Constants: splits, head_dim.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  const quads: u32 = head_dim / 4;
  let i = workgroup_index(group, groups) * 64 + local;
  if (i >= p.rows * p.heads * quads) {
    return;
  }
  let head = i / quads;
  let weights = p.parts_at + p.rows * p.heads * splits * quads + head * splits;
  var largest = -3.0e38;
  for (var s = 0u; s < splits; s++) {
    largest = max(largest, parts[weights + s].x);
  }
  var sum = vec4f();
  var total = 0.0;
  for (var s = 0u; s < splits; s++) {
    let part = parts[weights + s];
    if (part.y != 0.0) {
      let factor = exp(part.x - largest);
      sum += factor * parts[p.parts_at + (head * splits + s) * quads + i % quads];
      total += factor * part.y;
    }
  }
  out[p.out_at + i] = sum / total;
}
