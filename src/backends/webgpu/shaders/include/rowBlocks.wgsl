// Rows in blocks of 32, none of which has rows of two sequences.
// Rows of a sequence.
struct Rows {
  sequence: Sequence,
  first: u32, // in the sequence
  count: u32,
}
var<workgroup> place: Rows;

// Which rows a workgroup takes: blocks are counted through the sequences.
fn place_of(number: u32) -> Rows {
  var left = number;
  for (var s = 0u; s < p.sequence_count; s++) {
    let blocks = (min(u32(sequences[p.sequences_at + 4u * s + 1u]), p.rows) + 31u) / 32u;
    if (left < blocks) {
      let sequence = sequence_at(s);
      return Rows(sequence, 32u * left, select(0u, min(32u, sequence.rows - 32u * left), sequence.rows > 0u));
    }
    left -= blocks;
  }
  return Rows();
}

