// The row of the weight behind output n of the tile.
fn weight_row(tile: u32, n: u32) -> u32 {
  if (gate) { // 16 gates, then 16 ups
    let column = tile * (tile_outputs / 2) + n / 32 * 16 + n % 16;
    return min(column, p.columns - 1) + (n / 16) % 2 * p.columns;
  }
  return min(tile * tile_outputs + n, p.columns - 1);
}
