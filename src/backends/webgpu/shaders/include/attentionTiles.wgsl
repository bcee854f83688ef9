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

// Where four dims of a head lie; somewhere inside where there are none.
fn quad_at(row: u32, heads: u32, head: u32, dim: u32) -> u32 {
  return ((select(row, 0u, row == no_row) * heads + head) * p.head_dim + min(dim, p.head_dim - 4u)) / 4u;
}

fn is_there(row: u32, dim: u32) -> bool {
  return row != no_row && dim < p.head_dim;
}

fn query_quad(row: u32, head: u32, dim: u32) -> vec4f {
  return select(vec4f(), query[p.query_at + quad_at(row, p.query_heads, head, dim)], is_there(row, dim));
}

fn dout_quad(row: u32, head: u32, dim: u32) -> vec4f {
  return select(vec4f(), dout[p.dout_at + quad_at(row, p.query_heads, head, dim)], is_there(row, dim));
}

fn key_quad(row: u32, head: u32, dim: u32) -> vec4f {
  return select(vec4f(), keys[p.keys_at + quad_at(row, p.kv_heads, head, dim)], is_there(row, dim));
}

fn value_quad(row: u32, head: u32, dim: u32) -> vec4f {
  return select(vec4f(), values[p.values_at + quad_at(row, p.kv_heads, head, dim)], is_there(row, dim));
}

// What is put into tiles next, for the scores.
struct Asked {
  rows: mat4x4f, // query, query, dout, dout
  keys: mat4x4f, // keys, keys, values, values
}

// Quads thread % 4 of dims from d0 on, of rows thread / 4 and 16 further on.
fn asked(thread: u32, head: u32, kv_head: u32, d0: u32) -> Asked {
  let dim = d0 + 4u * (thread % 4u);
  let rows = vec2u(query_rows[thread / 4u], query_rows[thread / 4u + 16u]);
  let keys = vec2u(key_rows[thread / 4u], key_rows[thread / 4u + 16u]);
  return Asked(
    mat4x4f(query_quad(rows.x, head, dim), query_quad(rows.y, head, dim), dout_quad(rows.x, head, dim), dout_quad(rows.y, head, dim)),
    mat4x4f(key_quad(keys.x, kv_head, dim), key_quad(keys.y, kv_head, dim), value_quad(keys.x, kv_head, dim), value_quad(keys.y, kv_head, dim)));
}

// A tile of [32 rows][32 dims / 4]: quads thread % 8 of rows thread / 8 and 8, 16, 24 further on.
fn put(thread: u32, quads: mat4x4f) {
  tiles[thread] = quads[0];
  tiles[thread + 64u] = quads[1];
  tiles[thread + 128u] = quads[2];
  tiles[thread + 192u] = quads[3];
}

// The scores of the rows and keys that query_rows and key_rows name. `behind` takes what the kernel's `asked_first` asks for: its first
// tile of a product with them.
fn scores_of(thread: u32, head: u32, kv_head: u32, behind: ptr<function, mat4x4f>) -> Scores {
  var found: Scores;
  var next: Asked;
  let tx = thread % 8u;
  let ty = thread / 8u;
  for (var d0 = 0u; d0 < p.head_dim + 16u; d0 += 16u) {
    if (d0 > 0u) {
      workgroupBarrier();
      for (var i = 0u; i < 2u; i++) {
        let row = thread / 4u + 16u * i;
        tiles[tile_at(0u, row, thread % 4u)] = next.rows[i];
        tiles[tile_at(1u, row, thread % 4u)] = next.rows[2u + i];
        tiles[tile_at(2u, row, thread % 4u)] = next.keys[i];
        tiles[tile_at(3u, row, thread % 4u)] = next.keys[2u + i];
      }
      workgroupBarrier();
    }
    if (d0 < p.head_dim) {
      next = asked(thread, head, kv_head, d0);
    } else {
      *behind = asked_first(thread, head, kv_head);
    }
    let count = select(p.quads, 0u, d0 == 0u);
    for (var quad = 0u; quad < count; quad++) {
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
