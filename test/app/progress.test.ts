import { expect, test } from 'vitest';
import { formatBytes, formatSeconds, progressBar } from '../../src/app/progress.js';

/** A stream that keeps what is written, and a clock that stands until it is moved. */
function stage(isTTY: boolean, columns = 80, unit?: string) {
  const clock = { ms: 0 };
  const written: string[] = [];
  const stream = { isTTY, columns, write: (text: string) => written.push(text) };
  return { clock, written, bar: progressBar(stream, { unit, now: () => clock.ms }) };
}

test('on a terminal one line is drawn again and again, ten times a second at most', () => {
  const { clock, written, bar } = stage(true);
  for (let i = 0; i <= 1000; i++) {
    clock.ms = i;
    bar.update('model.safetensors', i * 1e6, 1e9);
  }
  expect(written.length).toBe(11);
  expect(written.every((text) => text.startsWith('\r\u001b[2K') && !text.includes('\n'))).toBe(true);
  expect(written[6]).toContain('60%  600 MB of 1.0 GB  1.0 GB/s  0:01 left');
  expect(written[6]).toMatch(/model\.safetensors {2}\[#+\.+\] {2}60%/);
  bar.finish();
  expect(written.at(-1)).toBe('\n');
  expect(written.slice(-2)[0]).toContain('100%');
});

test('a line never wraps: it is cut to the width of the terminal', () => {
  for (const columns of [10, 40, 60, 200]) {
    const { clock, written, bar } = stage(true, columns);
    bar.update('model-00001-of-00002.safetensors', 0, 2e9);
    clock.ms = 3000;
    bar.update('model-00001-of-00002.safetensors', 1e9, 2e9);
    for (const text of written) expect(text.replace('\r\u001b[2K', '').length).toBeLessThan(columns);
  }
});

test('a note goes above the bar, which is drawn again; finish ends the line once', () => {
  const { written, bar } = stage(true);
  bar.note('first');
  bar.update('x', 1);
  bar.note('second');
  bar.finish();
  bar.finish();
  expect(written).toEqual(['first\n', '\r\u001b[2Kx  1 B', '\r\u001b[2Ksecond\n', '\r\u001b[2Kx  1 B', '\n']);
});

test('without a terminal there is a plain line every ten seconds, and one at the end of each label that took as long', () => {
  const { clock, written, bar } = stage(false);
  for (clock.ms = 0; clock.ms <= 25_000; clock.ms += 100) bar.update('a', clock.ms * 100, 2_600_000);
  bar.update('b', 5, 10);
  bar.note('a note');
  bar.finish();
  expect(written).toEqual([
    'a: 38%  1.0 MB of 2.6 MB  100 kB/s  0:16 left\n',
    'a: 76%  2.0 MB of 2.6 MB  100 kB/s  0:06 left\n',
    'a: 96%  2.5 MB of 2.6 MB  99.6 kB/s  0:02 left\n',
    'a note\n',
  ]);
});

test('what is no bytes is counted by its name', () => {
  const { written, bar } = stage(true, 80, 'pairs');
  bar.update('judging', 1, 1234);
  expect(written[0]).toMatch(/^\r\S+judging {2}\[\.+\] {2}0% {2}1 of 1,234 pairs$/);
});

test('amounts and times', () => {
  expect([0, 999, 1000, 99_949, 99_951, 999_499, 999_500, 1.5e9, 2e15].map(formatBytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '99.9 kB',
    '100 kB',
    '999 kB',
    '1.0 MB',
    '1.5 GB',
    '2000 TB',
  ]);
  expect([0.2, 59, 61, 3599.5, 3723].map(formatSeconds)).toEqual(['0:01', '0:59', '1:01', '1:00:00', '1:02:03']);
});
