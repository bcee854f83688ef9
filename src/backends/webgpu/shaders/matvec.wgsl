// out = f(x) weight^T (+ residual) for a few rows of x, as a decode step has them: bound by reading the weight, which is read once,
// in vec4u words, neighbouring invocations neighbouring words. A team of `lanes` invocations shares `outs` outputs; `depth`
// words of each are asked for before any is used, the first of them before x is prepared. x is prepared once a workgroup, `chunk`
// elements at a time: normalized (`norm`: 1 / rms, times norm_weight), quantized by groups of 32 (`int8`), kept where lanes read
// neighbouring words. The lanes' sums meet in workgroup memory, always in the same order. With `gate` the outputs of a pair of
// halves, gate and up, meet in one team: out = silu(gate) * up. With `joined` x is what attention.wgsl left of a row, put together here.
// Workgroups: [outputs / (teams * outs), rows of x / rows, 1]. Traffic: the weight once for `rows` rows; x once a workgroup (from caches).
// Constants: weight_type, int8, rows, size, lanes, outs, depth, chunk (a multiple of block * lanes * depth), norm, gate, minimums, joined;
// of shares splits, heads, head_dim.

// include vector

@compute @workgroup_size(size)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = local % lanes;
  let team = local / lanes;
  let first_row = workgroup.y * rows;
  let count = min(rows, p.rows - first_row);
  let blocks = (p.inputs + block - 1) / block;

  for (var j = 0u; j < outs; j++) {
    if (gate) {
      weight_row[j] = min((workgroup.x * teams + team) * (outs / 2) + j / 2, p.columns - 1) + (j % 2) * p.columns;
    } else {
      weight_row[j] = min((workgroup.x * teams + team) * outs + j, p.columns - 1);
    }
  }

  // Asked for with the first weights, though it is added last.
  const results = teams * outs;
  const each = select(1, 2, gate);
  let column = workgroup.x * (results / each) + local;
  var behind: array<f32, rows>;
  if (has_residual && local < results / each && column < p.columns) {
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
        prepare(count, first_row, first, local);
        workgroupBarrier();
      }
      multiply(step, end, lane);
    }
  }

  for (var m = 0u; m < count; m++) {
    workgroupBarrier();
    for (var j = 0u; j < outs; j++) {
      sums[lane * results + team * outs + j] = acc[j * rows + m];
    }
    workgroupBarrier();
    if (local < results / each) {
      var value = 0.0;
      var up = 0.0;
      for (var i = 0u; i < lanes; i++) {
        value += sums[i * results + local * each];
        up += sums[i * results + local * each + each - 1];
      }
      if (column < p.columns) {
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
}
