// Sums and largest values over the `reduce_lanes` invocations of a workgroup, a power of two, in a tree: the same order whatever the
// device. To be called where control flow is uniform.

var<workgroup> reduced: array<f32, reduce_lanes>;

fn workgroup_sum(lane: u32, value: f32) -> f32 {
  reduced[lane] = value;
  for (var half = reduce_lanes / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      reduced[lane] += reduced[lane + half];
    }
  }
  workgroupBarrier();
  let sum = reduced[0];
  workgroupBarrier();
  return sum;
}

fn workgroup_max(lane: u32, value: f32) -> f32 {
  reduced[lane] = value;
  for (var half = reduce_lanes / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      reduced[lane] = max(reduced[lane], reduced[lane + half]);
    }
  }
  workgroupBarrier();
  let largest = reduced[0];
  workgroupBarrier();
  return largest;
}
