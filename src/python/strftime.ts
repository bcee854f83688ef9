// `datetime.strftime` of a local time without a zone, in the C locale, with glibc's flags (`%-d`, `%_H`, `%^a`).

import { spend } from './budget.js';

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];

const DAY = 86_400_000;

/** The ISO week's year and number. */
function isoWeek(date: Date): [number, number] {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  const thursday = new Date(day + (3 - ((date.getDay() + 6) % 7)) * DAY);
  const year = thursday.getUTCFullYear();
  return [year, 1 + Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * DAY))];
}

/** A directive's text, or a number with its usual width and fill. */
type Field = string | readonly [value: number, width: number, fill?: string];

/** The day of the year, from 0. */
function yearDay(date: Date): number {
  return Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / DAY);
}

const twelve = (date: Date): number => date.getHours() % 12 || 12;

const directives: Readonly<Record<string, (date: Date) => Field>> = {
  a: (date) => days[date.getDay()].slice(0, 3),
  A: (date) => days[date.getDay()],
  b: (date) => months[date.getMonth()].slice(0, 3),
  h: (date) => months[date.getMonth()].slice(0, 3),
  B: (date) => months[date.getMonth()],
  c: (date) => strftime(date, '%a %b %e %H:%M:%S %Y'),
  C: (date) => [Math.floor(date.getFullYear() / 100), 2],
  d: (date) => [date.getDate(), 2],
  D: (date) => strftime(date, '%m/%d/%y'),
  x: (date) => strftime(date, '%m/%d/%y'),
  e: (date) => [date.getDate(), 2, ' '],
  f: (date) => [date.getMilliseconds() * 1000, 6],
  F: (date) => strftime(date, '%Y-%m-%d'),
  g: (date) => [isoWeek(date)[0] % 100, 2],
  G: (date) => [isoWeek(date)[0], 4],
  H: (date) => [date.getHours(), 2],
  I: (date) => [twelve(date), 2],
  j: (date) => [yearDay(date) + 1, 3],
  k: (date) => [date.getHours(), 2, ' '],
  l: (date) => [twelve(date), 2, ' '],
  m: (date) => [date.getMonth() + 1, 2],
  M: (date) => [date.getMinutes(), 2],
  n: () => '\n',
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  P: (date) => (date.getHours() < 12 ? 'am' : 'pm'),
  r: (date) => strftime(date, '%I:%M:%S %p'),
  R: (date) => strftime(date, '%H:%M'),
  s: (date) => [Math.floor(date.getTime() / 1000), 1],
  S: (date) => [date.getSeconds(), 2],
  t: () => '\t',
  T: (date) => strftime(date, '%H:%M:%S'),
  X: (date) => strftime(date, '%H:%M:%S'),
  u: (date) => [date.getDay() || 7, 1],
  U: (date) => [Math.floor((yearDay(date) + 7 - date.getDay()) / 7), 2],
  V: (date) => [isoWeek(date)[1], 2],
  w: (date) => [date.getDay(), 1],
  W: (date) => [Math.floor((yearDay(date) + 7 - ((date.getDay() + 6) % 7)) / 7), 2],
  y: (date) => [date.getFullYear() % 100, 2],
  Y: (date) => [date.getFullYear(), 4],
  z: () => '',
  Z: () => '',
  '%': () => '%',
};

/** Directives that do not exist stay as they are. */
export function strftime(date: Date, format: string): string {
  spend(32 * format.length);
  return format.replace(
    /%([-_0^#]*)(\d{1,3})?[EO]?([a-zA-Z%])/g,
    (whole, flags: string, width: string | undefined, code: string) => {
      spend(Number(width ?? 0));
      const found = Object.hasOwn(directives, code) ? directives[code](date) : undefined;
      if (found === undefined) return whole;
      const text = typeof found === 'string' ? found : number(found, flags, width);
      if (flags.includes('^')) return text.toUpperCase();
      return flags.includes('#') ? (code === 'Z' || code === 'p' ? text.toLowerCase() : text.toUpperCase()) : text;
    },
  );
}

function number(
  [value, usual, fill = '0']: readonly [number, number, string?],
  flags: string,
  width: string | undefined,
): string {
  if (flags.includes('-')) return String(value);
  const by = flags.includes('_') ? ' ' : flags.includes('0') ? '0' : fill;
  return String(value).padStart(width === undefined ? usual : Number(width), by);
}
