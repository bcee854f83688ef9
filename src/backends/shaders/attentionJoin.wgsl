// Puts together what the workgroups of attention.wgsl made of shares of the keys: of each row and head `splits` sums [head_dim] and
// (largest score, sum of weights). An invocation a quad of columns; each part is read once.
// Constants: splits, head_dim.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  const quads: u32 = head_dim / 4;
  let i = workgroup_index(group, groups) * 64 + local;
  if (i >= p.rows * p.heads * quads) {
    return;
  }
  let head = i / quads;
  var largest = -3.0e38;
  for (var s = 0u; s < splits; s++) {
    largest = max(largest, weights[p.weights_at + head * splits + s].x);
  }
  var sum = vec4f();
  var total = 0.0;
  for (var s = 0u; s < splits; s++) {
    let part = weights[p.weights_at + head * splits + s];
    if (part.y != 0.0) {
      let factor = exp(part.x - largest);
      sum += factor * parts[p.parts_at + (head * splits + s) * quads + i % quads];
      total += factor * part.y;
    }
  }
  out[p.out_at + i] = sum / total;
}
