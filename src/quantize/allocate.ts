// Which matrix gets how many bits: what each loses with few bits is known, how that falls with more of them is nearly the same for all
// (the square of the distance between points), and the sum of losses shall be least within a budget of bits.

import type { Format } from './compensate.js';

/** A matrix as the budget sees it. */
export interface Share {
  readonly name: string;
  readonly elements: number;
  readonly columns: number;
  /** What it loses in `probeFormat` alone, in any unit. */
  readonly loss: number;
}

/** What sensitivities are measured with. */
export const probeFormat: Format = { bits: 3, group: 64 };

const bitChoices = [2, 3, 4, 5, 6, 8];
/** With more bits a weight than these to spend, 2 bits cost more than the rule below says. */
const twoBitsBelow = 4;
const groupChoices = [32, 64, 128];
/** The error of larger groups over that of smaller ones, as measured (docs/quantization.md). */
const groupError: Readonly<Record<number, number>> = { 32: 0.82, 64: 1, 128: 1.17 };

/** Bits a weight takes with its part of an f16 scale and minimum. */
export function bitsPerWeight({ bits, group }: Format): number {
  return bits + 32 / group;
}

function errorOf({ bits, group }: Format): number {
  return ((2 ** probeFormat.bits - 1) / (2 ** bits - 1)) ** 2 * groupError[group];
}

/**
 * A format for each matrix, so that all together take at most `bits` (of which `fixed` are others', norms), with the least sum of
 * losses: by a price of a bit, found by bisection. Undefined where even the cheapest formats take more.
 */
export function allocate(shares: readonly Share[], bits: number, fixed: number): Map<string, Format> | undefined {
  const elements = shares.reduce((sum, { elements: own }) => sum + own, 0);
  const least = bits < twoBitsBelow * elements ? 2 : 3;
  const formats = bitChoices.filter((b) => b >= least).flatMap((b) => groupChoices.map((group): Format => ({ bits: b, group })));
  const costOf = ({ elements }: Share, format: Format): number => elements * bitsPerWeight(format);
  const choose = (price: number): { chosen: Map<string, Format>; cost: number } => {
    let cost = fixed;
    const chosen = new Map<string, Format>();
    for (const share of shares) {
      const possible = formats.filter(({ group }) => share.columns % group === 0);
      const total = (format: Format): number => Math.max(share.loss, 0) * errorOf(format) + price * costOf(share, format);
      const best = possible.reduce((a, b) => (total(b) < total(a) ? b : a));
      chosen.set(share.name, best);
      cost += costOf(share, best);
    }
    return { chosen, cost };
  };
  const losses = shares.reduce((sum, { loss }) => sum + Math.max(loss, 0), 0);
  let [cheap, dear] = [0, (1e6 * (losses || 1)) / elements];
  if (choose(dear).cost > bits) return undefined;
  for (let i = 0; i < 80; i++) {
    const middle = i < 40 && cheap === 0 ? dear / 4 : (cheap + dear) / 2;
    if (choose(middle).cost > bits) cheap = middle;
    else dear = middle;
  }
  const { chosen, cost } = choose(dear);
  return spendRest(shares, chosen, bits - cost, formats);
}

/** What is left goes where it helps most, one matrix after another. */
function spendRest(
  shares: readonly Share[],
  chosen: Map<string, Format>,
  left: number,
  formats: readonly Format[],
): Map<string, Format> {
  for (;;) {
    let best: { name: string; format: Format; cost: number; gain: number } | undefined;
    for (const { name, elements, columns, loss } of shares) {
      const now = chosen.get(name)!;
      for (const format of formats) {
        const cost = elements * (bitsPerWeight(format) - bitsPerWeight(now));
        if (!(cost > 0 && cost <= left) || columns % format.group !== 0) continue;
        const gain = (loss * (errorOf(now) - errorOf(format))) / cost;
        if (gain > (best?.gain ?? 0)) best = { name, format, cost, gain };
      }
    }
    if (!best) return chosen;
    chosen.set(best.name, best.format);
    left -= best.cost;
  }
}
