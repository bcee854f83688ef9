// `openelm embed`: what it reads as texts, what it writes, and what it refuses.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';

const folder = temporaryFolder();

interface Line {
  index: number;
  tokens: number;
  embedding: number[];
}

const linesOf = (text: string): Line[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
const dot = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * b[i], 0);

describe('openelm embed', () => {
  it('writes a line a text, whichever way it came', async () => {
    const texts = ['The king rode his horse to the castle.', 'The queen rode her horse to the palace.', 'We ate fish & "chips".'];
    const { code, stdout, stderr } = await run(['embed', ...texts]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = linesOf(stdout);
    expect(lines.map(({ index }) => index)).toEqual([0, 1, 2]);
    const [king, queen, fish] = lines.map(({ embedding }) => embedding);
    for (const embedding of [king, queen, fish]) expect(dot(embedding, embedding)).toBeCloseTo(1, 5);
    expect(dot(king, queen)).toBeGreaterThan(dot(king, fish));
    const file = join(folder, 'texts.jsonl');
    await writeFile(file, texts.map((text, i) => JSON.stringify(i === 1 ? text : { id: i, text })).join('\r\n'));
    expect((await run(['embed', '--file', file])).stdout).toBe(stdout);
    expect((await run(['embed'], { stdin: `${texts.join('\n\n')}\n` })).stdout).toBe(stdout);
    const whole = JSON.parse((await run(['embed', '--json', '-'], { stdin: texts.join('\n') })).stdout);
    expect(whole).toEqual({
      model: 'tales-6m',
      dimensions: king.length,
      tokens: lines.reduce((sum, { tokens }) => sum + tokens, 0),
      embeddings: [king, queen, fish],
    });
  });

  it('says what it cannot take', async () => {
    const said = async (args: string[], stdin?: string): Promise<[number, string]> => {
      const { code, stderr } = await run(['embed', ...args], { stdin });
      return [code, stderr];
    };
    expect(await said([])).toEqual([2, 'openelm: no text: give texts as arguments, with --file or on stdin\n']);
    expect(await said(['a', '--file', 'b'])).toEqual([2, 'openelm: give texts or --file, not both\n']);
    expect(await said([], '\n\n')).toEqual([1, 'openelm: stdin: empty, no text to embed\n']);
    expect(await said(['--jsonl'], '"a"\n{"txt": 1}')).toEqual([
      1,
      'openelm: stdin: line 2 has no text; expected a text in quotes, or an object with a "text"\n',
    ]);
    expect((await said(['--context', '4', 'a', 'one two three four five six']))[1]).toMatch(
      /^openelm: text 2 has \d+ tokens, the context takes 4: split it, or take its beginning with --truncate\n$/,
    );
    expect((await run(['embed', '--context', '4', '--truncate', 'one two three four five six'])).code).toBe(0);
  });
});
