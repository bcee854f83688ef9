// From the residual stream of a single row to attention: the norm, the product that makes queries, keys and values, their norms and rotation,
// the cache, and a share of the keys. A workgroup takes a query head and a share (attention.wgsl), multiplies the row by the head's part of the
// weight (matvec.wgsl: head_dim outputs), and, where the new key is in its share, by its kv head's as well: so nothing waits for other
// workgroups. The first of a kv head's query heads writes the cache, and none reads there what is new. x lies whole in workgroup memory.
// Workgroups: [query_heads * splits, 1, 1]. Traffic: a head of the weight each, two more for the new key; keys and values once a query head.
// Constants: those of both; head_dim is a multiple of teams * outs, chunk at least p.inputs; queries and rows are 1.

// include vector
// include attend

const makes = true;
const reduce_lanes = size;
const results = teams * outs;

var<workgroup> raw: array<f32, 3 * head_dim>; // query, key, value
var<workgroup> new_key: u32;

fn new_quad(kv_head: u32, h: u32, quad: u32) -> vec4f {
  let at = h * head_dim + 4 * quad;
  return vec4f(raw[at], raw[at + 1], raw[at + 2], raw[at + 3]);
}

// The place of a cache row among the keys of a sequence.
fn place_of(here: Sequence, cache_row: u32) -> u32 {
  var before = 0u;
  for (var g = 0u; g < here.segments; g++) {
    let at = p.segments_at + 2 * (here.first_segment + g);
    let start = u32(segments[at]);
    let length = u32(segments[at + 1]);
    if (cache_row >= start && cache_row - start < length) {
      return before + cache_row - start;
    }
    before += length;
  }
  return nowhere;
}

// Sets which rows of the weight a team multiplies: of the query, the key and the value in turn, `results` at a time.
fn point(piece: u32, head: u32, kv_head: u32, team: u32) {
  const pieces = head_dim / results;
  let h = piece / pieces;
  let part = select(select(query_heads + kv_heads + kv_head, query_heads + kv_head, h == 1), head, h == 0);
  for (var j = 0u; j < outs; j++) {
    weight_row[j] = part * head_dim + piece % pieces * results + team * outs + j;
  }
}

// raw = x times the first `count` of these heads. The next words of the weight are asked for before sums of these meet.
fn multiply_heads(count: u32, head: u32, kv_head: u32, local: u32, folding: u32) {
  let lane = local % lanes;
  let team = local / lanes;
  let folded = min(lanes, folding);
  let blocks = (p.inputs + block - 1) / block;
  let steps = (blocks + lanes * depth - 1) / (lanes * depth);
  let turns = count * (head_dim / results) * steps;
  point(0, head, kv_head, team);
  ask(0, 0, blocks, lane);
  measure(1, 0, local);
  prepare(1, 0, 0, local, folded);
  workgroupBarrier();
  for (var turn = 0u; turn < turns; turn++) {
    multiply(turn % steps * lanes * depth, blocks, lane);
    let ends = turn % steps + 1 == steps;
    let done = acc;
    for (var j = 0u; ends && j < outs; j++) {
      acc[j] = 0.0;
    }
    if (turn + 1 < turns) {
      point((turn + 1) / steps, head, kv_head, team);
      ask(0, (turn + 1) % steps * lanes * depth, blocks, lane);
    }
    if (ends) {
      let at = turn / steps * results;
      if (folded < lanes) {
        workgroupBarrier();
      }
      for (var j = 0u; j < outs; j++) {
        let sum = folded_sum(done[j], folded);
        if (folded == lanes && lane == 0) {
          raw[at + team * outs + j] = sum;
        } else if (lane % folded == 0) {
          sums[lane / folded * results + team * outs + j] = sum;
        }
      }
      if (folded < lanes) {
        workgroupBarrier();
        if (local < results) {
          var value = 0.0;
          for (var i = 0u; i < lanes / folded; i++) {
            value += sums[i * results + local];
          }
          raw[at + local] = value;
        }
      }
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(size)
fn main(workgroup: Workgroup, invocation: Invocation) {
  let local = own_place(workgroup, invocation);
  let folded = folding(workgroup);
  let group = workgroup.id;
  const sharing: u32 = query_heads / kv_heads;
  let head = group.x / splits;
  let kv_head = head / sharing;
  if (local == size - 1) {
    sequence = sequence_of(0);
    new_key = place_of(sequence, u32(kvRows[p.kvRows_at]));
  }
  if (group.x == 0) {
    for (var s = local; s < p.sequence_count; s += size) {
      _ = sequence_at(s);
    }
  }
  let here = workgroupUniformLoad(&sequence);
  let place = workgroupUniformLoad(&new_key);
  let share = share_of(here, 0, group.x % splits);
  let has_new = select(share.split == 0, place >= share.begin && place < share.end, place != nowhere);
  if (share.begin < share.end || has_new) {
    ask_for_heads(kv_head, local);
    multiply_heads(select(1u, 3u, has_new), head, kv_head, local, folded);
    make_heads(kv_head, has_new && head % sharing == 0, local);
  }
  if (here.rows > 0) {
    attend(here, 0, kv_head, head, share, local, folded);
  }
}
