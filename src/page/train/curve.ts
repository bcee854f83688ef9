// The loss curve: what each step lost, as a line of means, and the loss of what was held back. An SVG that follows its place's size and
// the colours of the page.

import type { KeptTraining } from '../../browser.js';
import { element } from '../elements.js';
import { counted } from '../format.js';
import { svg } from '../svg.js';

type History = KeptTraining['history'];

const height = 260;
const margin = { left: 40, right: 12, top: 12, bottom: 26 };
/** Points of a line at most. */
const mostPoints = 240;

export interface Curve {
  readonly element: HTMLElement;
  draw(history: History, steps: number): void;
}

export function curve(): Curve {
  const chart = svg('svg', { role: 'img', height });
  const tip = element('div', { className: 'tip', hidden: true });
  const place = element('figure', { className: 'curve' }, chart, tip);
  let shown: { history: History; steps: number } = { history: { losses: [], validations: [], samples: [] }, steps: 1 };
  let scales: Scales | undefined;
  const redraw = (): void => {
    const width = place.clientWidth;
    if (width === 0) return; // hidden
    scales = paint(chart, width, shown.history, shown.steps);
  };
  new ResizeObserver(redraw).observe(place);
  chart.addEventListener('pointermove', ({ offsetX }) => {
    const step = Math.round(scales?.stepAt(offsetX) ?? 0);
    const loss = shown.history.losses[step - 1];
    tip.hidden = loss === undefined;
    if (loss === undefined) return;
    tip.textContent = `step ${step}: ${loss.toFixed(3)}`;
    tip.style.left = `${Math.min(offsetX + 12, place.clientWidth - 130)}px`;
  });
  chart.addEventListener('pointerleave', () => {
    tip.hidden = true;
  });
  return {
    element: place,
    draw(history, steps) {
      shown = { history, steps };
      const { losses } = history;
      const fell = losses.length > 1 ? `, from ${losses[0].toFixed(2)} to ${losses.at(-1)!.toFixed(2)}` : '';
      chart.setAttribute('aria-label', `Loss over ${counted(losses.length, 'step')}${fell}`);
      redraw();
    },
  };
}

interface Scales {
  stepAt(x: number): number;
}

function paint(chart: SVGElement, width: number, { losses, validations }: History, steps: number): Scales {
  const points = means(losses);
  const values = [...points.map(([, loss]) => loss), ...validations.map(([, loss]) => loss)];
  const most = Math.max(...values, 1);
  const least = Math.min(...values, most - 1);
  const [from, to] = [Math.max(0, least - 0.08 * (most - least)), most];
  const x = (step: number): number => margin.left + (step / Math.max(1, steps)) * (width - margin.left - margin.right);
  const y = (loss: number): number =>
    height - margin.bottom - ((loss - from) / (to - from)) * (height - margin.top - margin.bottom);
  const line = (list: readonly (readonly [number, number])[]): string =>
    list.map(([step, loss], i) => `${i === 0 ? 'M' : 'L'}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join('');
  const parts: SVGElement[] = [];
  for (const value of ticks(from, to, 5)) {
    parts.push(svg('line', { x1: margin.left, x2: width - margin.right, y1: y(value), y2: y(value) }));
    parts.push(svg('text', { x: margin.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, trimmed(value)));
  }
  for (const value of ticks(0, steps, width < 500 ? 4 : 8)) {
    parts.push(svg('text', { x: x(value), y: height - 6, 'text-anchor': value === 0 ? 'start' : 'middle' }, trimmed(value)));
  }
  parts.push(svg('path', { class: 'loss', d: line(points) }));
  if (validations.length > 1) parts.push(svg('path', { class: 'held', d: line(validations) }));
  for (const [step, loss] of validations) parts.push(svg('circle', { class: 'held', cx: x(step), cy: y(loss), r: 3 }));
  const last = points.at(-1);
  if (last) parts.push(svg('circle', { class: 'last', cx: x(last[0]), cy: y(last[1]), r: 4 }));
  chart.setAttribute('width', String(width));
  chart.replaceChildren(...parts);
  return { stepAt: (at) => ((at - margin.left) / (width - margin.left - margin.right)) * steps };
}

/** Losses by step, as means of neighbours where there are many. */
function means(losses: readonly number[]): [step: number, loss: number][] {
  const size = Math.max(1, Math.ceil(losses.length / mostPoints));
  const points: [number, number][] = [];
  for (let at = 0; at < losses.length; at += size) {
    const part = losses.slice(at, at + size);
    points.push([at + part.length, part.reduce((sum, loss) => sum + loss, 0) / part.length]);
  }
  return points;
}

/** Round numbers between two, about so many. */
function ticks(from: number, to: number, count: number): number[] {
  const rough = (to - from) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!;
  const list: number[] = [];
  for (let value = Math.ceil(from / step) * step; value <= to; value += step) list.push(value);
  return list;
}

function trimmed(value: number): string {
  return Number(value.toPrecision(6)).toLocaleString('en');
}
