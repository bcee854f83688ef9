// Judges preference optimization on a backend: log-probabilities, losses of every kind, rewards and gradients of pairs, against
// numbers of TRL (dpo.json, policy.safetensors, dpo.safetensors). A pair's prompt is computed once here, twice there.

import { join } from 'node:path';
import type { StoredTensor } from '../../src/io/bytes.js';
import { readFloat32 } from '../../src/io/decode.js';
import { openFile, readJson } from '../../src/io/node/files.js';
import { readSafetensors } from '../../src/io/safetensors.js';
import { configFromHuggingFace } from '../../src/model/config.js';
import { loadModel } from '../../src/model/load.js';
import { checkWeights } from '../../src/model/parameters.js';
import type { Backend } from '../../src/tensor/backend.js';
import { ModelParameters } from '../../src/train/parameters.js';
import {
  type PreferenceLossName,
  pairRows,
  preferenceBatch,
  preferenceLosses,
  preferenceOptimization,
} from '../../src/train/preference-optimization.js';
import { TrainingStep } from '../../src/train/step.js';
import { absoluteError, type Check, type Judgement } from './judgement.js';
import { normError } from './train.js';

const lossBound = 5e-5; // relative; beta times what log-probabilities may differ by
const gradientBound = 1e-4; // norm of the difference over norm
const logpBound = 1e-5; // relative

interface Losses {
  readonly rewards_chosen: readonly number[];
  readonly rewards_rejected: readonly number[];
  readonly margins: readonly number[];
  readonly accuracy: number;
  readonly loss: Readonly<
    Record<string, { readonly per_pair: readonly number[]; readonly mean: number; readonly grad_norm?: number }>
  >;
}

interface Golden {
  readonly pairs: readonly { readonly prompt: number[]; readonly chosen: number[]; readonly rejected: number[] }[];
  readonly base_model?: string;
  readonly losses: Readonly<Record<string, Losses>>;
}

/** A kind by its name there: a loss, with the share of its label smoothing behind it (`robust_ls01`: 0.1, `sigmoid_ls025`: 0.25). */
function kindOf(name: string): { loss: PreferenceLossName; labelSmoothing: number } | undefined {
  const [, loss, decimals] = /^([a-z]+)(?:_ls0?([0-9]+))?$/.exec(name) ?? [];
  const known = preferenceLosses.find((each) => each === loss);
  return known && { loss: known, labelSmoothing: decimals === undefined ? 0 : Number(`0.${decimals}`) };
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const accuracyBound = 1e-7; // means are f32 there
/** An IPO loss of next to nothing is the square of a difference of log-probabilities, which are as exact as they are long. */
const relative = (found: number, expected: number): number => Math.abs(found - expected) / Math.max(0.1, Math.abs(expected));

/** Judges a directory in that format; the config is that of `modelDir`. */
export async function judgePreferences(backend: Backend, dir: string, modelDir: string): Promise<Judgement> {
  const golden = (await readJson(join(dir, 'dpo.json'))) as Golden;
  const config = configFromHuggingFace(await readJson(join(modelDir, 'config.json')), modelDir);
  const numbers = await openFile(join(dir, 'dpo.safetensors'));
  const policy = await openFile(join(dir, 'policy.safetensors'));
  const before = await openFile(join(modelDir, 'model.safetensors'));
  const checks: Check[] = [];
  const skipped: string[] = [];
  try {
    const { tensors } = await readSafetensors(numbers);
    const weights = checkWeights(config, (await readSafetensors(policy)).tensors, policy.name).tensors;
    const base = checkWeights(config, (await readSafetensors(before)).tensors, before.name);
    const pairs = golden.pairs.map(({ prompt, chosen, rejected }) => ({
      prompt: Int32Array.from(prompt),
      chosen: Int32Array.from(chosen),
      rejected: Int32Array.from(rejected),
    }));
    const count = pairs.length;
    const [logps, referenceLogps] = await Promise.all(['logps', 'ref_logps'].map((name) => readFloat32(tensors.get(name)!)));
    const reference = Float32Array.from({ length: 2 * count }, (_, i) => referenceLogps[(i >> 1) + (i % 2) * count]);
    const limits = {
      maxRows: pairs.reduce((sum, pair) => sum + pairRows.rows(pair), 3),
      maxSequences: pairRows.sequences * count,
      maxSegments: pairRows.segments * count,
      maxPositions: Math.max(...pairs.map(pairRows.positions)),
      maxPairs: count + 1,
    };
    const judge = async (
      beta: number,
      kind: string,
      expected: Losses,
      how?: 'checkpointed' | 'asking the reference',
    ): Promise<void> => {
      const online = how === 'asking the reference' ? await loadModel(backend, config, base) : undefined;
      const parameters = new ModelParameters(backend, config);
      await parameters.load(weights);
      const step = new TrainingStep(backend, {
        ...{ model: parameters.model(), parameters },
        objective: preferenceOptimization({ ...limits, beta, ...kindOf(kind)!, reference: online?.model }),
        optimizer: { maxGradNorm: 1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
        activationCheckpointing: how === 'checkpointed',
      });
      const name = `${kind}, beta ${beta}${how ? `, ${how}` : ''}`;
      const check = (what: string, error: number, bound: number): void => {
        checks.push({ name: `${name}: ${what}`, error, bound });
      };
      const { means } = await step.accumulate(preferenceBatch(pairs, reference));
      check('loss', relative(means.loss, expected.loss[kind].mean), lossBound);
      check(
        'margin',
        Math.abs(means.margin - mean(expected.margins)) / Math.max(beta, Math.abs(mean(expected.margins))),
        lossBound,
      );
      check('reward of chosen', Math.abs(means.rewardChosen - mean(expected.rewards_chosen)), logpBound * 50 * beta);
      check('reward of rejected', Math.abs(means.rewardRejected - mean(expected.rewards_rejected)), logpBound * 50 * beta);
      check('accuracy', Math.abs(means.accuracy - expected.accuracy), accuracyBound);
      for (const [p, pair] of pairs.entries()) {
        const alone = await step.evaluate(preferenceBatch([pair], reference.subarray(2 * p, 2 * p + 2)));
        check(`loss of pair ${p}`, relative(alone.means.loss, expected.loss[kind].per_pair[p]), lossBound);
        check(`logp of chosen ${p}`, relative(alone.means.logpChosen, logps[p]), logpBound);
        check(`logp of rejected ${p}`, relative(alone.means.logpRejected, logps[count + p]), logpBound);
      }
      await judgeGradients(`${kind}_beta${beta}.grad.`, tensors, parameters, check);
      const expectedNorm = expected.loss[kind].grad_norm;
      const { gradNorm } = await step.update(0, 1);
      if (expectedNorm !== undefined) check('norm of the gradient', relative(gradNorm, expectedNorm), gradientBound);
      step.dispose();
      parameters.free();
      online?.free();
    };
    for (const [beta, expected] of Object.entries(golden.losses)) {
      for (const kind of Object.keys(expected.loss)) {
        if (kindOf(kind)) await judge(Number(beta), kind, expected);
        else skipped.push(`${dir}: ${kind} at beta ${beta} is no loss that is known here`);
      }
    }
    const [first] = Object.entries(golden.losses);
    const other = Object.keys(first[1].loss).find(kindOf);
    if (other) {
      await judge(Number(first[0]), other, first[1], 'checkpointed');
      await judge(Number(first[0]), other, first[1], 'asking the reference');
    }
  } finally {
    await numbers.close();
    await policy.close();
    await before.close();
  }
  return { item: dir, checks, skipped };
}

async function judgeGradients(
  prefix: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  parameters: ModelParameters,
  check: (what: string, error: number, bound: number) => void,
): Promise<void> {
  for (const [name, tensor] of tensors) {
    if (!name.startsWith(prefix)) continue;
    const found = await parameters.read(`transformer.${name.slice(prefix.length)}`, 'grad');
    const expected = await readFloat32(tensor);
    const isZero = expected.every((value) => value === 0);
    check(name.slice(prefix.length), (isZero ? absoluteError : normError)(found, expected), gradientBound);
  }
}
