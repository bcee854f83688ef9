// `npm run golden -- DIR...` judges directories of golden numbers on each backend: one item, a folder of several, or a parent of
// such folders. It prints the largest error of each item and what it left out and why; it exits with 1 when something is past
// its bound or nothing was judged. `--model DIR` is the model of evaluation goldens that have none, `--backend` a list like
// `reference,native,native:avx2,wasm,webgpu,webgpu:f16`. The judges are in test/judge/.

import { readdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Isa, nativeBackend } from '../src/backends/native.js';
import { referenceBackend } from '../src/backends/reference.js';
import type { WasmIsa } from '../src/backends/wasm.js';
import { nodeWasmBackend } from '../src/backends/wasm-node.js';
import type { Arithmetic } from '../src/backends/webgpu/choices.js';
import { nodeWebgpuBackend } from '../src/backends/webgpu/node.js';
import { messageOf } from '../src/errors.js';
import { readJson } from '../src/io/node/files.js';
import { kindOf } from '../src/io/node/paths.js';
import type { Backend } from '../src/tensor/backend.js';
import { judgeConfigs } from './judge/configs.js';
import { judgeData } from './judge/data.js';
import { judgePreferences } from './judge/dpo.js';
import { judgeEvalRequests } from './judge/eval.js';
import { judgeEvalModel } from './judge/eval-model.js';
import { judgeSampling } from './judge/generate.js';
import type { Check, Judgement } from './judge/judgement.js';
import { exists, judgeFit, judgeGreedy, judgeModel, judgeStories } from './judge/models.js';
import { judgePeft } from './judge/peft.js';
import { judgeTokenizer } from './judge/tokenizer.js';
import { judgeAverages, judgeCheckpoints, judgeLearningRates, judgeTraining } from './judge/train.js';

/** A place to judge: what it is called, and the judging of it. `backend` is absent where none takes part. */
interface Item {
  readonly path: string;
  readonly judge: (backend: Backend) => Promise<Judgement[]>;
  readonly backendFree?: boolean;
}

interface Found {
  readonly items: Item[];
  readonly skipped: string[];
}

/** Results of the judges that compare without a model, in one shape. */
function simple(
  results: readonly { item: string; judged: number; failures: string[]; maxError?: number }[],
  path: string,
): Judgement[] {
  return results.map(({ item, judged, failures, maxError }) => ({
    item: `${path}: ${item}`,
    checks: [
      {
        name: `${judged} comparisons${failures.length ? `; ${failures.slice(0, 3).join('; ')}` : ''}`,
        error: failures.length,
        bound: 0,
      },
      ...(maxError === undefined ? [] : [{ name: 'largest error', error: maxError, bound: 1e-6 }]),
    ],
    skipped: [],
  }));
}

/** Numbers of lm-evaluation-harness: those that need no model, and those of one model. */
const evalFiles = ['requests.jsonl.gz', 'metrics.json', 'metric_primitives.json', 'python_random.json', 'results_example'];
const evalModelFiles = ['loglikelihood.jsonl', 'rolling.jsonl', 'generate_until.jsonl'];
/** Folders of an evaluation that its own judges read. */
const evalParts = ['model', 'results_example'];

const dataFiles = ['packing.json', 'sharding.json', 'commonsense_170k.json', 'ftfy_nfc.json'];

/** Where the model that an item names by a relative path lies: beside the item's folder, or beside what was given. */
async function parentOf(item: string, given: string, model: string): Promise<string> {
  const candidates = [dirname(item), given, dirname(given)];
  for (const parent of candidates) if (await exists(join(parent, model))) return parent;
  throw new Error(`${item} names the model ${model}, which is in none of ${candidates.join(', ')}`);
}

/** Finds what can be judged at a path; `given` is the path that the search began with. */
async function find(path: string, given: string, modelDir?: string): Promise<Found> {
  const kind = await kindOf(path);
  if (kind === undefined) throw new Error(`${path}: no such file or directory`);
  if (kind === 'file') {
    if (/^configs.*\.json$/.test(basename(path))) {
      return { items: [{ path, backendFree: true, judge: async () => simple(await judgeConfigs(path), path) }], skipped: [] };
    }
    return { items: [], skipped: [`${path}: no judge for this file`] };
  }
  const names = (await readdir(path)).sort();
  const items: Item[] = [];
  const skipped: string[] = [];
  if (names.includes('golden.safetensors')) {
    items.push({ path, judge: async (backend) => [await judgeModel(backend, path)] });
  }
  if (names.includes('golden_greedy.json')) {
    items.push({ path, judge: async (backend) => [await judgeStories(backend, path)] });
  }
  if (names.includes('cases.jsonl')) {
    items.push({ path, backendFree: true, judge: async () => simple(await judgeTokenizer(path), path) });
  }
  if (dataFiles.some((name) => names.includes(name))) {
    items.push({ path, backendFree: true, judge: async () => simple(await judgeData(path), path) });
  }
  if (names.includes('sampling.json')) {
    items.push({ path, backendFree: true, judge: async () => simple(await judgeSampling(path), path) });
  }
  if (names.includes('greedy.json')) {
    const { model } = (await readJson(join(path, 'greedy.json'))) as { model: string };
    items.push({ path, judge: async (backend) => [await judgeGreedy(backend, path, await parentOf(path, given, model))] });
  }
  if (names.includes('train.json')) {
    const { base_model: model } = (await readJson(join(path, 'train.json'))) as { base_model: string };
    const parent = (): Promise<string> => parentOf(path, given, model);
    items.push({ path, judge: async (backend) => [await judgeTraining(backend, path, await parent())] });
    if (names.includes('ckpt')) {
      items.push({ path, judge: async (backend) => [await judgeCheckpoints(backend, path, await parent())] });
    }
    if (names.includes('averages.safetensors')) {
      items.push({ path, judge: async (backend) => [await judgeAverages(backend, path, await parent())] });
    }
  }
  if (names.includes('peft.json')) {
    items.push({ path, judge: async (backend) => [await judgePeft(backend, path, dirname(path))] });
    return { items, skipped };
  }
  if (names.includes('dpo.json')) {
    const { base_model: model = 'models/tiny-train' } = (await readJson(join(path, 'dpo.json'))) as { base_model?: string };
    const parent = (): Promise<string> => parentOf(path, given, model);
    items.push({ path, judge: async (backend) => [await judgePreferences(backend, path, join(await parent(), model))] });
  }
  if (names.includes('lr.json')) {
    items.push({ path, backendFree: true, judge: async () => [await judgeLearningRates(join(path, 'lr.json'))] });
  }
  const judgedHere = items.length > 0;
  if (evalFiles.some((name) => names.includes(name))) {
    items.push({ path, backendFree: true, judge: async () => simple(await judgeEvalRequests(path), path) });
  }
  if (evalModelFiles.some((name) => names.includes(name))) {
    items.push({ path, judge: async (backend) => [await judgeEvalModel(backend, path, modelDir)] });
  }
  const isEval = items.length > 0 && !judgedHere;
  for (const name of names) {
    if (isEval && evalParts.includes(name)) continue;
    const child = join(path, name);
    const childKind = await kindOf(child);
    if (childKind === 'file' && /^configs.*\.json$/.test(name)) items.push(...(await find(child, given, modelDir)).items);
    if (childKind !== 'directory') continue;
    if (judgedHere) {
      continue; // copies of the weights, judged with their parent
    }
    const inner = await find(child, given, modelDir);
    items.push(...inner.items);
    skipped.push(...inner.skipped);
  }
  if (items.length === 0 && skipped.length === 0) {
    if (await exists(join(path, 'config.json')))
      items.push({ path, backendFree: true, judge: async () => [await judgeFit(path)] });
    else skipped.push(`${path}: nothing here is of a known kind`);
  }
  return { items, skipped };
}

function openBackends(names: readonly string[]): Promise<Backend[]> {
  return Promise.all(
    names.map(async (name) => {
      if (name === 'reference') return referenceBackend();
      const [kind, isa] = name.split(':');
      if (kind === 'webgpu') return nodeWebgpuBackend({ arithmetic: isa as Arithmetic });
      if (kind === 'wasm') return nodeWasmBackend(isa ? { isa: isa as WasmIsa } : {});
      const native = kind === 'native' ? nativeBackend(isa ? { isa: isa as Isa } : {}) : { reason: 'there is no such backend' };
      if ('reason' in native) throw new Error(`${name}: ${native.reason}`);
      return native.backend;
    }),
  );
}

/** What products in f16 may differ by; what must be exact is held to that. */
const halfBound = 2e-3;

const report = ({ item, checks: all, skipped }: Judgement, backend: string): boolean => {
  const checks = all.map((check) =>
    backend === 'webgpu:f16' && check.bound > 0 ? { ...check, bound: Math.max(check.bound, halfBound) } : check,
  );
  const past = checks.filter(({ error, bound }) => !(error <= bound));
  const worst = checks.reduce<Check | undefined>((a, b) => (!a || b.error > a.error ? b : a), undefined);
  const largest = worst && worst.error > 0 ? `largest error ${worst.error.toExponential(1)} (${worst.name})` : 'exact';
  if (checks.length > 0) {
    const verdict = past.length ? 'FAIL' : 'ok  ';
    console.log(`${verdict} ${backend.padEnd(9)} ${item}: ${checks.length} checks, ${largest}`);
  }
  for (const { name, error, bound } of past) console.log(`       ${name}: ${error.toExponential(2)}, allowed ${bound}`);
  for (const reason of skipped) console.log(`skip ${reason}`);
  return past.length === 0;
};

/** Judges all of it; true when something was judged and nothing was past its bound. */
export async function golden(paths: readonly string[], backendNames: readonly string[], modelDir?: string): Promise<boolean> {
  const backends = await openBackends(backendNames);
  let judged = 0;
  let good = true;
  for (const given of paths) {
    const path = resolve(given);
    const { items, skipped } = await find(path, path, modelDir);
    for (const item of items) {
      for (const [i, backend] of (item.backendFree ? backends.slice(0, 1) : backends).entries()) {
        const results = await item
          .judge(backend)
          .catch((error: unknown): Judgement[] => [
            { item: item.path, checks: [{ name: messageOf(error), error: Number.POSITIVE_INFINITY, bound: 0 }], skipped: [] },
          ]);
        judged += results.filter(({ checks }) => checks.length > 0).length;
        for (const result of results) good = report(result, item.backendFree ? '-' : backendNames[i]) && good;
      }
    }
    for (const reason of skipped) console.log(`skip ${reason}`);
  }
  for (const backend of backends) await backend.dispose();
  if (judged === 0) console.log('nothing was judged');
  return good && judged > 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const at = args.indexOf('--backend');
  const backends = at < 0 ? ['reference', 'native'] : args.splice(at, 2)[1]?.split(',');
  const modelAt = args.indexOf('--model');
  const modelDir = modelAt < 0 ? undefined : args.splice(modelAt, 2)[1];
  if (args.length === 0 || !backends?.length || (modelAt >= 0 && !modelDir)) {
    console.error('usage: npm run golden -- DIR... [--backend reference,native] [--model DIR]');
    process.exitCode = 2;
  } else {
    const good = await golden(args, backends, modelDir).catch((error: unknown) => {
      console.error(`golden: ${messageOf(error)}`);
      return false;
    });
    process.exit(good ? 0 : 1);
  }
}
