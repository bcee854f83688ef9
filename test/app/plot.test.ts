// `openelm plot`: what is drawn of a run's log; and the page that follows a run.

import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { drawRuns } from '../../src/app/plot.js';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';

const root = temporaryFolder();

function stepLine(step: number): string {
  return `${JSON.stringify({ type: 'step', step, loss: 8 / step, learningRate: step * 1e-4, tokensPerSecond: 1000 + step })}\n`;
}

async function makeRun(name: string, steps: number): Promise<string> {
  const directory = join(root, name);
  await mkdir(directory, { recursive: true });
  const validation = JSON.stringify({ type: 'validation', step: steps, loss: 4 });
  await writeFile(
    join(directory, 'log.jsonl'),
    `${Array.from({ length: steps }, (_, i) => stepLine(i + 1)).join('')}${validation}\n`,
  );
  return directory;
}

/** Every tag is closed, in order. */
function expectWellFormed(svg: string): void {
  const open: string[] = [];
  for (const [, end, name, empty] of svg.replace(/<style>.*?<\/style>/s, '').matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (end) expect(open.pop()).toBe(name);
    else if (!empty) open.push(name);
  }
  expect(open).toEqual([]);
}

/** A PNG of eight bits a channel, without interlacing, read by the book. */
function pixelsOf(png: Buffer): { width: number; height: number; at(x: number, y: number): number[] } {
  expect(png.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n');
  const [width, height, depth, colour] = [png.readUInt32BE(16), png.readUInt32BE(20), png[24], png[25]];
  const channels = colour === 6 ? 4 : 3;
  expect([depth, [2, 6].includes(colour), png[28]]).toEqual([8, true, 0]);
  const data: Buffer[] = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  }
  const raw = inflateSync(Buffer.concat(data));
  const row = width * channels;
  const pixels = new Uint8Array(height * row);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (row + 1)];
    for (let i = 0; i < row; i++) {
      const left = i < channels ? 0 : pixels[y * row + i - channels];
      const up = y === 0 ? 0 : pixels[(y - 1) * row + i];
      const corner = i < channels || y === 0 ? 0 : pixels[(y - 1) * row + i - channels];
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
      pixels[y * row + i] = raw[y * (row + 1) + 1 + i] + [0, left, up, (left + up) >> 1, paeth][filter];
    }
  }
  const at = (x: number, y: number): number[] => [...pixels.subarray(y * row + x * channels, y * row + (x + 1) * channels)];
  return { width, height, at };
}

const points = (svg: string): number[] => [...svg.matchAll(/<path[^>]* d="M([^"]*)"/g)].map(([, path]) => path.split('L').length);

describe('openelm plot', () => {
  it('draws one run', async () => {
    const directory = await makeRun('one', 50);
    const out = join(root, 'one.svg');
    expect(await run(['plot', directory, '--out', out])).toEqual({ code: 0, stdout: `${out}\n`, stderr: '' });
    const svg = await readFile(out, 'utf8');
    expectWellFormed(svg);
    for (const title of ['loss', 'learning rate', 'tokens per second']) expect(svg).toContain(`>${title}</text>`);
    expect(points(svg)).toEqual([50, 1, 50, 50]);
    expect(svg).toContain('prefers-color-scheme:dark');
  });

  it('draws several runs in colours of their own, long ones smoothed and thinned', async () => {
    const svg = await drawRuns([await makeRun('a<b', 20), await makeRun('long', 2000)]);
    expectWellFormed(svg);
    expect(svg).toContain('a&#60;b</text>');
    expect(svg.match(/<rect class="data"/g)).toHaveLength(2);
    expect(new Set([...svg.matchAll(/<path[^>]* stroke="([^"]+)"/g)].map(([, colour]) => colour)).size).toBe(2);
    expect(Math.max(...points(svg))).toBe(667);
    expect(svg).toContain('class="data line faint"');
  });

  it('writes a PNG of twice the size, with its letters', async () => {
    const directory = await makeRun('png', 50);
    const [svg, png] = [join(root, 'png.svg'), join(root, 'png.PNG')];
    for (const out of [svg, png]) expect((await run(['plot', directory, '--out', out])).code).toBe(0);
    const [, width, height] = / width="(\d+)" height="(\d+)"/.exec(await readFile(svg, 'utf8'))!.map(Number);
    const image = pixelsOf(await readFile(png));
    expect([image.width, image.height]).toEqual([2 * width, 2 * height]);
    expect(image.at(1, 400)).toEqual([255, 255, 255, 255]);
    // Right of the plot's left edge, around the title's line, there is nothing but its letters, nearly black.
    let dark = 0;
    for (let y = 40; y < 68; y++) for (let x = 144; x < 300; x++) dark += image.at(x, y)[0] < 100 ? 1 : 0;
    expect(dark).toBeGreaterThan(300);
  });

  it('passes over a line that was cut, and refuses what is no run', async () => {
    const directory = await makeRun('cut', 5);
    await appendFile(join(directory, 'log.jsonl'), '{"type":"step","st');
    expect(points(await drawRuns([directory]))[0]).toBe(5);
    const { code, stderr } = await run(['plot', root, '--out', join(root, 'x.svg')]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: `openelm: ${root}: no log.jsonl of a training run there\n` });
    expect((await run(['plot', directory])).code).toBe(2);
    expect((await run(['plot', directory, '--out', 'x.pdf'])).stderr).toMatch(/x\.pdf: only SVG and PNG are written/);
  });
});
