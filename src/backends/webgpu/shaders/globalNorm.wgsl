// The 2-norm of x in two runs, sums in a fixed order. First (`last` false) each invocation sums the squares of every 2^18th element of
// a range into three accumulators, as squares of very large and very small f32 are none (Blue 1978): of numbers past 2^50 times
// 2^-80, of those below 2^-50 times 2^80, of the others; the fourth number is the largest of all bits: what is not finite. Such powers
// are added to exponents, since compilers multiply constants first, and 2^-80 times 2^-80 is no f32.
// A workgroup makes a part. Then one workgroup adds the parts up and writes norms. Reads each element once.
const reduce_lanes = 256u;
const lanes = 256u;

const power_80 = 80u << 23u;

// x 2^-160 of a sum of squares; 0 where that is too small for a f32.
fn far_below(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  return select(0.0, bitcast<f32>(bits - 2u * power_80), bits > 2u * power_80 + (1u << 23u));
}

fn sum_of(lane: u32, sums: vec3f) -> vec3f {
  return vec3f(workgroup_sums(lane, sums.xy), workgroup_sum(lane, sums.z));
}

@compute @workgroup_size(lanes)
fn main(workgroup: Workgroup, @builtin(num_workgroups) groups: vec3u, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  var sums = vec3f(); // large, others, small
  var worst = 0u;
  if (!last) {
    for (var i = workgroup.id.x * lanes + lane; i < p.count; i += groups.x * lanes) {
      let value = x[p.x_at + i];
      let bits = bitcast<u32>(value) & 0x7fffffffu;
      worst = max(worst, bits);
      if (bits >= 0x7f800000u) { continue; }
      if (bits > 0x58800000u) { // 2^50
        let scaled = bitcast<f32>(bits - power_80);
        sums.x += scaled * scaled;
      } else if (bits < 0x26800000u) { // 2^-50
        let scaled = select(f32(bits) * 0x1p-69, bitcast<f32>(bits + power_80), bits >= 1u << 23u); // below: bits 2^-149
        sums.z += scaled * scaled;
      } else {
        sums.y += value * value;
      }
    }
    sums = sum_of(lane, sums);
    worst = workgroup_first(lane, vec2u(worst, 0u)).x;
    if (lane == 0u) { parts[p.parts_at + workgroup.id.x] = vec4u(bitcast<vec3u>(sums), worst); }
    return;
  }
  for (var i = lane; i < p.count; i += lanes) {
    let part = parts[p.parts_at + i];
    sums += bitcast<vec3f>(part.xyz);
    worst = max(worst, part.w);
  }
  sums = sum_of(lane, sums);
  worst = workgroup_first(lane, vec2u(worst, 0u)).x;
  if (lane > 0u) { return; }
  var norm = sqrt(sums.y + far_below(sums.z));
  if (sums.x > 0.0) {
    norm = sqrt(sums.x + far_below(sums.y)) * 0x1p80;
  } else if (sums.y == 0.0) {
    norm = sqrt(sums.z) * 0x1p-80;
  }
  let infinite = (bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u;
  if (worst > 0x7f800000u) { // not a number: its own bits, as arithmetic may be without any
    norms[p.norms_at] = bitcast<f32>(worst);
    norms[p.norms_at + 1u] = bitcast<f32>(worst);
  } else if (worst == 0x7f800000u || infinite) {
    norms[p.norms_at] = bitcast<f32>(max(worst, 0x7f800000u));
    norms[p.norms_at + 1u] = 0.0;
  } else {
    norms[p.norms_at] = norm;
    norms[p.norms_at + 1u] = min(1.0, p.max_norm / (norm + 1e-6));
  }
  norms[p.norms_at + 2u] = select(0.0, 1.0, worst >= 0x7f800000u || infinite);
}
