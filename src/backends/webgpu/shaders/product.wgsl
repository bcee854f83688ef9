// c = a b^T (+ r) in f32, [m, n] summed over k: all products of training that are of f32 rows. a is [m, k] (`a_inner`: k runs
// along its lines) or [k, m]; b is [n, k] (`b_inner`) or [k, n]. With `accumulate` c is added to. Arrays are seen as vec4f where
// all their lines begin at whole ones (a4, b4, c4, r4), else as f32 (a1, ...). With `splits` > 1 the z-th workgroup sums the z-th
// part of k into c[z], and productSum.wgsl adds them up. Sizes that are rows of a block: `m_first` and on, at most `m_most`.
// A workgroup makes a tile of tile x tile (128 with 256 invocations, 64 with 64), each invocation 8 x 8 in registers: four rows and
// four more half a tile below, columns likewise. It reads 16 of k at a time into 16 KiB or 8 KiB, the next while it multiplies:
// 4 loads of vec4f from workgroup memory for 64 multiply-adds, no bank conflicts; from memory (m n k / tile) 8 bytes.
const depth = 16u;
const quads = tile / 4u; // of a line of a tile
const half_quads = quads / 2u;
const threads = tile * tile / 64u;
const blocks = quads * 4u; // of 4 x 4 in an operand's tile

var<workgroup> tile_a: array<vec4f, depth * quads>; // [k][m / 4]
var<workgroup> tile_b: array<vec4f, depth * quads>; // [k][n / 4]

fn extent(size: u32, first: u32, most: u32) -> u32 {
  return min(size - min(size, first), most);
}

// Four elements of a line from `start` on; zeros past the end.
fn line_of_a(line: u32, start: u32, lines: u32, width: u32) -> vec4f {
  var found = vec4f();
  if (line >= lines || start >= width) { return found; }
  if (has_a4) {
    return a4[p.a4_at + line * (p.a_stride / 4u) + start / 4u];
  }
  let at = p.a1_at + line * p.a_stride + start;
  for (var i = 0u; i < min(4u, width - start); i++) { found[i] = a1[at + i]; }
  return found;
}

fn line_of_b(line: u32, start: u32, lines: u32, width: u32) -> vec4f {
  var found = vec4f();
  if (line >= lines || start >= width) { return found; }
  if (has_b4) {
    return b4[p.b4_at + line * (p.b_stride / 4u) + start / 4u];
  }
  let at = p.b1_at + line * p.b_stride + start;
  for (var i = 0u; i < min(4u, width - start); i++) { found[i] = b1[at + i]; }
  return found;
}

// Where a block of 4 x 4 lies in a tile: (k / 4, m or n / 4). Along k a subgroup takes whole lines of 64 bytes.
fn place_of(block: u32, inner: bool) -> vec2u {
  if (inner) { return vec2u(block / 8u % 4u, block % 8u + 8u * (block / 32u)); }
  return vec2u(block / quads, block % quads);
}

// A block of 4 x 4 of a tile, column i: the four m (n) of the i-th k.
fn block_of_a(block: u32, m0: u32, k0: u32, m: u32, k_end: u32) -> mat4x4f {
  let place = place_of(block, a_inner);
  let k = k0 + 4u * place.x;
  let i = m0 + 4u * place.y;
  if (a_inner) {
    return transpose(mat4x4f(line_of_a(i, k, m, k_end), line_of_a(i + 1u, k, m, k_end), line_of_a(i + 2u, k, m, k_end), line_of_a(i + 3u, k, m, k_end)));
  }
  return mat4x4f(line_of_a(k, i, k_end, m), line_of_a(k + 1u, i, k_end, m), line_of_a(k + 2u, i, k_end, m), line_of_a(k + 3u, i, k_end, m));
}

fn block_of_b(block: u32, n0: u32, k0: u32, k_end: u32) -> mat4x4f {
  let place = place_of(block, b_inner);
  let k = k0 + 4u * place.x;
  let j = n0 + 4u * place.y;
  if (b_inner) {
    return transpose(mat4x4f(line_of_b(j, k, p.n, k_end), line_of_b(j + 1u, k, p.n, k_end), line_of_b(j + 2u, k, p.n, k_end), line_of_b(j + 3u, k, p.n, k_end)));
  }
  return mat4x4f(line_of_b(k, j, k_end, p.n), line_of_b(k + 1u, j, k_end, p.n), line_of_b(k + 2u, j, k_end, p.n), line_of_b(k + 3u, j, k_end, p.n));
}

fn put_a(block: u32, values: mat4x4f) {
  let place = place_of(block, a_inner);
  let at = 4u * place.x * quads + place.y;
  tile_a[at] = values[0];
  tile_a[at + quads] = values[1];
  tile_a[at + 2u * quads] = values[2];
  tile_a[at + 3u * quads] = values[3];
}

fn put_b(block: u32, values: mat4x4f) {
  let place = place_of(block, b_inner);
  let at = 4u * place.x * quads + place.y;
  tile_b[at] = values[0];
  tile_b[at + quads] = values[1];
  tile_b[at + 2u * quads] = values[2];
  tile_b[at + 3u * quads] = values[3];
}

// Four columns of a row of the result.
fn finish(row: u32, column: u32, m: u32, split: u32, sum: vec4f) {
  if (row >= m || column >= p.n) { return; }
  let at = (split * m + row) * p.c_stride + column;
  if (has_c4) {
    var value = sum;
    if (accumulate) { value += c4[p.c4_at + at / 4u]; }
    if (has_r4) { value += r4[p.r4_at + (row * p.r_stride + column) / 4u]; }
    c4[p.c4_at + at / 4u] = value;
    return;
  }
  for (var i = 0u; i < min(4u, p.n - column); i++) {
    var value = sum[i];
    if (accumulate) { value += c1[p.c1_at + at + i]; }
    if (has_r1) { value += r1[p.r1_at + row * p.r_stride + column + i]; }
    c1[p.c1_at + at + i] = value;
  }
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let m = extent(p.m, p.m_first, p.m_most);
  let k = extent(p.k, p.k_first, p.k_most);
  let m0 = group.y * tile;
  let n0 = group.x * tile;
  let part = (k + splits * depth - 1u) / (splits * depth) * depth;
  let k_begin = min(k, group.z * part);
  let k_end = min(k, k_begin + part);

  // A subgroup of 32 makes 32 x 64: it reads few distinct words of either tile.
  let warp = thread / 32u;
  let tx = thread % 8u + 8u * (warp % (tile / 64u));
  let ty = thread % 32u / 8u + 4u * (warp / (tile / 64u));
  // With 256 invocations the first half fetches a, the other b; with 64 each fetches of both.
  let fetches_a = thread < blocks;
  let block = thread % blocks;

  var next: mat4x4f;
  var next_b: mat4x4f;
  if (fetches_a) { next = block_of_a(block, m0, k_begin, m, k_end); } else { next = block_of_b(block, n0, k_begin, k_end); }
  if (tile == 64) { next_b = block_of_b(block, n0, k_begin, k_end); }

  var c00 = vec4f(); var c01 = vec4f(); var c10 = vec4f(); var c11 = vec4f();
  var c20 = vec4f(); var c21 = vec4f(); var c30 = vec4f(); var c31 = vec4f();
  var c40 = vec4f(); var c41 = vec4f(); var c50 = vec4f(); var c51 = vec4f();
  var c60 = vec4f(); var c61 = vec4f(); var c70 = vec4f(); var c71 = vec4f();
  for (var k0 = k_begin; k0 < k_end; k0 += depth) {
    workgroupBarrier();
    if (fetches_a) { put_a(block, next); } else { put_b(block, next); }
    if (tile == 64) { put_b(block, next_b); }
    workgroupBarrier();
    if (k0 + depth < k_end) {
      if (fetches_a) { next = block_of_a(block, m0, k0 + depth, m, k_end); } else { next = block_of_b(block, n0, k0 + depth, k_end); }
      if (tile == 64) { next_b = block_of_b(block, n0, k0 + depth, k_end); }
    }
    for (var i = 0u; i < depth; i++) {
      let upper = tile_a[i * quads + ty];
      let lower = tile_a[i * quads + half_quads + ty];
      let left = tile_b[i * quads + tx];
      let right = tile_b[i * quads + half_quads + tx];
      c00 += upper.x * left; c01 += upper.x * right;
      c10 += upper.y * left; c11 += upper.y * right;
      c20 += upper.z * left; c21 += upper.z * right;
      c30 += upper.w * left; c31 += upper.w * right;
      c40 += lower.x * left; c41 += lower.x * right;
      c50 += lower.y * left; c51 += lower.y * right;
      c60 += lower.z * left; c61 += lower.z * right;
      c70 += lower.w * left; c71 += lower.w * right;
    }
  }

  let row = m0 + 4u * ty;
  let column = n0 + 4u * tx;
  let below = row + tile / 2u;
  let beyond = column + tile / 2u;
  finish(row, column, m, group.z, c00); finish(row, beyond, m, group.z, c01);
  finish(row + 1u, column, m, group.z, c10); finish(row + 1u, beyond, m, group.z, c11);
  finish(row + 2u, column, m, group.z, c20); finish(row + 2u, beyond, m, group.z, c21);
  finish(row + 3u, column, m, group.z, c30); finish(row + 3u, beyond, m, group.z, c31);
  finish(below, column, m, group.z, c40); finish(below, beyond, m, group.z, c41);
  finish(below + 1u, column, m, group.z, c50); finish(below + 1u, beyond, m, group.z, c51);
  finish(below + 2u, column, m, group.z, c60); finish(below + 2u, beyond, m, group.z, c61);
  finish(below + 3u, column, m, group.z, c70); finish(below + 3u, beyond, m, group.z, c71);
}
