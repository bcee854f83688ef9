// Cross-entropy of a block of rows of logits [row][stride], a workgroup a row: logsumexp and loss in one pass over the vocabulary; with
// `gradient` the row becomes its gradient in a second one, its padding zeros. A row with a target below 0 gives losses and gradient 0.
// Reads each logit twice, writes it once.
const reduce_lanes = 256u;
const lanes = 256u;

var<workgroup> own_target: i32;

@compute @workgroup_size(lanes)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let number = workgroup_index(workgroup.id, groups);
  let row = p.first_row + number;
  if (number >= p.block_rows || row >= p.rows) { return; }
  if (lane == 0u) {
    own_target = targets[p.targets_at + row];
    if (own_target >= i32(p.vocabulary)) {
      index_out_of_range();
      own_target = -1;
    }
  }
  let expected = workgroupUniformLoad(&own_target);
  let start = p.logits_at + number * p.stride;
  let at = p.losses_at + 2u * row;
  if (expected < 0) {
    if (lane == 0u) {
      losses[at] = 0.0;
      losses[at + 1u] = 0.0;
    }
    for (var v = lane; gradient && v < p.stride; v += lanes) { logits[start + v] = 0.0; }
    return;
  }
  var top = -3.4e38;
  var exponentials = 0.0; // of logit - top
  var sum = 0.0;
  for (var v = lane; v < p.vocabulary; v += lanes) {
    let logit = logits[start + v];
    if (logit > top) {
      exponentials *= exp(top - logit);
      top = logit;
    }
    exponentials += exp(logit - top);
    sum += logit;
  }
  let highest = workgroup_max(lane, top);
  let sums = workgroup_sums(lane, vec2f(exponentials * exp(top - highest), sum));
  let lse = highest + log(sums.x);
  let mean = sums.y / f32(p.vocabulary);
  let smoothing = p.label_smoothing;
  if (lane == 0u) {
    let own = lse - logits[start + u32(expected)];
    losses[at] = (1.0 - smoothing) * own + smoothing * (lse - mean);
    losses[at + 1u] = lse * lse;
  }
  if (!gradient) { return; }
  workgroupBarrier();
  var by = scale[p.scale_at];
  if (has_row_weights) { by *= row_weights[p.row_weights_at + row]; }
  let factor = by * (1.0 + 2.0 * p.z_loss * lse);
  let spread = by * smoothing / f32(p.vocabulary);
  for (var v = lane; v < p.stride; v += lanes) {
    var d = 0.0;
    if (v < p.vocabulary) { d = exp(logits[start + v] - lse) * factor - spread; }
    if (v == u32(expected)) { d -= by * (1.0 - smoothing); }
    logits[start + v] = d;
  }
}
