// Training in a page beside Node's native backend: the same model, text, windows and threads through the same code, in Chromium
// (WebAssembly) and here, by turns. First it is checked that both learn the same. The best step of each counts: other work on
// the machine only ever makes one slower. Not here: inference in a page (`run --against wasm`, in Node), and pages as they look.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { nativeBackend } from '../src/backends/native.js';
import { trainOn } from '../src/browser/train.js';
import type * as Door from '../src/browser.js';
import { InputError } from '../src/errors.js';
import { packagePath } from '../src/io/node/paths.js';
import { executablePath, launch } from '../test/browser/launch.js';
import { staticServer } from '../test/browser/static-server.js';
import { report } from './report.js';

const usage = `npm run bench -- tab [options], after npm run compile
  --threads N      of both (default: 2)
  --rounds N       by turns (default: 3)
  --steps N        in a round (default: 6)
  --batch N        windows in a step (default: 8)
  --length N       tokens of a window (default: 256)
  --isa NAME       native instruction set (default: avx2)
It trains the built-in model's shape, 6M parameters, and needs Chromium (CHROMIUM=PATH).`;

declare const openelm: typeof Door;

const shapeFields = [
  ...['num_transformer_layers', 'model_dim', 'head_dim', 'num_query_heads', 'num_kv_heads', 'ffn_multipliers', 'ffn_dim_divisor'],
  ...['normalize_qk_projections', 'share_input_output_layers'],
];

export async function run(args: string[]): Promise<void> {
  const number = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      threads: number,
      rounds: number,
      steps: number,
      batch: number,
      length: number,
      isa: number,
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(usage);
    return;
  }
  if (executablePath === undefined) throw new InputError('there is no Chromium here: install it, or set CHROMIUM to its path');
  const [threads, rounds, steps, batch, length] = (['threads', 'rounds', 'steps', 'batch', 'length'] as const).map((name, i) =>
    Number(values[name] ?? [2, 3, 6, 8, 256][i]),
  );
  const isa = (values.isa ?? 'avx2') as 'avx2';
  const config = JSON.parse(readFileSync(packagePath('models/tales-6m/config.json'), 'utf8')) as Record<string, unknown>;
  const shape = Object.fromEntries(shapeFields.map((name) => [name, config[name]])) as Door.TrainOptions['shape'];
  const text = readFileSync(packagePath('recipes/data/tales.txt'), 'utf8');
  const tokenizer = new Uint8Array(readFileSync(packagePath('models/tales-6m/tokenizer.model')));
  const options = { text, shape, steps, batch, length };

  const server = await staticServer(packagePath('.'), { isolated: true });
  const { context, close } = await launch();
  const best = { native: 0, tab: 0 };
  let described = '';
  try {
    const page = await context.newPage();
    await page.goto(`${server.url}/page`);
    await page.waitForFunction(() => 'openelm' in globalThis);
    for (let round = 0; round < rounds; round++) {
      const losses: number[] = [];
      const opened = nativeBackend({ threads, isa });
      if (!('backend' in opened)) throw new InputError(`there is no native backend here: ${opened.reason}`);
      await trainOn(
        opened.backend,
        { ...options, tokenizer },
        {
          onStep: ({ means, tokensPerSecond }) => {
            losses.push(means.loss);
            best.native = Math.max(best.native, tokensPerSecond);
          },
        },
      );
      await opened.backend.dispose();
      const tab = await page.evaluate(
        async ([given, bytes, count]) => {
          const reports: Door.StepReport[] = [];
          let computes = '';
          const onBackend = ({ description }: Door.Computing): void => {
            computes = description;
          };
          const onStep = (step: Door.StepReport): void => void reports.push(step);
          await openelm.train({ ...given, tokenizer: new Uint8Array(bytes), threads: count, onStep, onBackend });
          return {
            computes,
            losses: reports.map(({ means }) => means.loss),
            speeds: reports.map((step) => step.tokensPerSecond),
          };
        },
        [options, [...tokenizer], threads] as const,
      );
      const furthest = Math.max(...losses.map((loss, i) => Math.abs(loss - tab.losses[i])));
      if (!(furthest < 1e-4)) throw new Error(`the tab learns something else: a loss differs by ${furthest}`);
      best.tab = Math.max(best.tab, ...tab.speeds);
      described = tab.computes;
    }
  } finally {
    await close();
    server.close();
  }
  report('tab', [
    { where: `native, ${isa}`, 'tokens/s': best.native, share: 1 },
    { where: described, 'tokens/s': best.tab, share: best.tab / best.native },
  ]);
}
