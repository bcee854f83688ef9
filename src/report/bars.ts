// Grouped bars with whiskers as SVG text, for light and dark pages: one group a measure, one bar a series. Knows nothing of what is
// measured.

import { colourOf, escapeXml, gridOf, legendOf, linearScale, palette, svgDocument, tenths } from './svg.js';

/** Bars of one measure: for each series a share from 0 to 1 with its standard error, where there is one. */
interface BarGroup {
  readonly name: string;
  /** Small, below the name. */
  readonly note: string;
  readonly values: readonly ({ readonly value: number; readonly stderr: number | undefined } | undefined)[];
}

const margin = { left: 48, right: 16, bottom: 62 };
const plotHeight = 240;
const barWidth = 16;

/** What the bars count. */
interface BarUnit {
  /** Behind the numbers. */
  readonly name: string;
  /** From values to numbers. */
  readonly factor: number;
  /** No number is larger. */
  readonly most: number;
}

/** Of shares from 0 to 1. */
const percent: BarUnit = { name: '%', factor: 100, most: 100 };

/** How many series a picture can tell apart. */
export const mostSeries = palette.length;

/** Bars side by side in groups, in percent unless said otherwise, with whiskers of two standard errors; `labels` are the series' names. */
export function barsSvg(groups: readonly BarGroup[], labels: readonly string[], title: string, unit = percent): string {
  const barsWidth = labels.length * (barWidth + 2);
  const groupWidth = Math.max(barsWidth + 24, 92);
  const plotWidth = Math.max(groups.length * groupWidth, 320);
  const width = margin.left + plotWidth + margin.right;
  const legend = legendOf(labels, plotWidth, 11);
  const top = 46 + legend.height;
  const highs = groups.flatMap(({ values }) =>
    values.map((item) => (item ? unit.factor * (item.value + 2 * (item.stderr ?? 0)) : 0)),
  );
  const most = Math.min(unit.most, Math.max(10, ...highs));
  const scale = linearScale([0, most], top + plotHeight, top, { count: 5, widen: true });
  const y = (value: number): number => scale.at(Math.min(Math.max(value, 0), unit.most));
  const lines = gridOf(scale, margin.left, width - margin.right, unit.name.trim().length > 1 ? '' : unit.name);
  for (const [i, { name, note, values }] of groups.entries()) {
    const middle = tenths(margin.left + (i + 0.5) * groupWidth);
    for (const [k, item] of values.entries()) {
      if (item) lines.push(...bar(middle - barsWidth / 2 + k * (barWidth + 2) + 1, item, unit, y, k, labels[k]));
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
  return svgDocument({ title, width, height, left: margin.left }, [
    `<g transform="translate(${margin.left},46)">${legend.body}</g>`,
    ...lines,
  ]);
}

/** A bar, and its whiskers where there is an error. */
function bar(
  x: number,
  item: { readonly value: number; readonly stderr: number | undefined },
  { name, factor }: BarUnit,
  y: (value: number) => number,
  colour: number,
  label: string,
): string[] {
  const [value, stderr] = [factor * item.value, factor * (item.stderr ?? 0)];
  const error = 2 * stderr;
  const said = `${label}: ${value.toFixed(2)}${name}${item.stderr === undefined ? '' : ` ± ${stderr.toFixed(2)}`}`;
  const left = tenths(x);
  const rect = `<rect class="data" fill="${colourOf(colour)}" x="${left}" y="${y(value)}" width="${barWidth}" height="${tenths(y(0) - y(value))}"><title>${escapeXml(said)}</title></rect>`;
  if (error === 0) return [rect];
  const [high, low, middle] = [y(value + error), y(value - error), left + barWidth / 2];
  const cap = (at: number): string => `M${middle - 3} ${at}h6`;
  return [rect, `<path class="error" d="${cap(high)}M${middle} ${high}V${low}${cap(low)}"/>`];
}

/** A name in at most two lines, broken after an underscore. */
function wrapped(name: string, letters: number): string[] {
  if (name.length <= letters) return [name];
  const at = name.lastIndexOf('_', letters - 1);
  return at <= 0 ? [name] : [name.slice(0, at + 1), name.slice(at + 1)];
}
