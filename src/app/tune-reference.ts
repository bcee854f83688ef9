// What the model thinks of all pairs before it is tuned: log-probabilities of both answers, computed once and kept beside the run, so that
// no second copy of the model is held and a run that is resumed goes on with the same numbers.

import { join } from 'node:path';
import { bytesInMemory } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { writeAtomic } from '../io/node/files.js';
import { readIfThere } from '../io/node/paths.js';
import { readSafetensors, writeSafetensors } from '../io/safetensors.js';
import { type JudgedPair, judgePairs } from '../train/batching.js';
import type { PreferenceBatch } from '../train/preference-optimization.js';
import type { TrainingStep } from '../train/step.js';
import { progressBar } from './progress.js';
import type { Terminal } from './terminal.js';
import { contentOf } from './tune-origin.js';

const FILE = 'reference.safetensors';

/**
 * Fills in what the model of `step` thinks of each pair, from the run's file if it is of these pairs and of this `model` (what tells it
 * from others), else computed and written there.
 */
export async function judgeByReference(
  terminal: Terminal,
  out: string,
  pairs: readonly JudgedPair[],
  model: string,
  step: TrainingStep<PreferenceBatch>,
): Promise<void> {
  const path = join(out, FILE);
  const key = `${contentOf(pairs.map(({ prompt, chosen, rejected }) => [prompt, chosen, rejected]))} ${model}`;
  const saved = await readSaved(path, key);
  const logps = saved ?? (await compute(terminal, pairs, step));
  if (!saved) {
    await writeAtomic(path, (sink) =>
      writeSafetensors(
        sink,
        [{ name: 'logps', dtype: 'F32', shape: [pairs.length, 2] }],
        async function* () {
          yield new Uint8Array(logps.buffer, logps.byteOffset, logps.byteLength);
        },
        { pairs: key },
      ),
    );
  }
  for (const [p, pair] of pairs.entries()) pair.reference.set(logps.subarray(2 * p, 2 * p + 2));
}

async function compute(
  terminal: Terminal,
  pairs: readonly JudgedPair[],
  step: TrainingStep<PreferenceBatch>,
): Promise<Float32Array<ArrayBuffer>> {
  const bar = progressBar(terminal.stderr, { unit: 'pairs' });
  const show = (done: number): void => bar.update('judging pairs by the reference', done, pairs.length);
  return judgePairs(step, pairs, show).finally(() => bar.finish());
}

async function readSaved(path: string, key: string): Promise<Float32Array | undefined> {
  const bytes = await readIfThere(path, 1 << 30);
  if (!bytes) return undefined;
  const { tensors, metadata } = await readSafetensors(bytesInMemory(path, bytes));
  const stored = tensors.get('logps');
  return stored && metadata?.pairs === key ? readFloat32(stored) : undefined;
}
