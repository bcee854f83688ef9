// What a tuning run is of: its examples, and the model that it began with. Kept with what a run writes down on its way, so that it does
// not go on with other ones under the same names. Only tells; what is done about it is the callers'.

import { createHash } from 'node:crypto';
import { InputError } from '../errors.js';
import type { Checkpoint } from '../index.js';
import { fingerprint } from '../io/node/fingerprint.js';
import type { StartingPoint } from './training-run.js';

/** Hashes, in a checkpoint's record beside where the data stand. */
export interface Origin {
  readonly examples: string;
  /** Of the weights, where what is trained stands beside them. */
  readonly base?: string;
}

/** Of these sequences of ids and marks, and no others. */
export function contentOf(items: Iterable<readonly (Int32Array | Uint8Array)[]>): string {
  const hash = createHash('sha256');
  for (const parts of items) for (const part of parts) hash.update(Int32Array.of(part.length)).update(part);
  return hash.digest('hex');
}

/** Of a model's weights, wherever they lie. */
export async function weightsOf(checkpoint: Checkpoint): Promise<string> {
  const weights = await checkpoint.openWeights();
  await weights.close();
  return fingerprint(weights.files, JSON.stringify(checkpoint.config), { copies: true });
}

/** Throws `InputError` when a checkpoint is of other examples or of another base; earlier versions did not say. */
export function checkOrigin(from: StartingPoint | undefined, { examples, base }: Origin, model: string): void {
  const made = from?.record.data as Partial<Origin> | undefined;
  const differs = (what: string): InputError =>
    new InputError(`${from!.path} was made with ${what} now: put back what was there, or start a new run`);
  if (made?.examples !== undefined && made.examples !== examples) throw differs('other rows than the training files have');
  if (made?.base !== undefined && base !== undefined && made.base !== base) throw differs(`other weights than ${model} has`);
}
