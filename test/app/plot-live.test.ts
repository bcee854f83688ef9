// `openelm plot --live`: what the page is told of runs that are being written, and the server that tells it.

import { appendFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { columnsOf, trainingPanels } from '../../src/app/curves.js';
import { type LiveServer, serveLive } from '../../src/app/live-server.js';
import { drawRuns, followRuns, type LiveView } from '../../src/app/plot.js';
import { LogFollower, type LogLine } from '../../src/io/node/run-log.js';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';

const root = temporaryFolder();

const stepLine = (step: number, loss: number | null = 8 / step): string =>
  `${JSON.stringify({ type: 'step', step, loss, learningRate: step * 1e-4, tokensPerSecond: 1000 + step })}\n`;
const validationLine = (step: number, loss: number): string => `${JSON.stringify({ type: 'validation', step, loss })}\n`;
const stepsTo = (count: number): string => Array.from({ length: count }, (_, i) => stepLine(i + 1)).join('');

async function makeRun(name: string, log: string): Promise<{ directory: string; log: string }> {
  const directory = join(root, name);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'log.jsonl'), log);
  return { directory, log: join(directory, 'log.jsonl') };
}

describe('LogFollower', () => {
  it('takes whole lines only, each once', async () => {
    const { directory, log } = await makeRun('whole', stepsTo(2));
    const follower = new LogFollower(directory);
    const stepsNow = async (): Promise<number[]> => (await follower.read()).map(({ step }) => step);
    expect(await stepsNow()).toEqual([1, 2]);
    expect(await follower.read()).toBe(await follower.read());
    const sample = `${JSON.stringify({ type: 'sample', step: 3, prompt: 'é', text: '日本' })}\n`;
    const bytes = Buffer.from(sample);
    await appendFile(log, bytes.subarray(0, bytes.length - 4)); // within a character
    expect(await stepsNow()).toEqual([1, 2]);
    await appendFile(log, bytes.subarray(bytes.length - 4));
    expect((await follower.read()).at(-1)).toMatchObject({ text: '日本' });
    await appendFile(log, 'not JSON\n5\n{"step":"x"}\n');
    expect(await stepsNow()).toEqual([1, 2, 3]);
  });

  it('begins anew when the log was replaced, cut or taken away', async () => {
    const { directory, log } = await makeRun('replaced', stepsTo(5));
    const follower = new LogFollower(directory);
    expect(await follower.read()).toHaveLength(5);
    await writeFile(`${log}.new`, stepsTo(2) + stepLine(7) + stepsTo(9)); // longer, as one that went on from step 2
    await rename(`${log}.new`, log);
    expect(await follower.read()).toHaveLength(12);
    await writeFile(log, stepsTo(1));
    expect(await follower.read()).toHaveLength(1);
    await rm(log);
    expect(await follower.read()).toEqual([]);
    await writeFile(log, stepsTo(3));
    expect(await follower.read()).toHaveLength(3);
  });
});

describe('columnsOf', () => {
  const lines = (text: string): LogLine[] =>
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as LogLine);

  it('puts all lines over one axis, with the points and colours of the SVG', async () => {
    const { directory: a } = await makeRun('a', stepsTo(3) + validationLine(2, 5));
    const { directory: b } = await makeRun('b', `${stepLine(2)}${stepLine(4, null)}${stepLine(6)}`);
    const view = JSON.parse(await followRuns([a, b])()) as LiveView;
    expect(view).toMatchObject({ runs: [a, b], waiting: [], steps: [1, 2, 3, 4, 6] });
    expect(view.panels.map(({ title }) => title)).toEqual(['loss', 'learning rate', 'tokens per second']);
    const values = view.panels[0].lines.map((line) => [line.name, line.style, line.values]);
    expect(values).toEqual([
      [a, undefined, [8, 4, 8 / 3, null, null]],
      [a, 'dotted', [null, 5, null, null, null]],
      [b, undefined, [null, 4, null, null, 8 / 6]],
      [b, 'dotted', [null, null, null, null, null]],
    ]);
    expect(view.panels[1].lines[1].values).toEqual([null, 2 * 1e-4, null, 4 * 1e-4, 6 * 1e-4]);
    const svg = await drawRuns([a, b]);
    const strokes = new Set([...svg.matchAll(/<path[^>]* stroke="([^"]+)"/g)].map(([, colour]) => colour));
    expect(new Set(view.panels[0].lines.map(({ colour }) => colour))).toEqual(strokes);
  });

  it('smooths and thins, and leaves out what a logarithm has not', () => {
    const long = columnsOf(trainingPanels([{ name: 'long', lines: lines(stepsTo(2000)) }]));
    expect(long.steps).toHaveLength(667);
    expect(long.panels[0].lines.map(({ style }) => style)).toEqual(['faint', undefined, 'dotted']);
    const [faint, mean] = long.panels[0].lines.map(({ values }) => values.at(-1)!);
    expect(faint).toBe(8 / 2000);
    expect(mean).toBeCloseTo(Array.from({ length: 21 }, (_, i) => 8 / (2000 - i)).reduce((a, b) => a + b) / 21, 12);
    const zero = lines(stepLine(1, 0) + stepLine(2));
    const first = (logarithmic: boolean): unknown =>
      columnsOf(trainingPanels([{ name: 'zero', lines: zero }], logarithmic)).panels[0].lines[0].values;
    expect([first(false), first(true)]).toEqual([
      [0, 4],
      [null, 4],
    ]);
  });
});

describe('serveLive', () => {
  let server: LiveServer | undefined;
  afterEach(() => server?.close());

  /** What the page is told, one after another; undefined once the stream has ended. */
  async function listen(url: string): Promise<() => Promise<LiveView | undefined>> {
    const response = await fetch(`${url}events`);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    return async () => {
      while (!text.includes('\n\n')) {
        const { value, done } = await reader.read();
        if (done) return undefined;
        text += value;
      }
      const [first] = text.split('\n\n');
      text = text.slice(first.length + 2);
      return JSON.parse(first.replace(/^data: /, '')) as LiveView;
    };
  }

  it('serves the page, its script and style, uPlot, and nothing else', async () => {
    server = await serveLive(async () => '{}', 0);
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    const page = await (await fetch(server.url)).text();
    const links = [...page.matchAll(/ (?:src|href)="([^":,]+)"/g)].map(([, link]) => link);
    expect(links.sort()).toEqual(['page.css', 'page.js', 'uPlot.css', 'uPlot.js']);
    const kinds = await Promise.all(
      links.map(async (link) => {
        const response = await fetch(server!.url + link);
        return [response.status, response.headers.get('content-type'), (await response.text()).length > 1000];
      }),
    );
    const [style, script] = ['text/css', 'text/javascript'].map((type) => [200, `${type}; charset=utf-8`, true]);
    expect(kinds).toEqual([style, script, style, script]);
    expect(await (await fetch(`${server.url}uPlot.js`)).text()).toContain('uPlot');
    for (const path of ['else', 'page.html', '../plot.ts', 'constructor', '%2e%2e/plot.ts'])
      expect((await fetch(server.url + path)).status).toBe(404);
  });

  it('tells of new points, to a reader who comes late too, until it is closed', async () => {
    const directory = join(root, 'live');
    const log = join(directory, 'log.jsonl');
    server = await serveLive(followRuns([directory]), 0);
    const next = await listen(server.url);
    expect(await next()).toMatchObject({ waiting: [log], steps: [] });
    await mkdir(directory);
    await writeFile(log, `${stepsTo(3)}{"type":"step","st`);
    expect(await next()).toMatchObject({ waiting: [], steps: [1, 2, 3] });
    await appendFile(log, `ep":4,"loss":1.5}\n${validationLine(4, 2)}`);
    const view = await next();
    expect(view!.steps).toEqual([1, 2, 3, 4]);
    expect(view!.panels[0].lines.map(({ values }) => values.at(-1))).toEqual([1.5, 2]);
    const late = await listen(server.url);
    expect(await late()).toEqual(view);
    await server.close();
    expect([await next(), await late()]).toEqual([undefined, undefined]);
    await expect(fetch(server.url)).rejects.toThrow();
    server = undefined;
  });

  it('refuses a port that is taken', async () => {
    server = await serveLive(async () => '{}', 0);
    const port = Number(new URL(server.url).port);
    await expect(serveLive(async () => '{}', port)).rejects.toThrow(`port ${port} of 127.0.0.1 is in use`);
  });

  it('is ended by Ctrl-C, also while it waits for a run', async () => {
    const onNotice = (_: string, interrupt: () => void) => setTimeout(interrupt, 20);
    const { code, stdout, stderr } = await run(['plot', join(root, 'soon'), '--live'], { onNotice });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/ \(Ctrl-C ends it\)\n$/);
    expect(stderr).toBe(`openelm: waiting for ${join(root, 'soon', 'log.jsonl')}\n`);
  });
});
