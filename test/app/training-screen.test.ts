import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { TrainingScreen } from '../../src/app/training-screen.js';

test('a pipe has a line a second at most, the last step before what stays, and the last of all', () => {
  let [text, ms] = ['', 0];
  const stdout = new Writable({
    write(chunk, _, done) {
      text += String(chunk);
      done();
    },
  });
  const screen = new TrainingScreen(stdout, () => ms);
  for (let step = 1; step <= 9; step++, ms += 400) {
    screen.step(`step ${step}`);
    if (step === 5) screen.keep('validation');
  }
  screen.end();
  expect(text.trim().split('\n')).toEqual(['step 1', 'step 4', 'step 5', 'validation', 'step 8', 'step 9']);
});
