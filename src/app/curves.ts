// The curves of training runs: panels of loss, learning rate and throughput out of runs' logs, smoothed and thinned, and the same
// panels as columns over one axis of steps, which is how the live page wants them. Reads no files and draws nothing.

import type { LogLine } from '../io/node/run-log.js';
import { coloursOf, type Line, type Panel } from '../report/chart.js';

export interface RunLines {
  readonly name: string;
  readonly lines: readonly LogLine[];
}

/** The panels of some runs, drawn over one another. A step whose loss was no number has no point. */
export function trainingPanels(runs: readonly RunLines[], logarithmic = false): Panel[] {
  const each = (make: (name: string, lines: readonly LogLine[]) => Line[]): Line[] =>
    runs.flatMap(({ name, lines }) => make(name, lines));
  const points = (lines: readonly LogLine[], key: string, type: LogLine['type'] = 'step'): [number, number][] =>
    lines.flatMap((line) => {
      const value = line.type === type ? (line as Readonly<Record<string, unknown>>)[key] : undefined;
      return typeof value === 'number' && Number.isFinite(value) ? [[line.step, value]] : [];
    });
  const validated = (name: string, lines: readonly LogLine[], key: string): Line => ({
    ...{ name, style: 'dotted' },
    points: points(lines, key, 'validation'),
  });
  /** Panels of numbers that only some objectives have. */
  const own = (title: string, make: (name: string, lines: readonly LogLine[]) => Line[]): Panel[] => {
    const lines = each(make);
    return lines.some((line) => line.points.length > 0) ? [{ title, lines }] : [];
  };
  const judged = (title: string, key: string): Panel[] =>
    own(title, (name, lines) => [...smoothed(name, points(lines, key)), validated(name, lines, key)]);
  const both = (title: string, chosen: string, rejected: string): Panel[] =>
    own(title, (name, lines) => {
      const dotted = smoothed(name, points(lines, rejected)).at(-1)!;
      return [smoothed(name, points(lines, chosen)).at(-1)!, { ...dotted, style: 'dotted' }];
    });
  return [
    {
      title: 'loss',
      lines: each((name, lines) => [...smoothed(name, points(lines, 'loss')), validated(name, lines, 'loss')]),
      logarithmic,
    },
    ...judged('accuracy: how often the chosen answer has the larger reward', 'accuracy'),
    ...judged('reward margin', 'margin'),
    ...both('rewards: chosen, and rejected (dashed)', 'rewardChosen', 'rewardRejected'),
    ...both('log-probabilities: chosen, and rejected (dashed)', 'logpChosen', 'logpRejected'),
    {
      title: 'learning rate',
      lines: each((name, lines) => [{ name, points: thinned(points(lines, 'learningRate')) }]),
      fromZero: true,
    },
    {
      title: 'tokens per second',
      lines: each((name, lines) => smoothed(name, points(lines, 'tokensPerSecond'))),
      fromZero: true,
    },
  ];
}

const mostPoints = 800;

/** A line as it is when it has few points; else a mean over a fiftieth of it, with the line itself faint behind. */
function smoothed(name: string, points: readonly [number, number][]): Line[] {
  if (points.length < 100) return [{ name, points }];
  const half = Math.max(2, Math.floor(points.length / 100));
  const sums = [0];
  for (const [, y] of points) sums.push(sums[sums.length - 1] + y);
  const means = points.map(([x], i): [number, number] => {
    const from = Math.max(0, i - half);
    const to = Math.min(points.length, i + half + 1);
    return [x, (sums[to] - sums[from]) / (to - from)];
  });
  return [
    { name, points: thinned(points), style: 'faint' },
    { name, points: thinned(means) },
  ];
}

/** At most `mostPoints`, the last one among them. */
function thinned(points: readonly [number, number][]): readonly [number, number][] {
  const every = Math.ceil(points.length / mostPoints);
  return points.filter((_, i) => (points.length - 1 - i) % every === 0);
}

/** Panels over one axis: `values[i]` of a line belongs to `steps[i]`, null where the line has no point or none that can be drawn. */
export interface Columns {
  readonly steps: readonly number[];
  readonly panels: readonly {
    readonly title: string;
    readonly logarithmic: boolean;
    readonly fromZero: boolean;
    readonly lines: readonly {
      readonly name: string;
      readonly colour: string;
      readonly style?: Line['style'];
      readonly values: readonly (number | null)[];
    }[];
  }[];
}

/** One axis of steps for all panels, so that a place in one is the same place in the others. */
export function columnsOf(panels: readonly Panel[]): Columns {
  const colours = coloursOf(panels);
  const all = panels.flatMap(({ lines }) => lines.flatMap(({ points }) => points.map(([x]) => x)));
  const steps = [...new Set(all)].sort((a, b) => a - b);
  return {
    steps,
    panels: panels.map(({ title, lines, logarithmic = false, fromZero = false }) => ({
      title,
      logarithmic,
      fromZero,
      lines: lines.map(({ name, style, points }) => {
        const at = new Map(points.filter(([, y]) => Number.isFinite(y) && (!logarithmic || y > 0)));
        return { name, colour: colours(name), style, values: steps.map((step) => at.get(step) ?? null) };
      }),
    })),
  };
}
