// The end of `main` of products by tiles: an invocation's sums `acc`, with SwiGLU or the residual, to where they belong in out.
  for (var i = 0u; i < m_count; i++) {
    let row = first_row + ty + 16 * i;
    if (row >= p.rows) {
      break;
    }
    for (var j = 0u; j < n_count; j += select(1, 2, gate)) {
      var column = workgroup.x * tile_outputs + tx + 16 * j;
      var value = acc[i * n_count + j];
      if (gate) {
        column = workgroup.x * (tile_outputs / 2) + tx + 8 * j;
        value = silu(value) * acc[i * n_count + min(j + 1, n_count - 1)];
      }
      if (column < p.columns) {
        let at = row * p.outputs + p.first + column;
        if (has_residual) {
          value += residual[p.residual_at + at];
        }
        out[p.out_at + at] = value;
      }
    }
  }
