// What the options of a model that is loaded in a browser may be: an unknown key, and a value that is none, are named as in Node. Those of
// trainings are training-session.ts's.

import { arithmetics } from '../backends/webgpu/choices.js';
import { cacheTypes, precisions } from '../model/parameters.js';
import { checkOptions, oneOf, type Rule, type Rules, rules, wholeFrom } from '../options.js';
import type { BackendOptions } from './computing.js';
import type { FileOptions, HubOptions } from './model-source.js';
import type { OpenOptions } from './open.js';

const texts = (says: string): Rule => ({
  says,
  holds: (value) => rules.object.holds(value) && Object.values(value as object).every(rules.text.holds),
});

/** Each thread has a stack of its own, and browsers start few workers at once. */
const mostThreads = 64;

export const backendRules: Rules<BackendOptions> = {
  backend: oneOf('auto', 'webgpu', 'wasm'),
  powerPreference: oneOf('high-performance', 'low-power'),
  arithmetic: oneOf(...arithmetics),
  threads: wholeFrom(1, mostThreads),
  isa: rules.text, // which there are is known where it runs
  wasm: rules.text,
};

const loadRules: Rules<OpenOptions & FileOptions & BackendOptions> = {
  dtype: oneOf(...precisions),
  context: wholeFrom(1),
  slots: wholeFrom(1),
  cacheType: oneOf(...cacheTypes),
  hub: rules.object,
  files: texts("the names of the model's files, or their addresses by name"),
  sha256: texts('hashes by the names of files'),
  keep: rules.boolean,
  ...backendRules,
};

const hubRules: Rules<HubOptions> = { revision: rules.text, endpoint: rules.text, token: rules.text };

/** Throws `InputError`. */
export function checkLoadOptions(options: OpenOptions & FileOptions & BackendOptions): void {
  checkOptions('the options of load', options, loadRules);
  if (options.hub) checkOptions('the options of the hub', options.hub, hubRules);
}
