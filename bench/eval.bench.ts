// Evaluation beside lm-evaluation-harness over PyTorch: the same tasks, documents, prompts, tokenizer and weights in f32, both timed
// from the datasets on disk to the metrics (loading the model left out), their runs interleaved; and whether both give every
// document the same score. The peer is bench/peers/eval.py in a Python that has lm_eval.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../src/errors.js';
import { evaluate } from '../src/eval/harness.js';
import { localScorer } from '../src/eval/local.js';
import { findTasks } from '../src/eval/tasks/index.js';
import { loadDatasets } from '../src/io/node/datasets.js';
import { openWeights } from '../src/io/node/weights.js';
import { loadModel } from '../src/model/load.js';
import { checkWeights } from '../src/model/parameters.js';
import { tokenizerFromModel } from '../src/tokenizer/sentencepiece.js';
import { openNative, randomCheckpoint, readConfig } from './own.js';
import { type Row, report } from './report.js';
import { busyCores, interleave, median } from './statistics.js';

const usage = `npm run bench -- eval --data DIR --tokenizer FILE [options]
  --data DIR          datasets, as openelm eval --data takes them (tools/eval-data.ts makes them); .jsonl
  --tokenizer FILE    LLaMA's tokenizer.model
  --python FILE       a Python with lm_eval 0.4.13 and PyTorch; without it only our side runs
  --model DIR         checkpoint directory (default: OpenELM-270M, random)
  --tasks LIST        of hellaswag, arc_easy, arc_challenge (default: all)
  --limit N           documents of the 0-shot tasks (default: 200)
  --long-limit N      documents of ARC-challenge with 25 examples (default: 20)
  --batch N           the peer's batch size (default: 8)
  --threads N         of both (default: 2)
  --rounds N          timed rounds (default: 1)`;

/** A document's log-likelihoods and metrics. */
interface Scored {
  readonly logprobs: readonly number[];
  readonly acc: number;
  readonly acc_norm: number;
}

interface Timed {
  readonly seconds: number;
  readonly documents: readonly Scored[];
}

interface Case {
  readonly task: string;
  readonly shots: number;
  readonly limit: number;
}

/** See `usage`. */
export async function run(args: string[]): Promise<void> {
  const options = parse(args);
  const model = options.model ?? (await randomCheckpoint('OpenELM-270M'));
  const config = await readConfig(model);
  const backend = openNative(options.threads);
  const weights = await openWeights(model);
  const loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, model), { dtype: 'f32' });
  await weights.close();
  const tokenizer = tokenizerFromModel(readFileSync(options.tokenizer), options.tokenizer);
  const scorer = localScorer({ name: 'bench', backend, model: loaded.model, tokenizer });
  const ours = async ({ task, shots, limit }: Case): Promise<Timed> => {
    const began = performance.now();
    const tasks = findTasks([task]);
    const datasets = await loadDatasets(options.data, tasks, () => shots > 0);
    const { samples } = await evaluate(scorer, tasks, datasets, { numFewshot: shots, limit });
    const seconds = (performance.now() - began) / 1000;
    const documents = samples![task].map(({ filtered_resps: answers, acc, acc_norm }) => ({
      logprobs: (answers as string[][]).map(([logprob]) => Number(logprob)),
      ...{ acc: Number(acc), acc_norm: Number(acc_norm) },
    }));
    return { seconds, documents };
  };
  const rows: Row[] = [];
  for (const each of options.cases) {
    await ours({ ...each, limit: 2 }); // warm
    const last: Record<string, Timed> = {};
    const timed = (name: string, measure: () => Promise<Timed>) => async (): Promise<number> => {
      last[name] = await measure();
      console.error(`${each.task}, ${each.shots}-shot, ${each.limit} documents: ${name} ${last[name].seconds.toFixed(1)} s`);
      return last[name].seconds;
    };
    const others = await busyCores(300);
    const { python } = options;
    const contenders: Record<string, () => Promise<number>> = { openelm: timed('openelm', () => ours(each)) };
    if (python !== undefined) contenders.lm_eval = timed('lm_eval', () => runPeer(python, model, each, options));
    const seconds = await interleave(contenders, options.rounds);
    rows.push(rowOf(each, seconds, last, others));
  }
  await scorer.dispose();
  loaded.free();
  await backend.dispose();
  report('eval', rows, { model, threads: options.threads, batch: options.batch });
}

function rowOf(each: Case, seconds: Record<string, number[]>, last: Record<string, Timed>, others: number): Row {
  const mean = (name: 'acc' | 'acc_norm', { documents }: Timed): number =>
    documents.reduce((sum, document) => sum + document[name], 0) / documents.length;
  const row: Record<string, string | number> = {
    ...{ task: each.task, shots: each.shots, documents: each.limit },
    'openelm s': median(seconds.openelm),
    ...{ acc: mean('acc', last.openelm), acc_norm: mean('acc_norm', last.openelm), others: Number(others.toFixed(1)) },
  };
  if (!seconds.lm_eval) return row;
  const [ours, theirs] = [last.openelm.documents, last.lm_eval.documents];
  if (ours.length !== theirs.length) throw new Error(`${each.task}: ${ours.length} documents, ${theirs.length} of the peer`);
  const differing = ours.filter(({ acc, acc_norm }, i) => acc !== theirs[i].acc || acc_norm !== theirs[i].acc_norm).length;
  const gaps = ours.flatMap(({ logprobs }, i) => logprobs.map((logprob, k) => Math.abs(logprob - theirs[i].logprobs[k])));
  return {
    ...row,
    'lm_eval s': median(seconds.lm_eval),
    'times faster': median(seconds.openelm.map((own, round) => seconds.lm_eval[round] / own)),
    'documents apart': differing,
    'largest logprob gap': Math.max(...gaps).toExponential(1),
  };
}

function runPeer(python: string, model: string, { task, shots, limit }: Case, options: EvalBenchOptions): Promise<Timed> {
  const settings = {
    model,
    task,
    shots,
    limit,
    tokenizer: options.tokenizer,
    data: options.data,
    batch: options.batch,
    threads: options.threads,
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(python, [join(import.meta.dirname, 'peers/eval.py'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (said.stdout += chunk));
  child.stderr.on('data', (chunk) => (said.stderr += chunk));
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new InputError(`${python}: ${error.message}`)));
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(said.stdout.trim().split('\n').at(-1)!) as Timed);
      else reject(new InputError(`the peer failed:\n${said.stderr.slice(-2000)}`));
    });
  });
}

interface EvalBenchOptions {
  readonly data: string;
  readonly tokenizer: string;
  readonly python?: string;
  readonly model?: string;
  readonly cases: readonly Case[];
  readonly batch: number;
  readonly threads: number;
  readonly rounds: number;
}

function parse(args: string[]): EvalBenchOptions {
  const text = (value?: string) => ({ type: 'string', default: value }) as const;
  const names = {
    data: text(),
    tokenizer: text(),
    python: text(),
    model: text(),
    tasks: text('hellaswag,arc_easy,arc_challenge'),
  };
  const numbers = { limit: text('200'), 'long-limit': text('20'), batch: text('8'), threads: text('2'), rounds: text('1') };
  let values: Record<string, string | undefined>;
  try {
    ({ values } = parseArgs({ args, options: { ...names, ...numbers } }));
  } catch (error) {
    throw new InputError(`${messageOf(error)}\n${usage}`);
  }
  const { data, tokenizer, python, model } = values;
  if (data === undefined || tokenizer === undefined) throw new InputError(usage);
  const count = (name: keyof typeof numbers): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1)
      throw new InputError(`--${name} takes a whole number from 1 on, not '${values[name]}'.`);
    return value;
  };
  const cases = values.tasks!.split(',').map((task): Case => {
    if (task === 'arc_challenge') return { task, shots: 25, limit: count('long-limit') };
    if (task === 'hellaswag' || task === 'arc_easy') return { task, shots: 0, limit: count('limit') };
    throw new InputError(`--tasks takes hellaswag, arc_easy and arc_challenge, not '${task}'.`);
  });
  return { data, tokenizer, python, model, cases, batch: count('batch'), threads: count('threads'), rounds: count('rounds') };
}
