// Causal attention: a row and query head a workgroup, keys by blocks of 64, with a running maximum and sum (online softmax). Every
// workgroup reads all keys and values that its row sees.

const reduce_lanes = 64u;

// include cache
// include ragged

var<workgroup> sequence: Sequence;
var<workgroup> q: array<f32, head_dim>;
var<workgroup> sums: array<f32, head_dim>;
var<workgroup> weights: array<f32, 64>;
var<workgroup> heads_here: array<u32, 64>;

@compute @workgroup_size(64)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let g = workgroup_index(workgroup.id, groups);
  if (g == 0) {
    for (var s = lane; s < p.sequence_count; s += 64) {
      _ = sequence_at(s);
    }
  }
  if (g >= p.rows * query_heads) {
    return;
  }
  let row = g / query_heads;
  let kv_head = (g - row * query_heads) / (query_heads / kv_heads);
  if (lane == 0) {
    sequence = sequence_of(row);
  }
  let here = workgroupUniformLoad(&sequence);
  if (here.rows == 0) {
    return;
  }
  let visible = here.keys - here.rows + (row - here.first_row) + 1;
  for (var d = lane; d < head_dim; d += 64) {
    q[d] = query[p.query_at + g * head_dim + d];
    sums[d] = 0.0;
  }
  var largest = -3.0e38;
  var total = 0.0;
  for (var first = 0u; first < visible; first += 64) {
    workgroupBarrier();
    let count = min(64, visible - first);
    var score = -3.0e38;
    if (lane < count) {
      let head = cache_row_of(here, first + lane) * kv_heads + kv_head;
      heads_here[lane] = head;
      score = 0.0;
      for (var d = 0u; d < head_dim; d++) {
        score += q[d] * key_of(head, d);
      }
      score *= p.scale;
    }
    let new_largest = max(largest, workgroup_max(lane, score));
    let factor = exp(largest - new_largest);
    let weight = select(0.0, exp(score - new_largest), lane < count);
    weights[lane] = weight;
    total = total * factor + workgroup_sum(lane, weight);
    largest = new_largest;
    for (var d = lane; d < head_dim; d += 64) {
      var sum = sums[d] * factor;
      for (var j = 0u; j < count; j++) {
        sum += weights[j] * value_of(heads_here[j], d);
      }
      sums[d] = sum;
    }
  }
  for (var d = lane; d < head_dim; d += 64) {
    out[p.out_at + g * head_dim + d] = sums[d] / total;
  }
  if (has_logsumexp && lane == 0) {
    logsumexp[p.logsumexp_at + g] = largest + log(total);
  }
}
