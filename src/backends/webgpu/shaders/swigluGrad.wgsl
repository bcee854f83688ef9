// x [rows, 2 columns] becomes its gradient by dout [rows, columns]; `gated` false: of silu alone, x [rows, columns]. An invocation
// makes one column of both halves: 3 reads, 2 writes.
fn silu_grad(x: f32) -> f32 {
  let s = sigmoid(x);
  return s * (1.0 + x * (1.0 - s));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  if (i >= p.rows * p.columns) { return; }
  let d = dout[p.dout_at + i];
  if (!gated) {
    x[p.x_at + i] = d * silu_grad(x[p.x_at + i]);
    return;
  }
  let gate_at = p.x_at + i + i / p.columns * p.columns;
  let up_at = gate_at + p.columns;
  let gate = x[gate_at];
  let up = x[up_at];
  x[gate_at] = d * up * silu_grad(gate);
  x[up_at] = d * gate * sigmoid(gate);
}
