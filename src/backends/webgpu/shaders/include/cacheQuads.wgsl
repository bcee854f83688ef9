// Four elements of a head of the key or value cache at once (see cache.wgsl); head_dim is a multiple of 8.

const quads: u32 = head_dim / 4;

fn key_quad(head: u32, quad: u32) -> vec4f {
  let d = 4 * quad;
  if (cache_type == 0) {
    let at = p.keys_at + head * head_dim + d;
    return bitcast<vec4f>(vec4u(keys[at], keys[at + 1], keys[at + 2], keys[at + 3]));
  }
  if (cache_type == 1) {
    let at = p.keys_at + head * (head_dim / 2) + 2 * quad;
    return vec4f(unpack2x16float(keys[at]), unpack2x16float(keys[at + 1]));
  }
  let at = p.keys_at + head * (quads + 1);
  return signed_bytes(keys[at + quad]) * bitcast<f32>(keys[at + quads]);
}

fn value_quad(head: u32, quad: u32) -> vec4f {
  let d = 4 * quad;
  if (cache_type == 0) {
    let at = p.values_at + head * head_dim + d;
    return bitcast<vec4f>(vec4u(values[at], values[at + 1], values[at + 2], values[at + 3]));
  }
  if (cache_type == 1) {
    let at = p.values_at + head * (head_dim / 2) + 2 * quad;
    return vec4f(unpack2x16float(values[at]), unpack2x16float(values[at + 1]));
  }
  let at = p.values_at + head * (quads + 1);
  return signed_bytes(values[at + quad]) * bitcast<f32>(values[at + quads]);
}
