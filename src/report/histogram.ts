// Pictures of a histogram: an SVG that reads well on light and dark pages, and a line of blocks for a terminal.

import { escapeXml } from './xml.js';

/** Counts of values in bins of equal width: bin i holds [i * width, (i + 1) * width); the last one all above, too. */
export interface Histogram {
  readonly width: number;
  readonly counts: readonly number[];
}

const WIDTH = 720;
const HEIGHT = 300;
const MARGIN = { left: 64, right: 20, top: 48, bottom: 52 };

/** A bar chart as an SVG document. A value of `mark` (the row's length, say) is drawn as a line across. */
export function histogramSvg(
  { width, counts }: Histogram,
  labels: { title: string; axis: string; mark?: { at: number; text: string } },
): string {
  const innerWidth = WIDTH - MARGIN.left - MARGIN.right;
  const innerHeight = HEIGHT - MARGIN.top - MARGIN.bottom;
  const step = tickStep(Math.max(...counts, 1), 4);
  const top = Math.ceil(Math.max(...counts, 1) / step) * step;
  const end = counts.length * width;
  const x = (value: number): number => round(MARGIN.left + (value / end) * innerWidth);
  const y = (value: number): number => round(MARGIN.top + innerHeight * (1 - value / top));
  const lines: string[] = [];
  for (let value = 0; value <= top; value += step) {
    lines.push(`<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(value)}" y2="${y(value)}"/>`);
    lines.push(`<text x="${MARGIN.left - 8}" y="${y(value) + 4}" text-anchor="end">${short(value)}</text>`);
  }
  counts.forEach((count, i) => {
    if (count === 0) return;
    const left = x(i * width);
    const barWidth = round(Math.max(x((i + 1) * width) - left - 1, 0.5));
    const last = i === counts.length - 1;
    const range = last ? `${i * width} and more` : `${i * width} to ${(i + 1) * width - 1}`;
    lines.push(
      `<rect x="${left}" y="${y(count)}" width="${barWidth}" height="${round(y(0) - y(count))}"><title>${range}: ${count}</title></rect>`,
    );
  });
  const xStep = tickStep(end, 6);
  for (let value = 0; value <= end; value += xStep) {
    lines.push(`<text x="${x(value)}" y="${y(0) + 18}" text-anchor="middle">${short(value)}</text>`);
  }
  const { mark } = labels;
  if (mark && mark.at < end) {
    lines.push(`<line class="mark" x1="${x(mark.at)}" x2="${x(mark.at)}" y1="${MARGIN.top - 6}" y2="${y(0)}"/>`);
    const side = x(mark.at) > WIDTH / 2 ? 'end' : 'start';
    lines.push(
      `<text class="mark" x="${x(mark.at) + (side === 'end' ? -6 : 6)}" y="${MARGIN.top - 8}" text-anchor="${side}">${escapeXml(mark.text)}</text>`,
    );
  }
  lines.push(
    `<text x="${MARGIN.left + innerWidth / 2}" y="${HEIGHT - 12}" text-anchor="middle">${escapeXml(labels.axis)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escapeXml(labels.title)}">
<style>
  text { font: 12px system-ui, sans-serif; fill: #6b7280; }
  .title { font-size: 15px; font-weight: 600; fill: #4b5563; }
  rect { fill: #3b82f6; }
  .grid { stroke: #9ca3af; stroke-opacity: 0.35; }
  line.mark { stroke: #f97316; stroke-dasharray: 4 3; }
  text.mark { fill: #ea580c; }
  @media (prefers-color-scheme: dark) { text { fill: #9ca3af; } .title { fill: #d1d5db; } rect { fill: #60a5fa; } text.mark { fill: #fb923c; } }
</style>
<text class="title" x="${MARGIN.left}" y="24">${escapeXml(labels.title)}</text>
${lines.join('\n')}
</svg>
`;
}

const BLOCKS = ' ▁▂▃▄▅▆▇█';

/** The counts as a line of at most `columns` block characters; a bin that holds anything shows. */
export function sparkline({ counts }: Histogram, columns = 60): string {
  const group = Math.ceil(counts.length / columns);
  const sums: number[] = [];
  for (let i = 0; i < counts.length; i += group) sums.push(counts.slice(i, i + group).reduce((a, b) => a + b, 0));
  const most = Math.max(...sums, 1);
  return sums.map((sum) => BLOCKS[sum === 0 ? 0 : Math.max(1, Math.round((sum / most) * 8))]).join('');
}

function tickStep(largest: number, ticks: number): number {
  const rough = Math.max(1, largest / ticks);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((step) => step * power >= rough)!;
}

function short(value: number): string {
  if (value >= 1e6) return `${round(value / 1e6)}M`;
  return value >= 1e4 ? `${round(value / 1e3)}k` : String(value);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
