// The losses of pairs and how they change with each row's cross-entropy (see the op table). With `clears` every row's weight is set
// to 0 first, an invocation a row; then a workgroup takes a pair: 256 invocations sum its answers' rows and write their weights.
const reduce_lanes = 256u;
const lanes = 256u;

fn softplus(x: f32) -> f32 { // ln(1 + exp(-x))
  return max(0.0, -x) + log(1.0 + exp(-abs(x)));
}

// A pair's loss, and its derivative by the difference of log-ratios (kind 3: of their means).
fn preference(difference: f32, of_means: f32) -> vec2f {
  let e = p.label_smoothing;
  let m = p.beta * difference;
  switch (p.kind) {
    case 0u: { return vec2f((1.0 - e) * softplus(m) + e * softplus(-m), p.beta * (e * sigmoid(m) - (1.0 - e) * sigmoid(-m))); }
    case 1u: {
      let slope = -p.beta * ((1.0 - e) * sigmoid(-m) + e * sigmoid(m));
      return vec2f((1.0 - e) * softplus(m) - e * softplus(-m), slope) / (1.0 - 2.0 * e);
    }
    case 2u: { return vec2f(max(0.0, 1.0 - m), select(0.0, -p.beta, m < 1.0)); }
    default: {
      let off = of_means - 1.0 / (2.0 * p.beta);
      return vec2f(off * off, 2.0 * off);
    }
  }
}

@compute @workgroup_size(lanes)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let number = workgroup_index(workgroup.id, groups);
  if (clears) {
    let row = number * lanes + lane;
    if (row < p.rows) { row_weights[p.row_weights_at + row] = 0.0; }
    return;
  }
  if (number >= p.pair_count) { return; }
  let at = p.pairs_at + 4u * number;
  var chosen = vec2u(u32(pairs[at]), u32(pairs[at + 1u]));
  var rejected = vec2u(u32(pairs[at + 2u]), u32(pairs[at + 3u]));
  // A first row or a count below 0 is past all rows here.
  if (chosen.x >= p.rows || rejected.x >= p.rows || chosen.y - 1u >= p.rows - chosen.x || rejected.y - 1u >= p.rows - rejected.x) {
    index_out_of_range();
    chosen.y = 0u;
    rejected.y = 0u;
  }
  var sums = vec2f();
  for (var r = lane; r < chosen.y; r += lanes) { sums.x -= losses[p.losses_at + 2u * (chosen.x + r)]; }
  for (var r = lane; r < rejected.y; r += lanes) { sums.y -= losses[p.losses_at + 2u * (rejected.x + r)]; }
  let logp = workgroup_sums(lane, sums);
  let ratios = logp - vec2f(reference[p.reference_at + 2u * number], reference[p.reference_at + 2u * number + 1u]);
  let counts = vec2f(f32(chosen.y), f32(rejected.y));
  let means = ratios / counts;
  let found = preference(ratios.x - ratios.y, means.x - means.y);
  if (lane == 0u) {
    results[p.results_at + 3u * number] = found.x;
    results[p.results_at + 3u * number + 1u] = logp.x;
    results[p.results_at + 3u * number + 2u] = logp.y;
  }
  let slopes = vec2f(-found.y, found.y) / select(vec2f(1.0), counts, p.kind == 3u);
  for (var r = lane; r < chosen.y; r += lanes) { row_weights[p.row_weights_at + chosen.x + r] = slopes.x; }
  for (var r = lane; r < rejected.y; r += lanes) { row_weights[p.row_weights_at + rejected.x + r] = slopes.y; }
}
