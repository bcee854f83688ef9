// Line charts: ticks at round numbers, and what is left out.

import { describe, expect, it } from 'vitest';
import { chartSvg } from '../../src/report/chart.js';
import { tickText } from '../../src/report/svg.js';

/** How many points each line has. */
const points = (svg: string): number[] => [...svg.matchAll(/<path[^>]* d="M([^"]*)"/g)].map(([, path]) => path.split('L').length);

describe('chartSvg', () => {
  const draw = (values: number[], logarithmic = false): string => {
    const line = { name: 'x', points: values.map((y, x) => [x, y] as const) };
    return chartSvg({ title: 't', xLabel: 'x', panels: [{ title: 'p', lines: [line], logarithmic }] });
  };
  const ticks = (svg: string): string[] =>
    [...svg.matchAll(/text-anchor="end">([^<]+)<\/text>/g)].map(([, text]) => text).slice(0, -1);

  it('puts ticks at round numbers, around the values', () => {
    expect(ticks(draw([0.3, 9.7]))).toEqual(['0', '2', '4', '6', '8', '10']);
    expect(ticks(draw([3.01, 3.38]))).toEqual(['3', '3.1', '3.2', '3.3', '3.4']);
    expect(ticks(draw([1e-6, 4e-3]))).toEqual(['0', '1e-3', '2e-3', '3e-3', '4e-3']);
    expect(ticks(draw([2, 900], true))).toEqual(['2', '5', '10', '20', '50', '100', '200', '500']);
    expect(ticks(draw([5, 5]))).toEqual(['2', '4', '6', '8']);
  });

  it('leaves out what cannot be drawn', () => {
    expect(points(draw([1, Number.NaN, 3, Number.POSITIVE_INFINITY]))).toEqual([2]);
    expect(points(draw([1, 0, -3, 10], true))).toEqual([2]);
    expect(draw([Number.NaN])).toContain('nothing yet');
    expect(draw([1, 2])).not.toMatch(/NaN|Infinity/);
  });

  it('writes numbers short', () => {
    expect([0, 0.05, 12, 1500, 2e7, 5e-4, 3.2e9].map(tickText)).toEqual(['0', '0.05', '12', '1.5k', '20M', '5e-4', '3.2G']);
  });
});
