// The fewer words to a sentence the better. `openelm tune` calls this for every sampled answer.
export function reward({ text }) {
  const words = text.split(/\s+/).length;
  const sentences = (text.match(/[.!?]/g) ?? []).length + 1;
  return -words / sentences;
}
