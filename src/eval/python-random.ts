// Python's `random.Random(seed)` bit for bit: the Mersenne Twister (Matsumoto and Nishimura 1998, MT19937) with CPython's seeding
// and its rules for random, sample, choices and shuffle (CPython Lib/random.py). lm-evaluation-harness draws few-shot examples
// and bootstrap samples from it. Nothing else should.

const N = 624;
const M = 397;

export class PythonRandom {
  private readonly state = new Uint32Array(N);
  private index = N;

  /** `seed`: a whole number up to 2^53; its sign does not count, as in Python. */
  constructor(seed: number) {
    const magnitude = Math.abs(seed);
    if (!Number.isSafeInteger(magnitude)) throw new RangeError(`a seed must be a whole number, not ${seed}`);
    const high = Math.floor(magnitude / 2 ** 32);
    this.seedByArray(high > 0 ? [magnitude >>> 0, high] : [magnitude >>> 0]);
  }

  private seedByArray(key: readonly number[]): void {
    const { state } = this;
    state[0] = 19650218;
    for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    let i = 1;
    let j = 0;
    for (let k = Math.max(N, key.length); k > 0; k--) {
      state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1664525)) + key[j] + j;
      if (++i >= N) {
        state[0] = state[N - 1];
        i = 1;
      }
      if (++j >= key.length) j = 0;
    }
    for (let k = N - 1; k > 0; k--) {
      state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1566083941)) - i;
      if (++i >= N) {
        state[0] = state[N - 1];
        i = 1;
      }
    }
    state[0] = 0x80000000;
  }

  private refill(): void {
    const { state } = this;
    for (let i = 0; i < N; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
      state[i] = state[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.index = 0;
  }

  /** `getrandbits(bits)`, 1 to 32 bits. */
  getRandBits(bits: number): number {
    if (this.index >= N) this.refill();
    let y = this.state[this.index++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> (32 - bits);
  }

  /** A number in [0, 1) with 53 random bits. */
  random(): number {
    const a = this.getRandBits(32) >>> 5;
    const b = this.getRandBits(32) >>> 6;
    return (a * 2 ** 26 + b) / 2 ** 53;
  }

  /** A whole number below `n`, without bias: draws again while too large. `n` up to 2^32 - 1. */
  private below(n: number): number {
    const bits = 32 - Math.clz32(n);
    let value = this.getRandBits(bits);
    while (value >= n) value = this.getRandBits(bits);
    return value;
  }

  /** `sample(range(n), count)`: the positions, without repetition, in the order drawn. Throws RangeError when count > n. */
  sample(n: number, count: number): number[] {
    if (!(count >= 0 && count <= n)) throw new RangeError(`cannot draw ${count} of ${n}`);
    const result: number[] = [];
    let setSize = 21;
    if (count > 5) setSize += 4 ** Math.ceil(Math.log(count * 3) / Math.log(4));
    if (n <= setSize) {
      const pool = Array.from({ length: n }, (_, i) => i);
      for (let i = 0; i < count; i++) {
        const j = this.below(n - i);
        result.push(pool[j]);
        pool[j] = pool[n - i - 1];
      }
    } else {
      const selected = new Set<number>();
      for (let i = 0; i < count; i++) {
        let j = this.below(n);
        while (selected.has(j)) j = this.below(n);
        selected.add(j);
        result.push(j);
      }
    }
    return result;
  }

  /** `choices(range(n), k=count)`: positions, with repetition. */
  choices(n: number, count: number): number[] {
    return Array.from({ length: count }, () => Math.floor(this.random() * n));
  }

  /** `shuffle`, in place. */
  shuffle<T>(list: T[]): void {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j], list[i]];
    }
  }
}
