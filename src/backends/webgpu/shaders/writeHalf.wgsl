// Writes one half of a word: what the host writes into an f16 buffer may begin and end inside of words. One invocation.

@compute @workgroup_size(1)
fn main() {
  let kept = out[p.out_at] & (0xffff0000u >> (16 * p.half));
  out[p.out_at] = kept | (p.value << (16 * p.half));
}
