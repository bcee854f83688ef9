// The live page's script, run in a browser as it stands: draws the columns that the server's events bring with uPlot, one chart
// above another with one axis of steps, and follows the window's size and colour scheme. All figures come ready from the server.

const uPlot = globalThis.uPlot;
const place = (id) => document.getElementById(id);
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

let view;
let charts = [];
let drawn = '';

const events = new EventSource('events');
events.onmessage = ({ data }) => show(JSON.parse(data));
events.onerror = () => {
  place('status').textContent = 'the server does not answer: it has ended, or the page was cut off';
};
addEventListener('resize', () => {
  for (const chart of charts) chart.setSize(chartSize());
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const chart of charts) chart.redraw();
});

function show(next) {
  const zoom = zoomed();
  view = next;
  const { runs, waiting, steps } = view;
  const panels = steps.length > 0 ? view.panels : [];
  place('hint').hidden = panels.length === 0;
  place('title').textContent = runs.join(', ');
  document.title = `${runs.join(', ')} - openelm plot`;
  place('status').textContent = [
    ...(steps.length > 0 ? [`step ${steps[steps.length - 1].toLocaleString('en')}`] : []),
    ...waiting.map((path) => `waiting for ${path}`),
  ].join('; ');
  const hidden = new Set(charts.flatMap(({ series }) => series.filter((one) => one.show === false).map(({ label }) => label)));
  // Lines that come or go need new charts; new points do not.
  const shape = JSON.stringify(panels.map(({ lines }) => lines.map((line) => [line.name, line.style, pointsOf(line)])));
  if (shape !== drawn) {
    drawn = shape;
    for (const chart of charts) chart.destroy();
    charts = panels.map((panel) => chartOf(panel, hidden));
  }
  panels.forEach((panel, i) => {
    charts[i].setData(dataOf(panel), zoom === undefined);
    if (zoom) charts[i].setScale('x', zoom);
    charts[i].setLegend(); // a zoomed chart leaves it as it was
  });
}

/** What part of the steps is looked at; undefined: all. */
function zoomed() {
  if (charts.length === 0) return undefined;
  const { min, max } = charts[0].scales.x;
  return min > view.steps[0] || max < view.steps[view.steps.length - 1] ? { min, max } : undefined;
}

function dataOf({ lines }) {
  return [view.steps, ...lines.map(({ values }) => values)];
}

/** How many points a line has: 0, 1, or 2 for more, which makes it a line. */
function pointsOf({ values }) {
  return Math.min(2, values.filter((value) => value !== null).length);
}

function chartSize() {
  const count = view.panels.length;
  const others = 100 + count * 42; // head and foot; a title and a legend each
  const height = Math.max(180, Math.floor((innerHeight - others) / count));
  return { width: place('charts').clientWidth, height };
}

function chartOf(panel, hidden) {
  const { title, logarithmic, fromZero, lines } = panel;
  return new uPlot(
    {
      title,
      ...chartSize(),
      padding: [8, 24, 0, 0],
      scales: {
        x: { time: false },
        y: logarithmic
          ? { distr: 3, range: (_, min, max) => (min > 0 ? [min * 0.95, max * 1.05] : [1, 10]) }
          : { range: { min: { pad: 0.05, soft: 0, mode: fromZero ? 1 : 3 }, max: { pad: 0.05 } } },
      },
      axes: [
        axis({ size: 32, space: 60 }),
        axis({ size: 64, space: 26, ...(logarithmic ? { splits: logPlaces, filter: (_, places) => places } : {}) }),
      ],
      cursor: {
        y: false,
        sync: { key: 'steps', setSeries: false },
        drag: { x: true, y: false },
        hover: { prox: 30, skip: [null] }, // lines are thinned each in its own way: the next point there is
        points: { size: 6 },
      },
      legend: { markers: { fill: (_, i) => (lines[i - 1].style === 'dotted' ? null : lines[i - 1].colour) } },
      series: [{ label: 'step', value: shown }, ...lines.map((line) => seriesOf(line, hidden))],
      hooks: { setSeries: [hideEverywhere] },
    },
    dataOf(panel),
    place('charts'),
  );
}

function axis(options) {
  return {
    ...options,
    font: '12px system-ui, sans-serif',
    stroke: () => variable('--text'),
    grid: { stroke: () => variable('--grid'), width: 1 },
    ticks: { stroke: () => variable('--axis'), width: 1, size: 5 },
    values: (_, places) => places.map((value) => short(value, 4)),
  };
}

/** Round places on a logarithmic axis, which uPlot has from powers of ten on only: evenly within a decade, else 1, 2 and 5 of each. */
function logPlaces(_chart, _axis, min, max) {
  const powers = (low, high, digits) => {
    const places = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++)
      places.push(...digits.map((one) => one * 10 ** power));
    return places;
  };
  if (max / min > 10) return powers(min, max, [1, 2, 5]).filter((place) => place >= min && place <= max);
  const least = (max - min) / 8;
  const step = powers(least, 10 * least, [1, 2, 5]).find((one) => one >= least);
  return Array.from({ length: Math.floor(max / step) - Math.ceil(min / step) + 1 }, (_, i) => (Math.ceil(min / step) + i) * step);
}

function seriesOf(line, hidden) {
  const { name, colour, style } = line;
  const count = pointsOf(line);
  const label = style === 'dotted' ? `${name}, validation` : name;
  return {
    label,
    show: !hidden.has(label),
    class: style === 'faint' || count === 0 ? 'unlisted' : undefined,
    stroke: colour,
    width: style === 'faint' ? 1 : 1.8,
    alpha: style === 'faint' ? 0.3 : 1,
    dash: style === 'dotted' ? [5, 4] : undefined,
    points: { show: style === 'dotted' || count === 1, size: 6, fill: colour },
    spanGaps: true,
    pxAlign: 0, // a slow slope is no staircase
    value: shown,
  };
}

/** A legend's value: at the cursor; the last there is while the cursor is elsewhere. */
function shown(chart, value, series) {
  const isElsewhere = !chart.cursor || chart.cursor.left < 0;
  return short(isElsewhere ? chart.data[series].findLast((one) => one !== null) : value, 5);
}

/** A run that is hidden in one chart is hidden in all, with what is faint behind it. */
function hideEverywhere(chart, index, { show }) {
  if (show === undefined) return;
  const { label } = chart.series[index];
  for (const other of charts) {
    other.series.forEach((series, i) => {
      if (i > 0 && series.label === label && series.show !== show) other.setSeries(i, { show });
    });
  }
}

/** `0.05`, `1.5k`, `20M`, `5e-4`. */
function short(value, digits) {
  if (value === null || value === undefined) return '--';
  const size = Math.abs(value);
  if (size < 1e-12) return '0';
  if (size < 1e-2) return Number(value.toPrecision(3)).toExponential();
  if (size < 10 ** (digits - 1)) return String(Number(value.toPrecision(digits)));
  const [unit, name] = size >= 1e9 ? [1e9, 'G'] : size >= 1e6 ? [1e6, 'M'] : [1e3, 'k'];
  return `${Number((value / unit).toPrecision(digits))}${name}`;
}
