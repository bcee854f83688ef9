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

// Where the last key was found, for keys that are asked for in their order: the segment is read once.
struct Walk {
  g: u32,
  before: u32, // keys before the segment
  start: u32,
  length: u32,
}

fn walk_of(sequence: Sequence) -> Walk {
  let at = p.segments_at + 2 * sequence.first_segment;
  return Walk(0, 0, u32(segments[at]), u32(segments[at + 1]));
}

// The cache row of key j of a sequence, which is not before the last one.
fn row_on(walk: ptr<function, Walk>, sequence: Sequence, j: u32) -> u32 {
  var now = *walk;
  while (j >= now.before + now.length && now.g + 1 < sequence.segments) {
    now.g++;
    now.before += now.length;
    let at = p.segments_at + 2 * (sequence.first_segment + now.g);
    now.start = u32(segments[at]);
    now.length = u32(segments[at + 1]);
  }
  *walk = now;
  return now.start + j - now.before;
}
