// The reductions and the interleaving of the benchmarks.
import { expect, test } from 'vitest';
import { formatTable } from '../../bench/report.js';
import { interleave, median, summarize } from '../../bench/statistics.js';

test('median and range', () => {
  expect(median([9, 1, 4])).toBe(4);
  expect(median([9, 1, 4, 6])).toBe(5);
  expect(() => median([])).toThrow('no values');
  expect(summarize([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3, samples: [3, 1, 2] });
});

test('contenders alternate, each first in turn', async () => {
  const calls: string[] = [];
  const record = (name: string) => async () => calls.push(name);
  const samples = await interleave({ a: record('a'), b: record('b') }, 3);
  expect(calls.join('')).toBe('abbaab');
  expect(samples).toEqual({ a: [1, 4, 5], b: [2, 3, 6] });
});

test('columns are aligned, numbers to the right', () => {
  const table = formatTable([{ name: 'long name', speed: 1234.5 }, { name: 'b', speed: 0.12345, extra: 'x' }, { name: 'c' }]);
  expect(table.split('\n')).toEqual([
    'name       speed  extra',
    '---------  -----  -----',
    'long name   1235  -',
    'b          0.123  x',
    'c              -  -',
  ]);
});
