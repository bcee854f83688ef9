// One line of progress for anything that takes long: a bar that redraws itself on a terminal, an occasional plain line where
// the output is a file or a pipe, once it has taken long. Counts bytes, or whatever the caller names; writes only to the stream it is given (stderr).

import { visible } from '../errors.js';

/** What a progress line draws on: process.stderr, or anything alike. */
interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressBar {
  /** Shows `done` of `total` (no bar and no percentage without a total). Cheap enough to be called for every piece. */
  update(label: string, done: number, total?: number): void;
  /** Writes a line of its own above the bar. */
  note(text: string): void;
  /** Draws the last state and ends the line; a later `update` starts a new one. */
  finish(): void;
}

interface ProgressOptions {
  /** What is counted (`pairs`, or nothing: ''); default bytes, written as such (`1.2 GB`). */
  readonly unit?: string;
  /** Milliseconds, for tests. */
  readonly now?: () => number;
}

const REDRAW_MS = 100;
const PLAIN_MS = 10_000;

/** A progress line on `stream`. */
export function progressBar(stream: ProgressStream, options: ProgressOptions = {}): ProgressBar {
  const { unit, now = Date.now } = options;
  const every = stream.isTTY ? REDRAW_MS : PLAIN_MS;
  let current: { label: string; done: number; total?: number } | undefined;
  let started = { at: 0, done: 0 };
  let lastDrawn = Number.NEGATIVE_INFINITY;
  let pending = false;
  let told = false; // whether the label has had a line, where there is no terminal: what is soon done needs none

  const clear = '\r\u001b[2K';
  const draw = () => {
    if (!current) return;
    pending = false;
    told = true;
    lastDrawn = now();
    const seconds = (lastDrawn - started.at) / 1000;
    const rate = seconds >= 0.5 ? (current.done - started.done) / seconds : 0;
    if (stream.isTTY) stream.write(clear + barLine(current, rate, unit, (stream.columns ?? 80) - 1));
    else stream.write(`${current.label}: ${details(current, rate, unit)}\n`);
  };

  return {
    update(label, done, total) {
      const fresh = current?.label !== visible(label);
      if (!current && !stream.isTTY) lastDrawn = now();
      if (fresh && pending && (stream.isTTY || told)) draw();
      if (fresh) told = false;
      // A new label, or an amount that fell (something started over), starts the rate anew.
      if (fresh || done < (current?.done ?? 0)) started = { at: now(), done };
      current = { label: visible(label), done, total };
      pending = true;
      if ((fresh && stream.isTTY) || now() - lastDrawn >= every) draw();
    },
    note(message) {
      const text = visible(message);
      stream.write(stream.isTTY && current ? `${clear}${text}\n` : `${text}\n`);
      if (stream.isTTY) draw();
    },
    finish() {
      if (pending && (stream.isTTY || told)) draw();
      if (current && stream.isTTY) stream.write('\n');
      current = undefined;
      told = false;
      lastDrawn = Number.NEGATIVE_INFINITY;
    },
  };
}

type State = { label: string; done: number; total?: number };

/** `label  [#####.....]  50%  1.0/2.0 GB  12 MB/s  0:42`, cut to the width of the terminal. */
function barLine(state: State, rate: number, unit: string | undefined, width: number): string {
  const { label, done, total } = state;
  const tail = details(state, rate, unit);
  if (!total) return `${label}  ${tail}`.slice(0, width);
  const fraction = Math.min(1, done / total);
  const room = Math.min(30, width - label.length - tail.length - 6);
  const filled = Math.round(fraction * room);
  const bar = room >= 5 ? `[${'#'.repeat(filled)}${'.'.repeat(room - filled)}]  ` : '';
  return `${label}  ${bar}${tail}`.slice(0, width);
}

function details({ done, total }: State, rate: number, unit: string | undefined): string {
  const amount = (value: number): string => (unit === undefined ? formatBytes(value) : formatCount(value));
  const counted = [amount(done), ...(total ? ['of', amount(total)] : []), ...(unit ? [unit] : [])].join(' ');
  const parts = total ? [`${Math.floor(Math.min(1, done / total) * 100)}%`, counted] : [counted];
  if (rate > 0) parts.push(`${amount(rate)}/s`);
  if (rate > 0 && total && done < total) parts.push(`${formatSeconds((total - done) / rate)} left`);
  return parts.join('  ');
}

/** `0.123`, `12.3`, `1,234`. */
function formatCount(value: number): string {
  return (value < 100 ? Number(value.toPrecision(3)) : Math.round(value)).toLocaleString('en', { maximumFractionDigits: 3 });
}

/** `999 B`, `1.2 kB`, `3.4 GB`: powers of 1000, as download sizes are told. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let power = 0;
  let amount = bytes;
  for (; amount >= 999.5 && power < units.length - 1; power++) amount /= 1000;
  return `${power === 0 || amount >= 99.95 ? Math.round(amount) : amount.toFixed(1)} ${units[power]}`;
}

/** `5,821,184`. */
export function formatNumber(value: number): string {
  return value.toLocaleString('en');
}

/** `0:07`, `12:05`, `1:02:03`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
