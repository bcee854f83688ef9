// What subgroups.wgsl tells of where the device has no subgroups: all meets in workgroup memory, in sixteen parts first, in the same order whatever the
// device. reduce_lanes is a multiple of 16.

struct Workgroup {
  @builtin(workgroup_id) id: vec3u,
}

struct Invocation {
  @builtin(local_invocation_index) index: u32,
}

fn own_place(workgroup: Workgroup, invocation: Invocation) -> u32 {
  return invocation.index;
}

fn folding(workgroup: Workgroup) -> u32 {
  return 1;
}

fn folded_sum(value: f32, folded: u32) -> f32 {
  return value;
}

fn folded_max(value: f32, folded: u32) -> f32 {
  return value;
}

fn folded_max_bits(value: u32, folded: u32) -> u32 {
  return value;
}

const parts_reduced = 16u;
var<workgroup> reduced: array<f32, reduce_lanes>;
var<workgroup> reduced_pairs: array<vec2f, reduce_lanes>;
var<workgroup> reduced_keys: array<vec2u, reduce_lanes>;

fn workgroup_sum(lane: u32, value: f32) -> f32 {
  reduced[lane] = value;
  workgroupBarrier();
  if (lane < parts_reduced) {
    for (var i = lane + parts_reduced; i < reduce_lanes; i += parts_reduced) {
      reduced[lane] += reduced[i];
    }
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < parts_reduced; i++) {
    sum += reduced[i];
  }
  workgroupBarrier();
  return sum;
}

fn workgroup_sums(lane: u32, values: vec2f) -> vec2f {
  reduced_pairs[lane] = values;
  workgroupBarrier();
  if (lane < parts_reduced) {
    for (var i = lane + parts_reduced; i < reduce_lanes; i += parts_reduced) {
      reduced_pairs[lane] += reduced_pairs[i];
    }
  }
  workgroupBarrier();
  var sums = vec2f();
  for (var i = 0u; i < parts_reduced; i++) {
    sums += reduced_pairs[i];
  }
  workgroupBarrier();
  return sums;
}

fn workgroup_max(lane: u32, value: f32) -> f32 {
  reduced[lane] = value;
  workgroupBarrier();
  if (lane < parts_reduced) {
    for (var i = lane + parts_reduced; i < reduce_lanes; i += parts_reduced) {
      reduced[lane] = max(reduced[lane], reduced[i]);
    }
  }
  workgroupBarrier();
  var largest = reduced[0];
  for (var i = 1u; i < parts_reduced; i++) {
    largest = max(largest, reduced[i]);
  }
  workgroupBarrier();
  return largest;
}

fn workgroup_first(lane: u32, key: vec2u) -> vec2u {
  reduced_keys[lane] = key;
  workgroupBarrier();
  if (lane < parts_reduced) {
    for (var i = lane + parts_reduced; i < reduce_lanes; i += parts_reduced) {
      reduced_keys[lane] = first_of(reduced_keys[lane], reduced_keys[i]);
    }
  }
  workgroupBarrier();
  var first = reduced_keys[0];
  for (var i = 1u; i < parts_reduced; i++) {
    first = first_of(first, reduced_keys[i]);
  }
  workgroupBarrier();
  return first;
}
