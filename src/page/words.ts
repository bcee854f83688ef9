// What the page calls the options that sentences of `openelm/browser` name: what its fields are labelled with.

import type { OptionNamer } from '../errors.js';

/** Of a training. */
export const trainingFields = {
  vocabSize: 'Vocabulary',
  batch: 'Windows in a step',
  length: 'Tokens of a window',
  learningRate: 'Learning rate',
  seed: 'Seed',
  prompt: 'Samples begin with',
} as const;

/** Of a model that is opened. */
export const modelFields = { dtype: 'Precision', context: 'Context, tokens', 'hub.token': 'Access token' } as const;

export const precisions = { q8: '8 bits', q4: '4 bits', f32: '32 bits' } as const;

const names: Readonly<Record<string, string>> = { ...trainingFields, ...modelFields, ...precisions, steps: 'Steps' };

/** The field that an option stands for, or the choice in it. */
export const asField: OptionNamer = (option, value) =>
  value === undefined ? `“${names[option] ?? option}”` : `“${names[String(value)] ?? `${names[option] ?? option}: ${value}`}”`;
