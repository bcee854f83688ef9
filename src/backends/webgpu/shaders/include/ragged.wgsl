// The tables of attention: which sequence a row belongs to, how many keys it sees, and where in the cache they lie.

struct Sequence {
  first_row: u32,
  rows: u32,
  first_segment: u32,
  segments: u32,
  // Keys in all; 0 where a table points outside.
  keys: u32,
}

fn sequence_at(s: u32) -> Sequence {
  let at = p.sequences_at + 4 * s;
  var found = Sequence(u32(sequences[at]), u32(sequences[at + 1]), u32(sequences[at + 2]), u32(sequences[at + 3]), 0);
  // Each first, so that no sum wraps around.
  var inside = found.first_row <= p.rows && found.rows <= p.rows && found.first_row + found.rows <= p.rows;
  inside = inside && found.first_segment <= p.segment_count && found.segments <= p.segment_count;
  inside = inside && found.first_segment + found.segments <= p.segment_count;
  var total = 0u;
  for (var g = 0u; inside && g < found.segments; g++) {
    let start = u32(segments[p.segments_at + 2 * (found.first_segment + g)]);
    let length = u32(segments[p.segments_at + 2 * (found.first_segment + g) + 1]);
    inside = start <= p.cache_rows && length <= p.cache_rows && start + length <= p.cache_rows;
    total += length;
  }
  if (!inside || total < found.rows) {
    index_out_of_range();
    found.rows = 0;
    return found;
  }
  found.keys = total;
  return found;
}

// The sequence of a row; one without rows where there is none.
fn sequence_of(row: u32) -> Sequence {
  var found = Sequence(0, 0, 0, 0, 0);
  for (var s = 0u; s < p.sequence_count; s++) {
    let at = p.sequences_at + 4 * s;
    let first = u32(sequences[at]);
    if (row >= first && row - first < u32(sequences[at + 1])) {
      found = sequence_at(s);
    }
  }
  return found;
}

// The cache row of key j of a sequence.
fn cache_row_of(sequence: Sequence, j: u32) -> u32 {
  var before = 0u;
  for (var g = 0u; g < sequence.segments; g++) {
    let length = u32(segments[p.segments_at + 2 * (sequence.first_segment + g) + 1]);
    if (j < before + length) {
      return u32(segments[p.segments_at + 2 * (sequence.first_segment + g)]) + j - before;
    }
    before += length;
  }
  return 0;
}
