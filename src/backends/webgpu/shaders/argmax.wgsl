// out[r] = index of the largest element of x[r], the first of equals; -1 where an element is not finite. A workgroup a row, read once,
// `ahead` elements of an invocation asked for before one is looked at: a row of logits is 125 reads an invocation.
// Elements are compared as bits, ordered as their values are: a shader compiler may take it that there are no NaN and infinities.

const ahead = 8u;
const reduce_lanes = 256u;

@compute @workgroup_size(256)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let row = workgroup_index(workgroup.id, groups);
  if (row >= p.rows) {
    return;
  }
  let start = p.x_at + row * p.columns;
  var largest = 0u;
  var place = 0xffffffffu;
  for (var first = lane; first < p.columns; first += 256 * ahead) {
    var bits: array<u32, ahead>;
    for (var i = 0u; i < ahead; i++) { // past the end the last element, once more
      bits[i] = x[start + min(first + 256 * i, p.columns - 1)];
    }
    for (var i = 0u; i < ahead; i++) {
      var key = bits[i] ^ select(0x80000000u, 0xffffffffu, bits[i] >= 0x80000000u);
      // Zeros of both signs are equal.
      key = select(key, 0x80000000u, bits[i] == 0x80000000u);
      // What is not finite is above all else.
      key = select(key, 0xffffffffu, (bits[i] & 0x7f800000u) == 0x7f800000u);
      if (key > largest) {
        largest = key;
        place = min(first + 256 * i, p.columns - 1);
      }
    }
  }
  let found = workgroup_first(lane, vec2u(largest, place));
  if (lane == 0) {
    out[p.out_at + row] = select(i32(found.y), -1, found.x == 0xffffffffu);
  }
}
