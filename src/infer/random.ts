// The random numbers of sampling: counter-based, so that a draw depends on (seed, step) alone and on nothing drawn before.
// Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), which needs only 32-bit
// additions, rotations and exclusive ors. Not for secrets.

/** Rotation distances, the same eight over and over. */
const rotations = [13, 15, 26, 6, 17, 29, 16, 24];

/** Threefry-2x32-20: two 32-bit words out of a two-word key and a two-word counter. */
export function threefry2x32(key: readonly [number, number], counter: readonly [number, number]): [number, number] {
  const keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1bd11bda];
  let x0 = (counter[0] + keys[0]) | 0;
  let x1 = (counter[1] + keys[1]) | 0;
  for (let round = 0; round < 20; round++) {
    const r = rotations[round % 8];
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    if (round % 4 === 3) {
      const injection = (round + 1) / 4;
      x0 = (x0 + keys[injection % 3]) | 0;
      x1 = (x1 + keys[(injection + 1) % 3] + injection) | 0;
    }
  }
  return [x0 >>> 0, x1 >>> 0];
}

/** A number in [0, 1) with 53 random bits, fixed by `seed` and `step`, both whole numbers from 0 to 2^53 - 1. */
export function uniform(seed: number, step: number): number {
  const [a, b] = threefry2x32([seed >>> 0, Math.floor(seed / 2 ** 32)], [step >>> 0, Math.floor(step / 2 ** 32)]);
  return ((a >>> 5) * 2 ** 26 + (b >>> 6)) / 2 ** 53;
}

/** A fresh seed of 32 bits (short enough to be typed again) from the platform's own source. */
export function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
