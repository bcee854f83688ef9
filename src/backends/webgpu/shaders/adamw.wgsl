// One AdamW step of an element an invocation (see the op table), and grad = 0: 4 reads and 4 writes, each of them once.
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256u + lane;
  if (i >= p.count) { return; }
  if (norms[p.norms_at + 2u] == 0.0) {
    let rate = schedule[p.schedule_at];
    let g = grad[p.grad_at + i] * norms[p.norms_at + 1u];
    let first = p.beta1 * first_moment[p.first_moment_at + i] + (1.0 - p.beta1) * g;
    let second = p.beta2 * second_moment[p.second_moment_at + i] + (1.0 - p.beta2) * g * g;
    first_moment[p.first_moment_at + i] = first;
    second_moment[p.second_moment_at + i] = second;
    let step = first / schedule[p.schedule_at + 1u] / (sqrt(second / schedule[p.schedule_at + 2u]) + p.eps);
    let before = parameters[p.parameters_at + i];
    parameters[p.parameters_at + i] = before * (1.0 - rate * p.weight_decay) - rate * step;
  }
  grad[p.grad_at + i] = 0.0;
}
