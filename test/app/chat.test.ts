// `openelm chat` through a pipe: turns, commands, Ctrl-C, a full context. What the model says is not the matter here.

import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { type Given, type Outcome, run } from './terminal.js';

const note = "openelm: tales-6m-instruct, by the model's own template\n";
const cut = '(cut at 8 tokens: --max-tokens allows more)\n';

function chat(lines: readonly string[], args: readonly string[] = [], given: Given = {}): Promise<Outcome> {
  const stdin = lines.map((line) => `${line}\n`).join('');
  return run(['chat', '--seed', '1', '-n', '8', ...args], { stdin, ...given });
}

it('answers line by line, with the turns before in mind', async () => {
  // Stories begin alike: enough of them to tell two apart.
  const [args, longer] = [['-n', '40'], cut.replace('8', '40')];
  const once = await chat(['The king said'], args);
  expect(once).toMatchObject({ code: 0, stderr: note + longer });
  expect(once.stdout).toMatch(/^\S[\s\S]*\n$/);
  const { code, stdout, stderr } = await chat(['The king said', '', 'The king said'], args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: note + longer + longer });
  expect(stdout.startsWith(once.stdout)).toBe(true);
  const second = stdout.slice(once.stdout.length);
  expect(second).toMatch(/^\S[\s\S]*\n$/);
  expect(second).not.toBe(once.stdout);
});

it('forgets, leaves and helps', async () => {
  const once = await chat(['The king said']);
  const { code, stdout, stderr } = await chat(['The king said', '/reset', 'The king said', '/help', '/rest', '/exit', 'never']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: once.stdout + once.stdout });
  expect(stderr).toContain(`\nthe conversation starts anew\n${cut}/reset `);
  expect(stderr).toContain('\nopenelm: there is no command /rest; did you mean /reset?\n');
});

it('tells the model the system message', async () => {
  const plain = await chat(['The king said'], ['-t', '0', '-n', '16']);
  const told = await chat(['The king said'], ['-t', '0', '-n', '16', '--system', 'Speak of elephants.']);
  expect(told.code).toBe(0);
  expect(told.stdout).not.toBe(plain.stdout);
});

it('drops the oldest turns when the context is full, and says so', async () => {
  const { code, stdout, stderr } = await chat(new Array(6).fill('Tell me of the king and the queen'), ['--context', '96']);
  expect(code).toBe(0);
  expect(stdout).not.toBe('');
  expect(stderr).toContain(`${cut}openelm: note: the context of 96 tokens is full: the oldest turn dropped\n`);
});

it('goes on after a turn that does not fit, and says so in the end', async () => {
  const { code, stdout, stderr } = await chat(['x '.repeat(200), 'The king said'], ['--context', '64']);
  expect(code).toBe(1);
  expect(stdout).toBe((await chat(['The king said'], ['--context', '64'])).stdout);
  expect(stderr).toMatch(/ \d+ tokens, the context takes 64;.*\n\(cut at 8 tokens.*\nopenelm: not every line got an answer\n$/);
});

it('stops the answer at Ctrl-C and leaves at the next', async () => {
  const stdin = new PassThrough();
  stdin.write('The king said\n');
  let pieces = 0;
  const { code, stdout, stderr } = await chat([], ['-n', '100000', '--ignore-eos'], {
    stdin,
    onOutput(_text, interrupt) {
      pieces++;
      if (pieces === 3) interrupt();
    },
    onNotice(text, interrupt) {
      if (text === '(stopped)\n') setTimeout(interrupt, 20); // at the prompt
    },
  });
  expect({ code, stderr }).toEqual({ code: 130, stderr: `${note}(stopped)\n` });
  expect(stdout.endsWith('\n')).toBe(true);
  expect(pieces).toBeLessThan(10);
});

it('ends at the second Ctrl-C when lines are left in the pipe', async () => {
  let presses = 0;
  const { code, stdout } = await chat(new Array(20).fill('The king said'), ['-n', '100000', '--ignore-eos', '--context', '256'], {
    onOutput(text, interrupt) {
      if (text === '\n' || presses >= 2) return;
      presses++; // once in the first answer, once in the second
      interrupt();
    },
  });
  expect({ code, presses }).toEqual({ code: 130, presses: 2 });
  expect(stdout.split('\n').length).toBeLessThan(5);
});

it('answers with a story about what was asked, by the model in the package', async () => {
  const { code, stdout } = await run(['chat', '-t', '0', '-n', '256'], {
    stdin: 'Write a story about a fox and a well.\n/reset\nTell me a story about a girl named Lily and a cake.\n',
  });
  expect(code).toBe(0);
  expect(stdout).toMatch(/\bfox\b/i);
  expect(stdout).toMatch(/\bLily\b[\s\S]*\bcake\b/);
});

it('says of a model that was not taught to answer that it was not', async () => {
  const { stderr } = await run(['chat', '-m', 'tales-6m', '-n', '1'], { stdin: 'The king said\n' });
  expect(stderr).toContain('openelm: note: tales-6m is a story model without instruction tuning: it goes on with your text');
});
