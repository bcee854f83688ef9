// MPI as a collective: on one, two and three ranks, with every library that is installed.

import { describe, expect, it } from 'vitest';
import { launch, launchers, script } from './launch.js';

describe.skipIf(launchers().length === 0)('MpiCollective', () => {
  for (const launcher of launchers()) {
    it.each([1, 2, 3])(`sums, gathers and tells under ${launcher.name} on %i ranks`, async (ranks) => {
      const { code, stdout, stderr } = await launch(launcher, ranks, script('collective.rank.ts')).ended;
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `ok ${launcher.name}, ${ranks} ranks\n`, stderr: '' });
    });
  }
});
