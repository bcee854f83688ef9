// Pictures of a histogram: an SVG that reads well on light and dark pages, and a line of blocks for a terminal.

import { colourOf, escapeXml, gridOf, linearScale, svgDocument, tenths, tickText } from './svg.js';

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
  const [right, bottom] = [WIDTH - MARGIN.right, HEIGHT - MARGIN.bottom];
  const end = counts.length * width;
  const across = linearScale([0, end], MARGIN.left, right, { count: 6, least: 1 });
  const up = linearScale([0, Math.max(...counts, 1)], bottom, MARGIN.top, { count: 4, widen: true, least: 1 });
  const lines = gridOf(up, MARGIN.left, right);
  counts.forEach((count, i) => {
    if (count === 0) return;
    const left = across.at(i * width);
    const barWidth = tenths(Math.max(across.at((i + 1) * width) - left - 1, 0.5));
    const last = i === counts.length - 1;
    const range = last ? `${i * width} and more` : `${i * width} to ${(i + 1) * width - 1}`;
    lines.push(
      `<rect class="data" fill="${colourOf(0)}" x="${left}" y="${up.at(count)}" width="${barWidth}" height="${tenths(bottom - up.at(count))}"><title>${range}: ${count}</title></rect>`,
    );
  });
  for (const tick of across.ticks)
    lines.push(`<text x="${across.at(tick)}" y="${bottom + 18}" text-anchor="middle">${tickText(tick)}</text>`);
  const { mark } = labels;
  if (mark && mark.at < end) {
    lines.push(
      `<line class="mark" x1="${across.at(mark.at)}" x2="${across.at(mark.at)}" y1="${MARGIN.top - 6}" y2="${bottom}"/>`,
    );
    const side = across.at(mark.at) > WIDTH / 2 ? 'end' : 'start';
    lines.push(
      `<text class="said" x="${across.at(mark.at) + (side === 'end' ? -6 : 6)}" y="${MARGIN.top - 8}" text-anchor="${side}">${escapeXml(mark.text)}</text>`,
    );
  }
  const middle = (MARGIN.left + right) / 2;
  lines.push(`<text x="${middle}" y="${HEIGHT - 12}" text-anchor="middle">${escapeXml(labels.axis)}</text>`);
  return svgDocument({ title: labels.title, width: WIDTH, height: HEIGHT, left: MARGIN.left }, lines);
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
