// Numbers as the page shows them.

import { counted } from '../errors.js';

export { counted };

/** `1,234`. */
export function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** `6.3M`. */
export function short(value: number): string {
  for (const [size, unit] of [
    [1e9, 'B'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const)
    if (value >= size) return `${(value / size).toPrecision(value >= 100 * size ? 3 : 2)}${unit}`;
  return String(Math.round(value));
}

export function bytes(value: number): string {
  for (const [size, unit] of [
    [1e9, 'GB'],
    [1e6, 'MB'],
    [1e3, 'kB'],
  ] as const)
    if (value >= size) return `${value >= 10 * size ? Math.round(value / size) : (value / size).toFixed(1)} ${unit}`;
  return counted(value, 'byte');
}

/** `45 s`, `3 min`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : counted(Math.round(hours / 24), 'day');
}

/** `just now`, `5 min ago`, or the day. */
export function ago(time: number): string {
  const seconds = (Date.now() - time) / 1000;
  if (seconds < 60) return 'just now';
  if (seconds < 24 * 3600) return `${duration(seconds)} ago`;
  return new Date(time).toLocaleDateString('en', { day: 'numeric', month: 'long' });
}
