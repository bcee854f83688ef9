// Pictures of a histogram: bars where there is something, ticks and marks, and a line of blocks.

import { describe, expect, it } from 'vitest';
import { histogramSvg, sparkline } from '../../src/report/histogram.js';

describe('the pictures', () => {
  const histogram = { width: 50, counts: [0, 8, 4, 0, 1] };

  it('has a bar for each bin that holds something', () => {
    const svg = histogramSvg(histogram, { title: 'a < b', axis: 'tokens', mark: { at: 100, text: 'row' } });
    expect(svg.match(/<rect class="data" /g)).toHaveLength(3);
    expect(svg).toContain('<title>50 to 99: 8</title>');
    expect(svg).toContain('<title>200 and more: 1</title>');
    expect(svg).toContain('a &#60; b');
    const heights = [...svg.matchAll(/<rect class="data" [^>]*height="([\d.]+)"/g)].map((match) => Number(match[1]));
    expect(heights[0] / heights[1]).toBeCloseTo(2, 1);
  });

  it('fits a line', () => {
    expect(sparkline(histogram)).toBe(' █▄ ▁');
    expect(sparkline({ width: 1, counts: new Array(100).fill(1) }, 60)).toBe('█'.repeat(50));
    expect(sparkline({ width: 1, counts: [0] })).toBe(' ');
  });
});
