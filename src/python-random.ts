// Python's `random.Random`: the Mersenne Twister MT19937 and the draws made from it, to the bit, so that shuffles and samples
// equal those of programs written in Python (CoreNet's file order, lm-evaluation-harness's few-shot examples). Not for
// anything secret, and not the sampler's generator. A leaf: every room may import it.

const N = 624;
const M = 397;

/** What a generator needs to go on: 624 words and the place in them, as JSON holds it. */
export type PythonRandomState = readonly number[];

/** The generator of `random.Random(seed)`. */
export class PythonRandom {
  private readonly words = new Uint32Array(N);
  private next = N;

  /** `seed`: an integer; as in Python, its sign does not matter. */
  constructor(seed: number | bigint) {
    let rest = BigInt(seed);
    if (rest < 0n) rest = -rest;
    const key: number[] = [];
    do {
      key.push(Number(rest & 0xffffffffn));
      rest >>= 32n;
    } while (rest > 0n);
    this.seedByKey(key);
  }

  // MT19937's init_by_array (Matsumoto and Nishimura, mt19937ar.c, 2002), as CPython seeds with the 32-bit digits of an integer.
  private seedByKey(key: readonly number[]): void {
    const words = this.words;
    words[0] = 19650218;
    for (let i = 1; i < N; i++) words[i] = Math.imul(1812433253, words[i - 1] ^ (words[i - 1] >>> 30)) + i;
    let i = 1;
    let j = 0;
    const advance = (): void => {
      if (++i < N) return;
      words[0] = words[N - 1];
      i = 1;
    };
    for (let k = Math.max(N, key.length); k > 0; k--) {
      words[i] = (words[i] ^ Math.imul(words[i - 1] ^ (words[i - 1] >>> 30), 1664525)) + key[j] + j;
      advance();
      if (++j === key.length) j = 0;
    }
    for (let k = N - 1; k > 0; k--) {
      words[i] = (words[i] ^ Math.imul(words[i - 1] ^ (words[i - 1] >>> 30), 1566083941)) - i;
      advance();
    }
    words[0] = 0x80000000;
    this.next = N;
  }

  private refill(): void {
    const words = this.words;
    for (let i = 0; i < N; i++) {
      const y = (words[i] & 0x80000000) | (words[(i + 1) % N] & 0x7fffffff);
      words[i] = words[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  private word(): number {
    if (this.next === N) this.refill();
    let y = this.words[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** `random()`: a double in [0, 1) of 53 random bits. */
  random(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** `getrandbits(bits)` for 1 to 32 bits. */
  getRandBits(bits: number): number {
    return this.word() >>> (32 - bits);
  }

  /** `randrange(n)`: an integer in [0, n), for n from 1 to 2^32 - 1. */
  below(n: number): number {
    const bits = 32 - Math.clz32(n);
    let value = this.getRandBits(bits);
    while (value >= n) value = this.getRandBits(bits);
    return value;
  }

  /** `shuffle(items)`, in place. */
  shuffle<T>(items: T[]): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
  }

  /** `choices(range(n), k=count)`: positions, drawn with replacement. */
  choices(n: number, count: number): number[] {
    return Array.from({ length: count }, () => Math.floor(this.random() * n));
  }

  /** `sample(range(n), count)`: positions, drawn without replacement, in the order drawn. Throws RangeError when count > n. */
  sample(n: number, count: number): number[] {
    if (!(Number.isInteger(count) && count >= 0 && count <= n)) throw new RangeError(`cannot draw ${count} of ${n}`);
    // Python keeps a set of what was drawn when that is smaller than a copy of the list; the two ways draw differently.
    const setSize = 21 + (count > 5 ? 4 ** Math.ceil(Math.log(count * 3) / Math.log(4)) : 0);
    if (n <= setSize) {
      const pool = Array.from({ length: n }, (_, i) => i);
      return Array.from({ length: count }, (_, i) => {
        const j = this.below(n - i);
        const drawn = pool[j];
        pool[j] = pool[n - i - 1];
        return drawn;
      });
    }
    const drawn = new Set<number>();
    while (drawn.size < count) drawn.add(this.below(n));
    return [...drawn];
  }

  /** The state, to go on from later with `restore`. */
  state(): PythonRandomState {
    return [...this.words, this.next];
  }

  /** A generator that goes on where `state` was taken. */
  static restore(state: PythonRandomState): PythonRandom {
    const random = new PythonRandom(0);
    random.words.set(state.slice(0, N));
    random.next = state[N];
    return random;
  }
}
