// Judges the sampler against golden distributions: `sampling.json` names the cases and their options in transformers' spelling,
// `sampling.safetensors` holds `logits` [vocabulary], `input_ids` (the history) and one probability vector per case. Shared by
// the tests and the golden command; greedy continuations need a model and are judged elsewhere.

import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError, messageOf } from '../../src/errors.js';
import { Sampler, type SamplingOptions } from '../../src/infer/sampler.js';
import { readFloat32 } from '../../src/io/decode.js';
import { openFile, readJson } from '../../src/io/node/files.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { readInt32 } from '../integers.js';

export interface Judgement {
  item: string;
  /** Cases compared. */
  judged: number;
  failures: string[];
  /** Largest absolute difference of a probability. */
  maxError: number;
}

const tolerance = 1e-6;

const optionNames: Record<string, keyof SamplingOptions> = {
  temperature: 'temperature',
  top_k: 'topK',
  top_p: 'topP',
  min_p: 'minP',
  typical_p: 'typicalP',
  repetition_penalty: 'repetitionPenalty',
};

/** Compares every case of `dir`/sampling.json; an empty list when the directory has none. */
export async function judgeSampling(dir: string): Promise<Judgement[]> {
  const path = join(dir, 'sampling.json');
  try {
    await access(path);
  } catch {
    return [];
  }
  const cases = (await readJson(path)) as Record<string, Record<string, unknown>>;
  const source = await openFile(join(dir, 'sampling.safetensors'));
  try {
    const { tensors } = await readSafetensors(source);
    const tensor = (name: string) => {
      const found = tensors.get(name);
      if (found === undefined) throw new InputError(`${source.name} has no tensor "${name}"`);
      return found;
    };
    const logits = await readFloat32(tensor('logits'));
    const history = await readInt32(tensor('input_ids'));
    const result: Judgement = { item: 'sampling', judged: 0, failures: [], maxError: 0 };
    for (const [name, fields] of Object.entries(cases)) {
      if (name.startsWith('_')) continue;
      result.judged++;
      try {
        const expected = await readFloat32(tensor(name));
        const found = new Sampler(optionsOf(fields)).probabilities(logits, history);
        const error = largestDifference(found, expected);
        result.maxError = Math.max(result.maxError, error);
        if (!(error <= tolerance))
          result.failures.push(`${name}: a probability is off by ${error}, at most ${tolerance} is allowed`);
        const kept = found.filter((p) => p > 0).length;
        if (fields.kept !== undefined && kept !== fields.kept)
          result.failures.push(`${name}: ${kept} ids kept, expected ${fields.kept}`);
      } catch (error) {
        result.failures.push(`${name}: ${messageOf(error)}`);
      }
    }
    return [result];
  } finally {
    await source.close();
  }
}

function optionsOf(fields: Record<string, unknown>): SamplingOptions {
  const options: SamplingOptions = {};
  for (const [key, value] of Object.entries(fields)) {
    if (key === 'kept' || key === 'applied_in_order' || value === null) continue;
    const name = optionNames[key];
    if (name === undefined) throw new InputError(`the golden option "${key}" is unknown here`);
    options[name] = value as number;
  }
  return options;
}

/** NaN when anything is NaN, Infinity when the lengths differ. */
function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i])), 0);
}
