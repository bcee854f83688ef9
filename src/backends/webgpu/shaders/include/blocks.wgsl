// Blocks of 32 rows by 32 of something in `tiles` and `factors`, of which each of 64 invocations has 4 x 4.
// Of a tile [32 rows][4 quads]: eight rows that are 4 apart lie in different banks.
fn tile_at(tile: u32, row: u32, quad: u32) -> u32 {
  return tile * 128u + (row ^ (row >> 4u)) * 4u + (quad ^ (row / 4u % 4u));
}

// 4 x 4 of factors^T tiles, [32][32 dims / 4]: sums over their 32 lines.
fn product_of(thread: u32) -> mat4x4f {
  var sum: mat4x4f;
  for (var i = 0u; i < p.lines; i++) {
    let f = factors[i * 8u + thread / 8u];
    let t = tiles[i * 8u + thread % 8u];
    sum[0] += f.x * t;
    sum[1] += f.y * t;
    sum[2] += f.z * t;
    sum[3] += f.w * t;
  }
  return sum;
}
