// `openelm plot`: loss, learning rate and throughput of training runs as an SVG file, or as a page that draws itself anew while
// they train. Reads runs' logs; drawing is in svg.ts.

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Command } from 'commander';
import { InputError } from '../errors.js';
import { wholeNumber } from './options.js';
import { checkPictureName, writePicture } from './picture.js';
import { LOG_FILE, type LogLine, readLog } from './run-log.js';
import { chartSvg, type Line } from './svg.js';
import { type Terminal, UsageError } from './terminal.js';

interface PlotOptions {
  readonly out?: string;
  readonly live?: boolean;
  readonly port: number;
  readonly log?: boolean;
}

const help = `
A run is the directory \`out\` of its settings. Several runs are drawn over one another.

Examples:
  $ openelm plot runs/tiny --out curves.svg
  $ openelm plot runs/a runs/b --live`;

/** The verb with its options. */
export function plotCommand(terminal: Terminal): Command {
  return new Command('plot')
    .argument('<run...>', 'directories of training runs')
    .option('-o, --out <file>', 'the file to write, SVG or PNG')
    .option('--live', 'serve a page that follows the runs, until Ctrl-C')
    .option('--port <n>', 'where to serve it (0: a free port)', wholeNumber(0, 65535), 0)
    .option('--log', 'draw losses on a logarithmic axis')
    .addHelpText('after', help)
    .action((runs: string[], options: PlotOptions) => plot(terminal, runs, options));
}

async function plot(terminal: Terminal, runs: readonly string[], { out, live, port, log = false }: PlotOptions): Promise<void> {
  if (!live && out === undefined) throw new UsageError('give --out FILE.svg (or .png), or --live');
  if (out !== undefined) {
    checkPictureName(out);
    await writePicture(out, await drawRuns(runs, log));
    terminal.stdout.write(`${out}\n`);
  }
  if (live) {
    const page = await servePage(() => drawRuns(runs, log), port);
    terminal.stdout.write(`${page.url} (Ctrl-C ends it)\n`);
    await new Promise<void>((end) => {
      const forget = terminal.onInterrupt(() => {
        forget();
        end();
      });
    });
    await page.close();
  }
}

/** The picture of some runs. Throws `InputError` when one has no log. */
export async function drawRuns(runs: readonly string[], logarithmic = false): Promise<string> {
  const logs = await Promise.all(
    runs.map(async (run) => {
      const lines = await readLog(run);
      if (lines.length === 0) throw new InputError(`${run}: no ${LOG_FILE} of a training run there`);
      return { name: run, lines };
    }),
  );
  const each = (make: (name: string, lines: readonly LogLine[]) => Line[]): Line[] =>
    logs.flatMap(({ name, lines }) => make(name, lines));
  const steps = (lines: readonly LogLine[], key: 'loss' | 'learningRate' | 'tokensPerSecond'): [number, number][] =>
    lines.flatMap((line) => (line.type === 'step' ? [[line.step, line[key]] as [number, number]] : []));
  const loss = each((name, lines) => [
    ...smoothed(name, steps(lines, 'loss')),
    {
      name,
      style: 'dotted',
      points: lines.flatMap((line) => (line.type === 'validation' ? [[line.step, line.loss] as const] : [])),
    },
  ]);
  return chartSvg({
    title: 'Training',
    note: 'loss in nats per token; dashed with points: on validation data',
    xLabel: 'step',
    panels: [
      { title: 'loss', lines: loss, logarithmic },
      {
        title: 'learning rate',
        lines: each((name, lines) => [{ name, points: thinned(steps(lines, 'learningRate')) }]),
        fromZero: true,
      },
      {
        title: 'tokens per second',
        lines: each((name, lines) => smoothed(name, steps(lines, 'tokensPerSecond'))),
        fromZero: true,
      },
    ],
  });
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

const pageText = `<!doctype html><html lang="en"><meta charset="utf-8"><title>openelm: training</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body{margin:24px;font:14px system-ui,sans-serif}svg{max-width:100%;height:auto}</style>
<main id="chart">waiting for the first picture</main>
<script>new EventSource('events').onmessage=(event)=>{document.getElementById('chart').innerHTML=JSON.parse(event.data)}</script></html>`;

/** A page on this machine only that shows what `draw` gives, drawn anew every second if it changed. */
export async function servePage(draw: () => Promise<string>, port: number): Promise<{ url: string; close(): Promise<void> }> {
  const readers = new Set<ServerResponse>();
  let picture = await draw();
  const send = (reader: ServerResponse): void => {
    reader.write(`data: ${JSON.stringify(picture)}\n\n`);
  };
  const server = createServer((request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      readers.add(response);
      response.on('close', () => readers.delete(response));
      send(response);
    } else if (request.url === '/') response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(pageText);
    else response.writeHead(404).end();
  });
  await new Promise<void>((listening, failed) => {
    server.once('error', (error) => failed(new InputError(`port ${port}: cannot be listened on: ${error.message}`)));
    server.listen(port, '127.0.0.1', listening);
  });
  const timer = setInterval(async () => {
    const next = await draw().catch(() => picture); // a log that is just being replaced
    if (next === picture) return;
    picture = next;
    for (const reader of readers) send(reader);
  }, 1000);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async close() {
      clearInterval(timer);
      const closed = new Promise((done) => server.close(done));
      for (const reader of readers) reader.end();
      server.closeAllConnections();
      await closed;
    },
  };
}
