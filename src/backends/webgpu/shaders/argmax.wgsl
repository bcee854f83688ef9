// out[r] = index of the largest element of x[r], the first of equals; -1 where an element is not finite. A workgroup a row, read once,
// `ahead` elements of an invocation asked for before one is looked at: a row of logits is 125 reads an invocation.
// Elements are compared as bits, ordered as their values are: a shader compiler may take it that there are no NaN and infinities.

const ahead = 8u;

var<workgroup> keys: array<u32, 256>;
var<workgroup> places: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup_index(group, groups);
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
  keys[lane] = largest;
  places[lane] = place;
  for (var half = 128u; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      let other = keys[lane + half];
      let at = places[lane + half];
      if (other > keys[lane] || (other == keys[lane] && at < places[lane])) {
        keys[lane] = other;
        places[lane] = at;
      }
    }
  }
  if (lane == 0) {
    out[p.out_at + row] = select(i32(places[0]), -1, keys[0] == 0xffffffffu);
  }
}
