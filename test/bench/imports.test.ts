// A benchmark's process imports from dist/, which no type check looks into: the names have to be in src/.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

it('imports what is there', async () => {
  const text = readFileSync(new URL('../../bench/train-own.mjs', import.meta.url), 'utf8');
  const imports = [...text.matchAll(/^import \{ (.*) \} from '\.\.\/dist\/(.*)\.js';$/gm)];
  expect(imports.length).toBeGreaterThan(5);
  for (const [, names, file] of imports) {
    const found = Object.keys(await import(new URL(`../../src/${file}.ts`, import.meta.url).href));
    expect(found, file).toEqual(expect.arrayContaining(names.split(', ')));
  }
});
