// What the documentation says of the command line and of speed, held against the program's own help and against the tables: a verb or an
// option that went, or a number that was measured again in one place only, is a failing test.

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { run } from './app/terminal.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = (name: string): string => readFileSync(`${root}${name}`, 'utf8');
const pages = ['README.md', ...readdirSync(`${root}docs`).flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : []))];
/** Told as they were at the time. */
const past = ['docs/decisions.md', 'docs/log.md'];

const helps = new Map<string, string>();
const optionsIn = (text: string): string[] => text.match(/(?<![\w-])--[a-z][a-z-]+/g) ?? [];
const knows = (verb: string, option: string): boolean => optionsIn(helps.get(verb) ?? '').includes(option);

beforeAll(async () => {
  const { stdout } = await run(['--help']);
  for (const [, verb] of stdout.matchAll(/^ {2}([a-z]+) {2,}\S/gm)) helps.set(verb, (await run([verb, '--help'])).stdout);
  for (const both of ['eval merge', 'eval compare', 'tokenizer train', 'data stats'])
    helps.set(both, (await run([...both.split(' '), '--help'])).stdout);
});

describe('the command line', () => {
  it('has a row for each verb on its page, with options that the verb has', () => {
    const rows = page('docs/commands.md').match(/^\| `openelm .*$/gm)!;
    const code = rows.flatMap((row) => row.match(/`[^`]+`/g)!).join(' ');
    for (const verb of helps.keys()) expect(code, verb).toMatch(new RegExp(`(openelm |\`)${verb}\\b`));
    for (const row of rows) {
      const verb = /^\| `openelm (\w+)/.exec(row)![1];
      expect(
        optionsIn(row).filter((option) => !knows(verb, option) && option !== '--adapter'),
        row,
      ).toEqual([]);
    }
  });

  it('has every option that examples give', () => {
    const wrong: string[] = [];
    for (const name of pages.filter((name) => !past.includes(name))) {
      for (const [, command] of page(name).matchAll(/(?:^|`|\$ |npx )openelm ([a-z]+ [^`|\n#]*)/gm)) {
        const [verb, second] = command.split(/\s+/);
        const whole = helps.has(`${verb} ${second}`) ? `${verb} ${second}` : verb;
        if (verb === 'pretrain' || verb === 'tune') continue; // whose settings are options too
        if (!helps.has(verb)) wrong.push(`${name}: ${command}`);
        for (const option of optionsIn(command.split(/[|;&>]/)[0]))
          if (!knows(whole, option)) wrong.push(`${name}: openelm ${whole} ${option}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

it("the README's speeds stand in the tables", () => {
  const tables = ['speed', 'serve', 'evaluation'].map((name) => page(`docs/${name}.md`).split('\n'));
  const numbersIn = (text: string): string[] => text.match(/\d+(\.\d+)?/g) ?? [];
  const rows = page('README.md').match(/^\| .* \| [\d.]+ \|$/gm)!;
  expect(rows.length).toBeGreaterThan(5);
  for (const row of rows) {
    const [, , ours, theirs, ratio] = row.split('|').map(numbersIn);
    // In a row, or in two where each side has its own; rounded as the README has them.
    const found = tables.some((lines) =>
      lines.some((line, i) => {
        const numbers = numbersIn(`${line} ${lines[i + 1]}`);
        const has = (told: string): boolean =>
          numbers.some((number) => Number(number).toFixed(told.split('.')[1]?.length ?? 0) === told);
        return has(ours[0]) && has(ratio[0]) && theirs.some(has);
      }),
    );
    expect(found, row).toBe(true);
  }
});
