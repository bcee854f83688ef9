// Who shows no life: one of three that stops, seen by those who wait, and by nobody who does not, or cannot show any itself.

import { existsSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Hearts } from '../../src/app/hearts.js';
import { agreementFile, sweepAgreements, takes } from '../../src/app/ranks-watch.js';
import { temporaryFolder } from '../temporary.js';

const root = temporaryFolder();

it('names who hangs, to those who wait for it', async () => {
  const seconds = 2; // a machine that is busy with others may stand still for half of it
  await Hearts.prepare(root);
  const [first, second, third] = [0, 1, 2].map((rank) => new Hearts(root, rank, 3, seconds));
  await third.look(0); // and never again
  const began = performance.now();
  let seen: readonly number[] = [];
  while (seen.length === 0 && performance.now() - began < 30_000) {
    expect(await second.look(0)).toEqual([]);
    seen = await first.look((performance.now() - began) / 1000);
    await delay(5);
  }
  expect(seen).toEqual([2]);
  expect(performance.now() - began).toBeGreaterThan(1000 * (seconds - 0.05));
  await rm(join(root, '.hearts'), { recursive: true });
  await delay(1000 * seconds);
  expect(await first.look(10)).toEqual([]);
  expect(await first.look(10)).toEqual([]);
});

it('lets one of all who ask speak, and sweeps what runs that are gone left behind', () => {
  const [own, gone] = [agreementFile('ended', process.pid), agreementFile('ended', 2 ** 22 + 7, '5')];
  for (const file of [own, gone]) writeFileSync(file, '');
  sweepAgreements();
  expect(existsSync(gone)).toBe(true); // young
  sweepAgreements(-1);
  expect([existsSync(own), existsSync(gone)]).toEqual([true, false]);
  expect([takes(own), takes(own), takes(undefined)]).toEqual([true, false, true]);
});
