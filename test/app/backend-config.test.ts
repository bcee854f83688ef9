// Whether what training keeps fits: in this machine's memory where it is computed here, in WebAssembly's, or as a GPU finds out.

import { expect, it } from 'vitest';
import { checkRoom } from '../../src/app/backend-config.js';

it('asks the memory that the backend computes in', () => {
  const limits = { maxBufferBytes: 2 ** 28, maxBindingBytes: 2 ** 28, threads: 1 };
  const check = (name: string, bytes: number, memoryBytes?: number) => () =>
    checkRoom(
      { name, limits: { ...limits, memoryBytes } },
      bytes,
      { here: 2, each: () => ' for each of 2 processes here' },
      sentence,
    );
  const sentence = { what: 'weights', advice: 'choose a smaller model' };
  expect(check('native', 1e15)).toThrow(
    /^not enough memory: weights take 1000 TB for each of 2 processes here, and \d.* are free; choose a smaller model$/,
  );
  expect(check('wasm', 8e9, 4e9)).toThrow(/, and 4\.0 GB are all that WebAssembly has; choose a smaller model$/);
  expect(check('wasm', 1e6, 4e9)).not.toThrow();
  expect(check('webgpu', 1e15)).not.toThrow();
});
