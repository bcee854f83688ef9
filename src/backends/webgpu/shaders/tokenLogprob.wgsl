// out[r] = logits[r][targets[r]] - logsumexp(logits[r]). A workgroup a row, which is read twice.

const reduce_lanes = 256u;

@compute @workgroup_size(256)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let row = workgroup_index(workgroup.id, groups);
  if (row >= p.rows) {
    return;
  }
  let start = p.logits_at + row * p.columns;
  let first = logits[start];
  var largest = first;
  for (var c = lane; c < p.columns; c += 256) {
    largest = max(largest, logits[start + c]);
  }
  largest = workgroup_max(lane, largest);
  var total = 0.0;
  for (var c = lane; c < p.columns; c += 256) {
    total += exp(logits[start + c] - largest);
  }
  total = workgroup_sum(lane, total);
  if (lane == 0) {
    let wanted = u32(targets[p.targets_at + row]);
    if (wanted >= p.columns) {
      index_out_of_range();
      return;
    }
    out[p.out_at + row] = logits[start + wanted] - largest - log(total);
  }
}
