// Numbers between bounds and multiples of whole numbers, as automata over their digits. Those with bounds are written without an
// exponent; -0 is not written. All bounds are compared as decimals, digit by digit, never as floating-point numbers.

import { type Automaton, intersection, type State } from './automaton.js';
import { automatonOf } from './builder.js';
import { choice, type Expression, empty, never, optional, repeat, sequence, set, text } from './expression.js';
import { digit, mostDigits, nonZero } from './json-text.js';

export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

export interface NumberRange {
  readonly integer: boolean;
  readonly least?: Bound;
  readonly most?: Bound;
  /** Whole numbers from 1. */
  readonly multiples: readonly number[];
}

const digits = repeat(digit, 0);
const anyFraction = optional(sequence(text('.'), repeat(digit, 1)));
const zeros = repeat(text('0'), 0);
/** Not all zeros. */
const something = sequence(zeros, nonZero, digits);

export function numberAutomaton({ integer, least, most, multiples }: NumberRange): Automaton {
  const whole = sequence(nonZero, repeat(digit, 0, mostDigits - 1));
  const fraction = sequence(text('.'), repeat(digit, 1, mostDigits));
  const base = integer
    ? choice(text('0'), sequence(optional(text('-')), whole))
    : choice(
        sequence(choice(text('0'), whole), optional(fraction)),
        sequence(text('-'), choice(whole, sequence(whole, fraction), sequence(text('0.'), zeros, nonZero, digits))),
      );
  let automaton = automatonOf(base);
  if (!integer)
    automaton = intersection(
      automaton,
      automatonOf(sequence(optional(text('-')), repeat(digit, 1, mostDigits), optional(fraction))),
    );
  const nonNegative = sequence(digits, anyFraction);
  if (most) {
    const { value, exclusive } = most;
    const expression = value < 0 ? negative(atLeast(-value, exclusive)) : choice(atMost(value, exclusive), negative(nonNegative));
    automaton = intersection(automaton, automatonOf(expression));
  }
  if (least) {
    const { value, exclusive } = least;
    const expression =
      value > 0
        ? atLeast(value, exclusive)
        : choice(value === 0 && exclusive ? atLeast(0, true) : nonNegative, negative(atMost(-value, exclusive)));
    automaton = intersection(automaton, automatonOf(expression));
  }
  for (const multiple of multiples) automaton = intersection(automaton, multiplesOf(multiple));
  return automaton;
}

function negative(of: Expression): Expression {
  return sequence(text('-'), of);
}

/** Numbers without a sign up to `value`, which has none either. */
function atMost(value: number, exclusive: boolean): Expression {
  const [whole, fraction] = decimal(value);
  const rest = (k: number): Expression => {
    if (k === fraction.length) return exclusive ? never : zeros;
    const own = Number(fraction[k]);
    const next = rest(k + 1);
    return choice(
      sequence(between(0, own - 1), digits),
      sequence(text(fraction[k]), k + 1 < fraction.length ? optional(next) : next),
    );
  };
  const same =
    fraction === ''
      ? exclusive
        ? never
        : optional(sequence(text('.'), repeat(text('0'), 1)))
      : optional(sequence(text('.'), rest(0)));
  return choice(sequence(wholeBelow(whole), anyFraction), sequence(text(whole), same));
}

function atLeast(value: number, exclusive: boolean): Expression {
  const [whole, fraction] = decimal(value);
  const rest = (k: number): Expression => {
    if (k === fraction.length) return exclusive ? something : digits;
    return choice(sequence(between(Number(fraction[k]) + 1, 9), digits), sequence(text(fraction[k]), rest(k + 1)));
  };
  const same = fraction === '' && !exclusive ? anyFraction : sequence(text('.'), rest(0));
  return choice(sequence(wholeAbove(whole), anyFraction), sequence(text(whole), same));
}

/** Whole numbers below one that is written without leading zeros. */
function wholeBelow(whole: string): Expression {
  const shorter = whole.length > 1 ? [text('0'), sequence(nonZero, repeat(digit, 0, whole.length - 2))] : [];
  const sameLength = [...whole].map((own, k) =>
    sequence(
      text(whole.slice(0, k)),
      between(k === 0 && whole.length > 1 ? 1 : 0, Number(own) - 1),
      exactly(whole.length - 1 - k),
    ),
  );
  return choice(...shorter, ...sameLength);
}

function wholeAbove(whole: string): Expression {
  const longer = sequence(nonZero, repeat(digit, whole.length));
  const sameLength = [...whole].map((own, k) =>
    sequence(text(whole.slice(0, k)), between(Number(own) + 1, 9), exactly(whole.length - 1 - k)),
  );
  return choice(longer, ...sameLength);
}

function exactly(count: number): Expression {
  return count === 0 ? empty : repeat(digit, count, count);
}

function between(low: number, high: number): Expression {
  return low > high ? never : set([0x30 + low, 0x30 + high]);
}

/** The digits before and behind the point of a number of at least 0, without an exponent and without zeros that say nothing. */
function decimal(value: number): [whole: string, fraction: string] {
  const [mantissa, power = '0'] = String(value).split('e');
  const [whole, fraction = ''] = mantissa.split('.');
  const shift = Number(power);
  const all = whole + fraction;
  const point = whole.length + shift;
  const padded = point <= 0 ? `${'0'.repeat(1 - point)}${all}` : all.padEnd(point, '0');
  const at = Math.max(1, point);
  return [padded.slice(0, at).replace(/^0+(?=\d)/, ''), padded.slice(at).replace(/0+$/, '')];
}

/** Whole numbers that a whole number divides: the state is the remainder of the digits so far. */
function multiplesOf(divisor: number): Automaton {
  const [afterSign, first] = [1, 2];
  const digitsFrom = (remainder: number): State['steps'] =>
    Array.from({ length: 10 }, (_, i) => ({ low: 0x30 + i, high: 0x30 + i, to: first + ((remainder * 10 + i) % divisor) }));
  return {
    states: [
      { steps: [{ low: 0x2d, high: 0x2d, to: afterSign }, ...digitsFrom(0)], calls: [], accepts: false },
      { steps: digitsFrom(0), calls: [], accepts: false },
      ...Array.from({ length: divisor }, (_, remainder) => ({
        steps: digitsFrom(remainder),
        calls: [],
        accepts: remainder === 0,
      })),
    ],
  };
}
