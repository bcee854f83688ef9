// `openelm plot`: loss, learning rate and throughput of training runs as a picture, or as a page that follows them while they
// train. Puts together what others do: logs are read in run-log.ts, curves made in curves.ts, drawn in svg.ts or live/.

import { Command } from 'commander';
import { InputError } from '../errors.js';
import { LOG_FILE, LogFollower, readLog } from '../io/node/run-log.js';
import { chartSvg } from '../report/chart.js';
import { type Columns, columnsOf, type RunLines, trainingPanels } from './curves.js';
import { serveLive } from './live-server.js';
import { wholeNumber } from './options.js';
import { checkPictureName, writePicture } from './picture.js';
import { type Terminal, tell, UsageError, untilInterrupted, writeLine } from './terminal.js';

interface PlotOptions {
  readonly out?: string;
  readonly live?: boolean;
  readonly port: number;
  readonly log?: boolean;
}

const help = `
A run is the directory \`out\` of its settings. Several runs are drawn over one another. The live page may be opened
before a run begins: it waits for the log.

Examples:
  $ openelm plot runs/tiny --out curves.png
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
    writeLine(terminal, out);
  }
  if (live) {
    const follow = followRuns(runs, log);
    const { waiting } = JSON.parse(await follow()) as LiveView;
    for (const path of waiting) tell(terminal, `waiting for ${path}`);
    const page = await serveLive(follow, port);
    writeLine(terminal, `${page.url} (Ctrl-C ends it)`);
    await untilInterrupted(terminal);
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
  return chartSvg({
    title: 'Training',
    note: 'loss in nats per token (DPO: per pair); dashed with points: on validation data, or as a title says',
    xLabel: 'step',
    panels: trainingPanels(logs, logarithmic),
  });
}

/** What the live page is told. */
export interface LiveView extends Columns {
  readonly runs: readonly string[];
  /** Logs that are not there yet: the page may be opened before training begins. */
  readonly waiting: readonly string[];
}

/**
 * Follows runs: each call gives a `LiveView` as JSON of what their logs hold by then. Always the whole of it, a few hundred
 * kilobytes at most: with each step the mean and the thinning change all along the line, so there is no "only what is new".
 */
export function followRuns(runs: readonly string[], logarithmic = false): () => Promise<string> {
  const followers = runs.map((name) => ({ name, log: new LogFollower(name) }));
  let logs: readonly RunLines[] = [];
  let told = '';
  let last: Promise<unknown> = Promise.resolve(); // one look after another, whoever asks
  const look = async (): Promise<string> => {
    const next = await Promise.all(followers.map(async ({ name, log }) => ({ name, lines: await log.read() })));
    if (told !== '' && next.every(({ lines }, i) => lines === logs[i].lines)) return told;
    logs = next;
    const waiting = followers.filter((_, i) => logs[i].lines.length === 0).map(({ log }) => log.path);
    told = JSON.stringify({ runs, waiting, ...columnsOf(trainingPanels(logs, logarithmic)) } satisfies LiveView);
    return told;
  };
  return () => {
    const answer = last.then(look);
    last = answer.catch(() => {});
    return answer;
  };
}
