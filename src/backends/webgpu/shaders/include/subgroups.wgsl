// What the invocations of a workgroup of `reduce_lanes` make together, where the device has subgroups; noSubgroups.wgsl is the same without. Right for
// subgroups of any size, whether or not they are full, and whichever invocations each is made of, which the language does not tell: an invocation takes
// its place from its subgroup's number and its own in that (`own_place`), so teams of neighbouring places lie in one subgroup, and sums have one order even
// where numbers differ from run to run, as they do over Direct3D. Functions with barriers are to be called where control flow is uniform.
// WGSL: subgroup_size and num_subgroups are uniform, subgroup_id is not.

struct Workgroup {
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_size) subgroup_size: u32,
}

struct Invocation {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
}

var<private> subgroup: u32;
var<private> subgroup_count: u32;
var<workgroup> reduced: array<f32, reduce_lanes>; // of each subgroup
var<workgroup> reduced_pairs: array<vec2f, reduce_lanes>;
var<workgroup> reduced_keys: array<vec2u, reduce_lanes>;

// Its own number from 0 to reduce_lanes - 1. To be called first.
fn own_place(workgroup: Workgroup, invocation: Invocation) -> u32 {
  subgroup = invocation.subgroup;
  subgroup_count = workgroup.subgroups;
  return select(invocation.index, invocation.subgroup * workgroup.subgroup_size + invocation.lane, folding(workgroup) > 1);
}

// Neighbouring places that lie in one subgroup: 1 where some subgroup is not full.
fn folding(workgroup: Workgroup) -> u32 {
  return select(1, workgroup.subgroup_size, workgroup.subgroups * workgroup.subgroup_size == reduce_lanes);
}

// Of `folded` neighbouring places, a power of two up to `folding`: what each of them gets.
fn folded_sum(value: f32, folded: u32) -> f32 {
  var sum = value;
  for (var distance = 1u; distance < folded; distance *= 2) {
    sum += subgroupShuffleXor(sum, distance);
  }
  return sum;
}

fn folded_max(value: f32, folded: u32) -> f32 {
  var largest = value;
  for (var distance = 1u; distance < folded; distance *= 2) {
    largest = max(largest, subgroupShuffleXor(largest, distance));
  }
  return largest;
}

fn folded_max_bits(value: u32, folded: u32) -> u32 {
  var largest = value;
  for (var distance = 1u; distance < folded; distance *= 2) {
    largest = max(largest, subgroupShuffleXor(largest, distance));
  }
  return largest;
}

fn workgroup_sum(lane: u32, value: f32) -> f32 {
  let sum = subgroupAdd(value);
  if (subgroupElect()) {
    reduced[subgroup] = sum;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < subgroup_count; i++) {
    total += reduced[i];
  }
  workgroupBarrier();
  return total;
}

fn workgroup_sums(lane: u32, values: vec2f) -> vec2f {
  let sum = subgroupAdd(values);
  if (subgroupElect()) {
    reduced_pairs[subgroup] = sum;
  }
  workgroupBarrier();
  var total = vec2f();
  for (var i = 0u; i < subgroup_count; i++) {
    total += reduced_pairs[i];
  }
  workgroupBarrier();
  return total;
}

fn workgroup_max(lane: u32, value: f32) -> f32 {
  let most = subgroupMax(value);
  if (subgroupElect()) {
    reduced[subgroup] = most;
  }
  workgroupBarrier();
  var largest = reduced[0];
  for (var i = 1u; i < subgroup_count; i++) {
    largest = max(largest, reduced[i]);
  }
  workgroupBarrier();
  return largest;
}

// The largest x and, of those that have it, the smallest y.
fn workgroup_first(lane: u32, key: vec2u) -> vec2u {
  let most = subgroupMax(key.x);
  let least = subgroupMin(select(0xffffffffu, key.y, key.x == most));
  if (subgroupElect()) {
    reduced_keys[subgroup] = vec2u(most, least);
  }
  workgroupBarrier();
  var first = reduced_keys[0];
  for (var i = 1u; i < subgroup_count; i++) {
    first = first_of(first, reduced_keys[i]);
  }
  workgroupBarrier();
  return first;
}
