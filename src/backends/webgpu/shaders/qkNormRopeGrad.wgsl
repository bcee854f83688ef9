// From the gradients of rotated queries or of cache rows to dqkv, of one kind of head (0 query, 1 key, 2 value): turns each head
// back, then the derivative of its norm, if it has one. A workgroup takes one head of a block of rows, 32 invocations a row, 4 rows
// at once; each sums its share of the norm's gradient over its rows: parts[block][head][row of 4][headDim], which columnTotals.wgsl
// adds up. All is read and written once.
const lanes = 128u;
const reduce_lanes = lanes;
const pairs = (head_dim / 2u + 31u) / 32u; // of an invocation: dims i and i + head_dim / 2 turn together
const mid = head_dim / 2u;

var<workgroup> sums: array<vec2f, lanes>;

// The sums of a row's 32 invocations.
fn row_sum(lane: u32, value: vec2f, folded: u32) -> vec2f {
  let part = vec2f(folded_sum(value.x, folded), folded_sum(value.y, folded));
  if (folded == 32u) { return part; }
  sums[lane] = part;
  for (var distance = 16u; distance >= folded; distance /= 2u) {
    workgroupBarrier();
    if (lane % 32u < distance) { sums[lane] += sums[lane + distance]; }
  }
  workgroupBarrier();
  let sum = sums[lane / 32u * 32u];
  workgroupBarrier();
  return sum;
}

fn weight_of(i: u32) -> vec2f {
  return vec2f(norm[p.norm_at + i], norm[p.norm_at + mid + i]);
}

@compute @workgroup_size(lanes)
fn main(workgroup: Workgroup, invocation: Invocation) {
  let lane = own_place(workgroup, invocation);
  let folded = min(32u, folding(workgroup));
  let head = workgroup.id.x;
  var weight_sums: array<vec2f, pairs>;
  for (var step = 0u; step < p.block_rows; step += 4u) {
    let row = workgroup.id.y * p.block_rows + step + lane / 32u;
    let counts = row < p.rows;
    var source = 0u; // of the head's gradient
    var turn = 0u;
    if (counts) {
      let position = u32(positions[p.positions_at + row]);
      let kv_row = u32(kv_rows[p.kv_rows_at + row]);
      if (position >= p.rope_rows || kv_row >= p.cache_rows) { index_out_of_range(); }
      turn = p.rope_at + min(position, p.rope_rows - 1u) * head_dim;
      source = p.dhead_at + (select(min(kv_row, p.cache_rows - 1u), row, kind == 0u) * heads + head) * head_dim;
    }
    let at = row * p.width + (p.first_head + head) * head_dim;
    var d: array<vec2f, pairs>;
    var x: array<vec2f, pairs>;
    var products = vec2f(); // sums of x^2, of weight d x
    for (var j = 0u; j < pairs; j++) {
      let i = lane % 32u + 32u * j;
      if (!counts || i >= mid) { continue; }
      d[j] = vec2f(dhead[source + i], dhead[source + mid + i]);
      if (kind != 2u) {
        let cosine = rope[turn + i];
        let sine = rope[turn + mid + i];
        d[j] = vec2f(d[j].x * cosine + d[j].y * sine, d[j].y * cosine - d[j].x * sine);
      }
      if (has_norm) {
        x[j] = vec2f(qkv[p.qkv_at + at + i], qkv[p.qkv_at + at + mid + i]);
        products += vec2f(dot(x[j], x[j]), dot(x[j] * d[j], weight_of(i)));
      } else {
        dqkv[p.dqkv_at + at + i] = d[j].x;
        dqkv[p.dqkv_at + at + mid + i] = d[j].y;
      }
    }
    if (!has_norm) { continue; }
    let means = row_sum(lane, products, folded) / f32(head_dim);
    let inverse = inverseSqrt(means.x + p.eps);
    let projection = means.y * inverse * inverse;
    for (var j = 0u; j < pairs; j++) {
      let i = lane % 32u + 32u * j;
      if (!counts || i >= mid) { continue; }
      let scaled = (d[j] * weight_of(i) - x[j] * projection) * inverse;
      dqkv[p.dqkv_at + at + i] = scaled.x;
      dqkv[p.dqkv_at + at + mid + i] = scaled.y;
      weight_sums[j] += d[j] * x[j] * inverse;
    }
  }
  if (!has_parts) { return; }
  let line = p.parts_at + ((workgroup.id.y * heads + head) * 4u + lane / 32u) * head_dim;
  for (var j = 0u; j < pairs; j++) {
    let i = lane % 32u + 32u * j;
    if (i >= mid) { continue; }
    parts[line + i] = weight_sums[j].x;
    parts[line + mid + i] = weight_sums[j].y;
  }
}
