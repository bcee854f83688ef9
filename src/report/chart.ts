// Line charts as SVG text: panels one under another, each with axes and lines, one legend for all. Knows nothing of what is drawn.

import { colourOf, escapeXml, gridOf, legendOf, linearScale, logScale, type Scale, svgDocument, tickText } from './svg.js';

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

interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly panels: readonly Panel[];
  /** What the styles mean, below the title. */
  readonly note?: string;
}

const width = 860;
const plot = { left: 72, right: 24, height: 210, gap: 62 };

/** The whole picture. Points that are no numbers (or not positive, on a logarithmic axis) are left out. */
export function chartSvg({ title, xLabel, panels, note }: Chart): string {
  const colour = coloursOf(panels);
  const legend = legendOf(namesOf(panels), width - plot.left - plot.right, 4);
  const above = note ? 70 : 52;
  const top = above + legend.height;
  const height = top + panels.length * (plot.height + plot.gap);
  return svgDocument({ title, width, height, left: plot.left }, [
    note ? `<text x="${plot.left}" y="52">${escapeXml(note)}</text>` : '',
    `<g transform="translate(${plot.left},${above})">${legend.body}</g>`,
    ...panels.map((panel, i) => panelOf(panel, xLabel, top + 22 + i * (plot.height + plot.gap), colour)),
  ]);
}

function namesOf(panels: readonly Panel[]): string[] {
  return [...new Set(panels.flatMap(({ lines }) => lines.map(({ name }) => name)))];
}

/** The colour of each name in some panels. */
export function coloursOf(panels: readonly Panel[]): (name: string) => string {
  const names = namesOf(panels);
  return (name) => colourOf(names.indexOf(name));
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
  const x = linearScale(extent(all, 0), plot.left, right, { count: 8 });
  const [low, high] = extent(all, 1);
  const y = logarithmic
    ? logScale([low, high], bottom, top)
    : linearScale([fromZero ? Math.min(0, low) : low, high], bottom, top, { count: 5, widen: true });
  const marks = x.ticks.map((tick) => {
    const place = x.at(tick);
    return `<line class="axis" x1="${place}" x2="${place}" y1="${bottom}" y2="${bottom + 5}"/><text x="${place}" y="${bottom + 19}" text-anchor="middle">${tickText(tick)}</text>`;
  });
  const axis = `<line class="axis" x1="${plot.left}" x2="${right}" y1="${bottom}" y2="${bottom}"/><text x="${right}" y="${bottom + 34}" text-anchor="end">${escapeXml(xLabel)}</text>`;
  const paths = lines.filter(({ points }) => points.length > 0).map((line) => pathOf(line, x, y, colour(line.name)));
  return [head, ...gridOf(y, plot.left, right), ...marks, axis, ...paths].join('\n');
}

function pathOf({ points, style: kind }: Line, x: Scale, y: Scale, colour: string): string {
  const places = points.map(([px, py]) => `${x.at(px)} ${y.at(py)}`);
  const path = `<path class="data line${kind ? ` ${kind}` : ''}" stroke="${colour}" d="M${places.join('L')}"/>`;
  if (kind !== 'dotted' && points.length > 1) return path;
  const dots = places.map((place) => `<circle class="data" r="2.5" fill="${colour}" cx="${place.replace(' ', '" cy="')}"/>`);
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
