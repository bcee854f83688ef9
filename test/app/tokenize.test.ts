// `openelm tokenize`: ids and pieces of a text, and the way back.

import { expect, it } from 'vitest';
import { run } from './terminal.js';

it('writes ids and pieces', async () => {
  expect(await run(['tokenize', 'Once upon'])).toEqual({ code: 0, stdout: '1\t<s>\n837\t▁Once\n628\t▁upon\n', stderr: '' });
  expect((await run(['tokenize', 'Once upon', '--no-bos'])).stdout).toBe('837\t▁Once\n628\t▁upon\n');
  expect((await run(['tokenize'], { stdin: 'Once upon\n' })).stdout).toBe('1\t<s>\n837\t▁Once\n628\t▁upon\n');
  expect((await run(['tokenize', 'Once upon', '--json'])).stdout).toBe('{"ids":[1,837,628],"pieces":["<s>","▁Once","▁upon"]}\n');
});

it('comes back to the text, whatever it holds', async () => {
  const text = 'naïve </s> 🐘\n\tend';
  const { ids } = JSON.parse((await run(['tokenize', text, '--json'])).stdout) as { ids: number[] };
  expect(ids.filter((id) => id < 3)).toEqual([1]);
  expect((await run(['tokenize', '--decode', ids.join(',')])).stdout).toBe(`${text}\n`);
  expect(JSON.parse((await run(['tokenize', '--decode', ids.join(' '), '--json'])).stdout)).toEqual({ ids, text });
});
