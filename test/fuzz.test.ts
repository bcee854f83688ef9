// A small part of fuzz.ts: of every kind what is sound is read, and some hundred damaged ones are read or refused.

import { expect, it } from 'vitest';
import { fuzz, kinds, readAll } from './fuzz.js';

it.each(Object.keys(kinds))('damaged %s are read, or refused in one sentence', async (name) => {
  await readAll(name);
  const { read, refused, slowest } = await fuzz(
    name,
    name === 'results' ? 60 : ['gguf', 'torch', 'mlx', 'json-schema'].includes(name) ? 100 : 300,
    8,
  );
  expect(read + refused).toBeGreaterThan(0);
  expect(slowest).toBeLessThan(30_000);
});
