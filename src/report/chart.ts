// Line charts as SVG text: panels one under another, each with axes, ticks at round numbers and lines, one legend for all. Colours
// follow the reader's light or dark scheme. Knows nothing of what is drawn.

import { escapeXml } from './xml.js';

export interface Line {
  /** Lines of one name share a colour and one place in the legend. */
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** `faint`: a background to another line of the name; `dotted`: points joined by a dashed line. */
  readonly style?: 'faint' | 'dotted';
}

export interface Panel {
  readonly title: string;
  readonly lines: readonly Line[];
  readonly logarithmic?: boolean;
  /** Keeps zero in view. */
  readonly fromZero?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly panels: readonly Panel[];
  /** What the styles mean, below the title. */
  readonly note?: string;
}

const width = 860;
const plot = { left: 72, right: 24, height: 210, gap: 62 };
const palette = ['#2f6fdb', '#d9480f', '#2b8a3e', '#9c36b5', '#c2900c', '#0c8599', '#c2255c', '#6b7280'];

const style = `
.bg{fill:#ffffff}text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#4b5563}
.title{font-size:16px;font-weight:600;fill:#111827}.head{font-size:13px;font-weight:600;fill:#111827}
.grid{stroke:#e5e7eb;stroke-width:1}.axis{stroke:#9ca3af;stroke-width:1}
path{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.faint{stroke-width:1;opacity:.3}.dotted{stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){.bg{fill:#111418}text{fill:#a3acb9}.title,.head{fill:#f3f4f6}.grid{stroke:#262b33}.axis{stroke:#596273}
path,circle,.key{filter:brightness(1.25)}}`;

/** The whole picture. Points that are no numbers (or not positive, on a logarithmic axis) are left out. */
export function chartSvg({ title, xLabel, panels, note }: Chart): string {
  const names = namesOf(panels);
  const colour = coloursOf(panels);
  const legend = legendOf(names, colour);
  const top = 52 + (note ? 18 : 0) + legend.height;
  const height = top + panels.length * (plot.height + plot.gap);
  const body = panels.map((panel, i) => panelOf(panel, xLabel, top + 22 + i * (plot.height + plot.gap), colour));
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}">`,
    `<style>${style}</style><rect class="bg" width="100%" height="100%" rx="6"/>`,
    `<text class="title" x="${plot.left}" y="32">${escapeXml(title)}</text>`,
    note ? `<text x="${plot.left}" y="52">${escapeXml(note)}</text>` : '',
    `<g transform="translate(${plot.left},${52 + (note ? 18 : 0)})">${legend.text}</g>`,
    ...body,
    '</svg>',
  ].join('\n')}\n`;
}

function namesOf(panels: readonly Panel[]): string[] {
  return [...new Set(panels.flatMap(({ lines }) => lines.map(({ name }) => name)))];
}

/** The colour of each name in some panels. */
export function coloursOf(panels: readonly Panel[]): (name: string) => string {
  const names = namesOf(panels);
  return (name) => palette[names.indexOf(name) % palette.length];
}

function legendOf(names: readonly string[], colour: (name: string) => string): { text: string; height: number } {
  let x = 0;
  let y = 0;
  const items = names.map((name) => {
    const size = 34 + name.length * 7;
    if (x > 0 && x + size > width - plot.left - plot.right) {
      x = 0;
      y += 20;
    }
    const item = `<rect class="key" x="${x}" y="${y - 1}" width="18" height="4" rx="2" fill="${colour(name)}"/><text x="${x + 24}" y="${y + 5}">${escapeXml(name)}</text>`;
    x += size;
    return item;
  });
  return { text: items.join(''), height: names.length > 0 ? y + 20 : 0 };
}

interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

function panelOf(panel: Panel, xLabel: string, top: number, colour: (name: string) => string): string {
  const { title, logarithmic = false, fromZero = false } = panel;
  const fits = ([x, y]: readonly [number, number]): boolean =>
    Number.isFinite(x) && Number.isFinite(y) && (!logarithmic || y > 0);
  const lines = panel.lines.map((line) => ({ ...line, points: line.points.filter(fits) }));
  const all = lines.flatMap(({ points }) => points);
  const head = `<text class="head" x="${plot.left}" y="${top - 10}">${escapeXml(title)}</text>`;
  if (all.length === 0) return `${head}<text x="${plot.left}" y="${top + 20}">nothing yet</text>`;
  const right = width - plot.right;
  const bottom = top + plot.height;
  const x = linearScale(extent(all, 0), plot.left, right, 8);
  const [low, high] = extent(all, 1);
  const y = logarithmic
    ? logScale([low, high], bottom, top)
    : linearScale([fromZero ? Math.min(0, low) : low, high], bottom, top, 5, true);
  const grid = y.ticks.map((tick) => {
    const place = round(y.at(tick));
    return `<line class="grid" x1="${plot.left}" x2="${right}" y1="${place}" y2="${place}"/><text x="${plot.left - 8}" y="${place + 4}" text-anchor="end">${tickText(tick)}</text>`;
  });
  const marks = x.ticks.map((tick) => {
    const place = round(x.at(tick));
    return `<line class="axis" x1="${place}" x2="${place}" y1="${bottom}" y2="${bottom + 5}"/><text x="${place}" y="${bottom + 19}" text-anchor="middle">${tickText(tick)}</text>`;
  });
  const axis = `<line class="axis" x1="${plot.left}" x2="${right}" y1="${bottom}" y2="${bottom}"/><text x="${right}" y="${bottom + 34}" text-anchor="end">${escapeXml(xLabel)}</text>`;
  const paths = lines.filter(({ points }) => points.length > 0).map((line) => pathOf(line, x, y, colour(line.name)));
  return [head, ...grid, ...marks, axis, ...paths].join('\n');
}

function pathOf({ points, style: kind }: Line, x: Scale, y: Scale, colour: string): string {
  const places = points.map(([px, py]) => `${round(x.at(px))} ${round(y.at(py))}`);
  const path = `<path${kind ? ` class="${kind}"` : ''} stroke="${colour}" d="M${places.join('L')}"/>`;
  if (kind !== 'dotted' && points.length > 1) return path;
  const dots = places.map((place) => `<circle r="2.5" fill="${colour}" cx="${place.replace(' ', '" cy="')}"/>`);
  return path + dots.join('');
}

function extent(points: readonly (readonly [number, number])[], axis: 0 | 1): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const point of points) {
    low = Math.min(low, point[axis]);
    high = Math.max(high, point[axis]);
  }
  return [low, high];
}

/** From data to places, with about `count` ticks at 1, 2 or 5 times a power of ten; `widen` ends the axis at ticks. */
function linearScale([first, last]: readonly [number, number], from: number, to: number, count: number, widen = false): Scale {
  let [low, high] = first < last ? [first, last] : [first - Math.abs(first) / 2 - 0.5, last + Math.abs(last) / 2 + 0.5];
  const step = roundStep((high - low) / count);
  if (widen) [low, high] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return { at: (value) => from + ((value - low) / (high - low)) * (to - from), ticks };
}

function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5, 10].find((step) => step * power >= least * 0.999) ?? 10);
}

function logScale([low, high]: readonly [number, number], from: number, to: number): Scale {
  const [start, end] = low < high ? [Math.log10(low), Math.log10(high)] : [Math.log10(low) - 0.3, Math.log10(low) + 0.3];
  const within: number[] = [];
  for (let power = Math.floor(start); power <= end; power++) {
    for (let digit = 1; digit < 10; digit++) {
      const tick = digit * 10 ** power;
      if (Math.log10(tick) >= start - 1e-9 && Math.log10(tick) <= end + 1e-9) within.push(tick);
    }
  }
  const kept = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1]].map((digits) =>
    within.filter((tick) => digits.includes(leadingDigit(tick))),
  );
  const ticks = kept.find(({ length }) => length <= 8) ?? kept[2];
  return { at: (value) => from + ((Math.log10(value) - start) / (end - start)) * (to - from), ticks };
}

function leadingDigit(value: number): number {
  return Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
}

/** `0.05`, `1.5k`, `20M`, `5e-4`. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (size < 1e-12) return '0';
  if (size < 1e-2) return Number(value.toPrecision(3)).toExponential();
  if (size < 1e3) return String(Number(value.toPrecision(4)));
  const [unit, name] = size >= 1e9 ? [1e9, 'G'] : size >= 1e6 ? [1e6, 'M'] : [1e3, 'k'];
  return `${Number((value / unit).toPrecision(4))}${name}`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
