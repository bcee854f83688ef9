// lm-evaluation-harness's own local-completions over our server, beside `openelm eval` on the same model: every document must get the same
// score. `npx tsx test/harness/check.ts --data DIR --python FILE`; not part of `npm test`, as it needs a Python with lm_eval (and the
// folder that tools/eval-data.ts makes): it says so and ends well where there is none.

import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { evaluate } from '../../src/eval/harness.js';
import { localScorer } from '../../src/eval/local.js';
import { findTasks } from '../../src/eval/tasks/index.js';
import { load } from '../../src/index.js';
import { loadDatasets } from '../../src/io/node/datasets.js';
import { createServer } from '../../src/server.js';
import { listen } from '../server/port.js';

const { values } = parseArgs({
  options: {
    ...{ data: { type: 'string' }, python: { type: 'string', default: 'python3' }, limit: { type: 'string', default: '60' } },
    ...{ tasks: { type: 'string', default: 'hellaswag,arc_easy' } },
  },
});
const { data, python, limit, tasks } = values;
if (data === undefined || !existsSync(data) || spawnSync(python, ['-c', 'import lm_eval, torch, aiohttp']).status !== 0) {
  console.log('SKIPPED: needs --data DIR (made by tools/eval-data.ts) and --python with lm_eval, torch and aiohttp');
  process.exit(0);
}

interface Document {
  readonly logprobs: readonly number[];
  readonly acc: number;
  readonly acc_norm?: number;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = join(root, 'models', 'tales-6m');
const model = await load(directory, { dtype: 'f32', slots: 8 });
const { context } = model.engine;
const port = await listen(await createServer({ models: [model] }));
const scorer = localScorer(
  { name: 'check', backend: model.backend, model: model.engine.model, tokenizer: model.tokenizer },
  { context },
);
let failed = false;
try {
  for (const task of tasks.split(',')) {
    const found = findTasks([task]);
    const { samples } = await evaluate(scorer, found, await loadDatasets(data, found, () => false), {
      numFewshot: 0,
      limit: Number(limit),
    });
    const ours = samples![task].map(({ filtered_resps: answers, acc, acc_norm }): Document => {
      const logprobs = (answers as string[][]).map(([logprob]) => Number(logprob));
      return { logprobs, acc: Number(acc), acc_norm: Number(acc_norm) };
    });
    const theirs = await harness(task);
    const apart = ours.filter(({ acc, acc_norm }, i) => acc !== theirs[i]?.acc || acc_norm !== theirs[i]?.acc_norm).length;
    const gaps = ours.flatMap(({ logprobs }, i) => logprobs.map((logprob, k) => Math.abs(logprob - theirs[i].logprobs[k])));
    const same = apart === 0 && ours.length === theirs.length;
    failed ||= !same;
    const acc = ours.reduce((sum, document) => sum + document.acc, 0) / ours.length;
    console.log(
      `${same ? 'ok  ' : 'FAIL'} ${task}: ${ours.length} documents, acc ${acc.toFixed(3)}, ${apart} apart, logprobs within ${Math.max(...gaps).toExponential(1)}`,
    );
  }
} finally {
  await scorer.dispose();
  await port.close();
  await model.dispose();
}
process.exitCode = failed ? 1 : 0;

async function harness(task: string): Promise<Document[]> {
  const options = {
    ...{ model: directory, tokenizer: join(directory, 'tokenizer.model'), data: data!, task, limit, batch: '4' },
    ...{ 'base-url': `${port.url}/v1/completions`, 'served-name': 'tales-6m', 'max-length': String(context) },
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const run = promisify(execFile)(python, [join(root, 'bench', 'peers', 'eval.py'), ...args], { maxBuffer: 1 << 28 });
  const { stdout } = await run;
  return (JSON.parse(stdout.trim().split('\n').at(-1)!) as { documents: Document[] }).documents;
}
