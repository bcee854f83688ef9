// A small part of fuzz.ts: of every kind what is sound is read, and some hundred damaged ones are read or refused.

import { expect, it } from 'vitest';
import { fuzz, readAll } from './fuzz.js';
import { kinds } from './fuzz-kinds.js';

it.each(Object.keys(kinds))('damaged %s are read, or refused in one sentence', async (name) => {
  await readAll(name);
  const slow = ['results', 'regex', 'json-schema', 'torch', 'gguf'].includes(name);
  const { read, refused, slowest } = await fuzz(name, slow ? 60 : 150, 8);
  expect(read + refused).toBeGreaterThan(0);
  expect(slowest).toBeLessThan(30_000);
});
