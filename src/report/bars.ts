// Grouped bars with whiskers as SVG text, for light and dark pages: one group a measure, one bar a series. Knows nothing of what is
// measured.

import { escapeXml } from './xml.js';

/** Bars of one measure: for each series a share from 0 to 1 with its standard error, where there is one. */
export interface BarGroup {
  readonly name: string;
  /** Small, below the name. */
  readonly note: string;
  readonly values: readonly ({ readonly value: number; readonly stderr: number | undefined } | undefined)[];
}

const margin = { left: 48, right: 16, bottom: 62 };
const plotHeight = 240;
const barWidth = 16;
const colours = [
  ['#2563eb', '#60a5fa'],
  ['#ea580c', '#fb923c'],
  ['#059669', '#34d399'],
  ['#9333ea', '#c084fc'],
  ['#ca8a04', '#facc15'],
  ['#db2777', '#f472b6'],
  ['#0891b2', '#22d3ee'],
  ['#65a30d', '#a3e635'],
];

/** How many series a picture can tell apart. */
export const mostSeries = colours.length;

/** Bars in percent, side by side in groups, with whiskers of two standard errors; `labels` are the series' names. */
export function barsSvg(groups: readonly BarGroup[], labels: readonly string[], title: string): string {
  const barsWidth = labels.length * (barWidth + 2);
  const groupWidth = Math.max(barsWidth + 24, 92);
  const plotWidth = Math.max(groups.length * groupWidth, 320);
  const width = margin.left + plotWidth + margin.right;
  const legend = legendOf(labels, plotWidth);
  const top = 44 + legend.height;
  const highs = groups.flatMap(({ values }) => values.map((item) => (item ? 100 * (item.value + 2 * (item.stderr ?? 0)) : 0)));
  const most = Math.min(100, Math.max(10, Math.ceil(Math.max(...highs, 0) / 10) * 10));
  const y = (percent: number): number => round(top + plotHeight * (1 - Math.min(Math.max(percent, 0), most) / most));
  const lines: string[] = [];
  for (let value = 0; value <= most; value += most > 50 ? 20 : 10) {
    lines.push(`<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${y(value)}" y2="${y(value)}"/>`);
    lines.push(`<text x="${margin.left - 8}" y="${y(value) + 4}" text-anchor="end">${value}%</text>`);
  }
  for (const [i, { name, note, values }] of groups.entries()) {
    const middle = round(margin.left + (i + 0.5) * groupWidth);
    for (const [k, item] of values.entries()) {
      if (item)
        lines.push(...bar(middle - barsWidth / 2 + k * (barWidth + 2) + 1, 100 * item.value, item.stderr, y, k, labels[k]));
    }
    const below = [...wrapped(name, 14), note];
    for (const [k, text] of below.entries()) {
      const small = k === below.length - 1 ? ' class="small"' : '';
      lines.push(
        `<text${small} x="${middle}" y="${top + plotHeight + 17 + 14 * k}" text-anchor="middle">${escapeXml(text)}</text>`,
      );
    }
  }
  const height = top + plotHeight + margin.bottom;
  const fills = (dark: 0 | 1): string => labels.map((_, k) => `.m${k} { fill: ${colours[k % colours.length][dark]}; }`).join(' ');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}">
<style>
  text { font: 12px system-ui, sans-serif; fill: #4b5563; }
  .title { font-size: 15px; font-weight: 600; }
  .small { font-size: 11px; fill: #6b7280; }
  .grid { stroke: #9ca3af; stroke-opacity: 0.35; }
  .error { stroke: #111827; stroke-width: 1.2; fill: none; }
  ${fills(0)}
  @media (prefers-color-scheme: dark) {
    text { fill: #d1d5db; } .small { fill: #9ca3af; } .error { stroke: #f9fafb; }
    ${fills(1)}
  }
</style>
<text class="title" x="${margin.left}" y="22">${escapeXml(title)}</text>
${[...legend.lines, ...lines].join('\n')}
</svg>
`;
}

/** A bar, and its whiskers where there is an error; percentages. */
function bar(
  x: number,
  value: number,
  stderr: number | undefined,
  y: (percent: number) => number,
  colour: number,
  label: string,
): string[] {
  const error = stderr === undefined ? 0 : 200 * stderr;
  const said = `${label}: ${value.toFixed(2)}%${stderr === undefined ? '' : ` ± ${(100 * stderr).toFixed(2)}`}`;
  const left = round(x);
  const rect = `<rect class="m${colour}" x="${left}" y="${y(value)}" width="${barWidth}" height="${round(y(0) - y(value))}"><title>${escapeXml(said)}</title></rect>`;
  if (error === 0) return [rect];
  const [high, low, middle] = [y(value + error), y(value - error), left + barWidth / 2];
  const cap = (at: number): string => `M${middle - 3} ${at}h6`;
  return [rect, `<path class="error" d="${cap(high)}M${middle} ${high}V${low}${cap(low)}"/>`];
}

/** The series' names with their colours, in as many lines as they need; letters are taken to be 7 wide. */
function legendOf(labels: readonly string[], room: number): { lines: string[]; height: number } {
  let [x, row] = [0, 0];
  const lines = labels.flatMap((label, k) => {
    const width = 34 + 7 * label.length;
    if (x > 0 && x + width > room) [x, row] = [0, row + 1];
    const [left, base] = [margin.left + x, 44 + 18 * row];
    x += width;
    return [
      `<rect class="m${k}" x="${left}" y="${base - 10}" width="11" height="11" rx="2"/>`,
      `<text x="${left + 17}" y="${base}">${escapeXml(label)}</text>`,
    ];
  });
  return { lines, height: 18 * (row + 1) };
}

/** A name in at most two lines, broken after an underscore. */
function wrapped(name: string, letters: number): string[] {
  if (name.length <= letters) return [name];
  const at = name.lastIndexOf('_', letters - 1);
  return at <= 0 ? [name] : [name.slice(0, at + 1), name.slice(at + 1)];
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
