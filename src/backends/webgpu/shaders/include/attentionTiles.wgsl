// What both halves of attention's derivative share. 64 invocations see 32 query rows and 32 keys: of a head's scores and of
// dout . values each has 4 rows (4 ty and on) by 4 keys (4 tx and on), summed 16 dims at a time. Products with them take 32 dims
// at a time, 4 x 4 an invocation. Workgroup memory: 12 KiB.
// include blocks
var<workgroup> tiles: array<vec4f, 512>; // query, dout, keys, values: [32 rows][16 dims / 4] each; or [32 rows][32 dims / 4]
var<workgroup> factors: array<vec4f, 256>; // of a product: [32][32 / 4]
var<workgroup> key_rows: array<u32, 32>; // the cache row of each key; no_row: none
var<workgroup> query_rows: array<u32, 32>;
const no_row = 0xffffffffu;

// Of the scores: [row][4 keys], and the same of dout . values.
struct Scores {
  s: mat4x4f,
  dp: mat4x4f,
}

// Where four dims of a head lie, in pairs; somewhere inside where there are none.
fn pair_at(row: u32, heads: u32, head: u32, dim: u32) -> u32 {
  return ((select(row, 0u, row == no_row) * heads + head) * p.head_dim + min(dim, p.head_dim - 2u)) / 2u;
}

// Further on to the second pair.
fn second(dim: u32) -> u32 {
  return select(0u, 1u, dim + 2u < p.head_dim);
}

// Zeros past the dims, and of no row.
fn quad_of(row: u32, dim: u32, low: vec2f, high: vec2f) -> vec4f {
  return select(vec4f(), vec4f(low, select(vec2f(), high, dim + 2u < p.head_dim)), row != no_row && dim < p.head_dim);
}

fn query_quad(row: u32, head: u32, dim: u32) -> vec4f {
  let at = p.query_at + pair_at(row, p.query_heads, head, dim);
  return quad_of(row, dim, query[at], query[at + second(dim)]);
}

fn dout_quad(row: u32, head: u32, dim: u32) -> vec4f {
  let at = p.dout_at + pair_at(row, p.query_heads, head, dim);
  return quad_of(row, dim, dout[at], dout[at + second(dim)]);
}

fn key_quad(row: u32, head: u32, dim: u32) -> vec4f {
  let at = p.keys_at + pair_at(row, p.kv_heads, head, dim);
  return quad_of(row, dim, keys[at], keys[at + second(dim)]);
}

fn value_quad(row: u32, head: u32, dim: u32) -> vec4f {
  let at = p.values_at + pair_at(row, p.kv_heads, head, dim);
  return quad_of(row, dim, values[at], values[at + second(dim)]);
}

// The scores of the rows and keys that query_rows and key_rows name.
fn scores_of(thread: u32, head: u32, kv_head: u32) -> Scores {
  var found: Scores;
  let tx = thread % 8u;
  let ty = thread / 8u;
  for (var d0 = 0u; d0 < p.head_dim; d0 += 16u) {
    workgroupBarrier();
    for (var row = thread / 4u; row < p.lines; row += 16u) {
      let quad = thread % 4u;
      let dim = d0 + 4u * quad;
      tiles[tile_at(0u, row, quad)] = query_quad(query_rows[row], head, dim);
      tiles[tile_at(1u, row, quad)] = dout_quad(query_rows[row], head, dim);
      tiles[tile_at(2u, row, quad)] = key_quad(key_rows[row], kv_head, dim);
      tiles[tile_at(3u, row, quad)] = value_quad(key_rows[row], kv_head, dim);
    }
    workgroupBarrier();
    for (var quad = 0u; quad < p.quads; quad++) {
      let k = mat4x4f(
        tiles[tile_at(2u, 4u * tx, quad)], tiles[tile_at(2u, 4u * tx + 1u, quad)],
        tiles[tile_at(2u, 4u * tx + 2u, quad)], tiles[tile_at(2u, 4u * tx + 3u, quad)]);
      let v = mat4x4f(
        tiles[tile_at(3u, 4u * tx, quad)], tiles[tile_at(3u, 4u * tx + 1u, quad)],
        tiles[tile_at(3u, 4u * tx + 2u, quad)], tiles[tile_at(3u, 4u * tx + 3u, quad)]);
      found.s[0] += tiles[tile_at(0u, 4u * ty, quad)] * k;
      found.s[1] += tiles[tile_at(0u, 4u * ty + 1u, quad)] * k;
      found.s[2] += tiles[tile_at(0u, 4u * ty + 2u, quad)] * k;
      found.s[3] += tiles[tile_at(0u, 4u * ty + 3u, quad)] * k;
      found.dp[0] += tiles[tile_at(1u, 4u * ty, quad)] * v;
      found.dp[1] += tiles[tile_at(1u, 4u * ty + 1u, quad)] * v;
      found.dp[2] += tiles[tile_at(1u, 4u * ty + 2u, quad)] * v;
      found.dp[3] += tiles[tile_at(1u, 4u * ty + 3u, quad)] * v;
    }
  }
  return found;
}
