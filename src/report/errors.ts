// Horizontal bars of small shares, one a row, as SVG text: the error of each matrix of a quantized model. Knows nothing of how they
// came about.

import { colourOf, escapeXml, svgDocument, tenths } from './svg.js';

interface ErrorBar {
  readonly name: string;
  /** A share of 1. */
  readonly value: number;
  /** Behind the bar. */
  readonly note: string;
}

const [top, rowHeight, left, width] = [56, 18, 190, 760];

/** Bars from 0 to the largest value. */
export function errorsSvg(bars: readonly ErrorBar[], title: string): string {
  const most = Math.max(...bars.map(({ value }) => value), 1e-12);
  const room = width - left - 210;
  const rows = bars.map(({ name, value, note }, i) => {
    const y = top + i * rowHeight;
    const length = tenths((room * value) / most);
    const said = `${(100 * value).toFixed(3)}% in ${note}`;
    return [
      `<text class="small" x="${left - 8}" y="${y + 10}" text-anchor="end">${escapeXml(name)}</text>`,
      `<rect class="data" fill="${colourOf(0)}" x="${left}" y="${y}" width="${length}" height="12"><title>${escapeXml(said)}</title></rect>`,
      `<text class="small" x="${tenths(left + length + 6)}" y="${y + 10}">${escapeXml(said)}</text>`,
    ].join('');
  });
  const height = top + bars.length * rowHeight + 16;
  return svgDocument({ title, width, height, left: 20 }, rows);
}
