// An element of a head of the key or value cache, as f32: caches are words in f32, f16 or 8 bits (`cache_type` 0, 1, 2).

const code_words: u32 = (head_dim + 3) / 4;

fn key_of(head: u32, d: u32) -> f32 {
  if (cache_type == 0) {
    return bitcast<f32>(keys[p.keys_at + head * head_dim + d]);
  }
  if (cache_type == 1) {
    let pair = unpack2x16float(keys[p.keys_at + head * (head_dim / 2) + d / 2]);
    return select(pair.x, pair.y, d % 2 == 1);
  }
  let start = p.keys_at + head * (code_words + 1);
  return f32(bitcast<i32>(keys[start + d / 4] << (24 - d % 4 * 8)) >> 24) * bitcast<f32>(keys[start + code_words]);
}

fn value_of(head: u32, d: u32) -> f32 {
  if (cache_type == 0) {
    return bitcast<f32>(values[p.values_at + head * head_dim + d]);
  }
  if (cache_type == 1) {
    let pair = unpack2x16float(values[p.values_at + head * (head_dim / 2) + d / 2]);
    return select(pair.x, pair.y, d % 2 == 1);
  }
  let start = p.values_at + head * (code_words + 1);
  return f32(bitcast<i32>(values[start + d / 4] << (24 - d % 4 * 8)) >> 24) * bitcast<f32>(values[start + code_words]);
}
