// out = f(x) weight^T (+ residual) for a few rows of x, as a decode step has them: bound by reading the weight, which is read once,
// in vec4u words, neighbouring invocations neighbouring words. A team of `lanes` invocations shares `outs` outputs; `depth`
// words of each are asked for before any is used, the first of them before x is prepared. x is prepared once a workgroup, `chunk`
// elements at a time: normalized (`norm`: 1 / rms, times norm_weight), quantized by groups of 32 (`int8`), kept where lanes read
// neighbouring words. The lanes' sums meet in their subgroup as far as that goes, what is left in workgroup memory, always in the same order. With `gate` the outputs of a pair of
// halves, gate and up, meet in one team: out = silu(gate) * up. With `joined` x is what attention.wgsl left of a row, put together here.
// Workgroups: [outputs / (teams * outs), rows of x / rows, 1]. Traffic: the weight once for `rows` rows; x once a workgroup (from caches).
// Constants: weight_type, int8, rows, size, lanes, outs, depth, chunk (a multiple of block * lanes * depth), norm, gate, minimums, joined;
// of shares splits, heads, head_dim.

// include vector

const reduce_lanes = size;

@compute @workgroup_size(size)
fn main(workgroup: Workgroup, invocation: Invocation) {
  let local = own_place(workgroup, invocation);
  let folded = min(lanes, folding(workgroup));
  let lane = local % lanes;
  let team = local / lanes;
  let first_row = workgroup.id.y * rows;
  let count = min(rows, p.rows - first_row);
  let blocks = (p.inputs + block - 1) / block;

  for (var j = 0u; j < outs; j++) {
    if (gate) {
      weight_row[j] = min((workgroup.id.x * teams + team) * (outs / 2) + j / 2, p.columns - 1) + (j % 2) * p.columns;
    } else {
      weight_row[j] = min((workgroup.id.x * teams + team) * outs + j, p.columns - 1);
    }
  }

  // Asked for with the first weights, though it is added last.
  const results = teams * outs;
  const each = select(1, 2, gate);
  let meets = folded == lanes; // and a team's first lanes write what it made
  let writes = select(local < results / each, lane < outs / each, meets);
  let column = workgroup.id.x * (results / each) + select(local, team * (outs / each) + lane, meets);
  var behind: array<f32, rows>;
  if (has_residual && writes && column < p.columns) {
    for (var m = 0u; m < count; m++) {
      behind[m] = residual[p.residual_at + row_of_x(first_row + m) * p.outputs + p.first + column];
    }
  }

  for (var first = 0u; first < p.inputs; first += chunk) {
    let end = min(chunk_blocks, blocks - first / block);
    for (var step = 0u; step < end; step += lanes * depth) {
      ask(first, step, end, lane);
      if (step == 0) {
        if (joined && first == 0) {
          measure_shares(local);
        }
        if (norm && first == 0) {
          measure(count, first_row, local);
        }
        if (first > 0) {
          workgroupBarrier();
        }
        prepare(count, first_row, first, local, folded);
        workgroupBarrier();
      }
      multiply(step, end, lane);
    }
  }

  for (var m = 0u; m < count; m++) {
    var value = 0.0;
    var up = 0.0;
    if (!meets) {
      workgroupBarrier();
    }
    for (var j = 0u; j < outs; j++) {
      let sum = folded_sum(acc[j * rows + m], folded);
      if (!meets && lane % folded == 0) {
        sums[lane / folded * results + team * outs + j] = sum;
      }
      value = select(value, sum, j == lane * each);
      up = select(up, sum, j == lane * each + each - 1);
    }
    if (!meets) {
      workgroupBarrier();
      value = 0.0;
      up = 0.0;
      for (var i = 0u; writes && i < lanes / folded; i++) {
        value += sums[i * results + local * each];
        up += sums[i * results + local * each + each - 1];
      }
    }
    if (writes && column < p.columns) {
      if (gate) {
        value = silu(value) * up;
      }
      if (has_residual) {
        value += behind[m];
      }
      out[p.out_at + (first_row + m) * p.outputs + p.first + column] = value;
    }
  }
}
