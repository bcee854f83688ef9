// Text in a page of Chromium: our engine in WebAssembly beside llama.cpp in WebAssembly (wllama), the same GGUF file, threads and tab, by
// turns. How WebAssembly stands beside native code is `run --against wasm`'s, training in a page tab.bench.ts's.
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import type * as Door from '../src/browser.js';
import { InputError } from '../src/errors.js';
import { packagePath } from '../src/io/node/paths.js';
import { executablePath, launch } from '../test/browser/launch.js';
import { staticServer } from '../test/browser/static-server.js';
import { ggufOf, installPeers, type Precision } from './contender.js';
import { randomCheckpoint } from './own.js';
import { type Row, report } from './report.js';
import { interleave, median } from './statistics.js';

const usage = `npm run bench -- tab-peer [options], after npm run compile
  --model DIR         a folder with config.json and model.safetensors (default: OpenELM-270M with random weights)
  --precisions LIST   (default: q8,q4)
  --threads LIST      (default: 1,2)
  --rounds N          by turns, after one that does not count (default: 3)
  --prompt N          tokens, of which the prompt's speed is told (default: 256; wllama 3.13 fails at 512)
  --tokens N          that are written after it (default: 64)
It needs Chromium (CHROMIUM=PATH); wllama is installed on first use.`;

declare const openelm: typeof Door;

/** Tokens a second. */
interface Speed {
  readonly prompt: number;
  readonly text: number;
}

/** What is used of wllama. */
interface Wllama {
  loadModel(blobs: readonly Blob[], options: object): Promise<void>;
  createCompletion(options: object): Promise<{ timings: Record<string, number> }>;
}

declare const ours: Door.BrowserModel;
declare const theirs: Wllama;

export async function run(args: string[]): Promise<void> {
  const text = { type: 'string' } as const;
  const options = { model: text, precisions: text, threads: text, rounds: text, prompt: text, tokens: text } as const;
  const { values } = parseArgs({ args, options: { ...options, help: { type: 'boolean' } } });
  if (values.help) {
    console.log(usage);
    return;
  }
  if (executablePath === undefined) throw new InputError('there is no Chromium here: install it, or set CHROMIUM to its path');
  installPeers('@wllama/wllama');
  const [rounds, prompt, tokens] = [values.rounds ?? '3', values.prompt ?? '256', values.tokens ?? '64'].map(Number);
  const folder = values.model ?? (await randomCheckpoint('OpenELM-270M'));
  const rows: Row[] = [];
  for (const precision of (values.precisions ?? 'q8,q4').split(',') as Precision[]) {
    const file = `/${relative(packagePath('.'), await ggufOf(folder, precision))}`;
    for (const threads of (values.threads ?? '1,2').split(',').map(Number)) {
      const speeds = await race(file, { precision, threads, rounds, prompt, tokens });
      const [own, peer] = [speeds.openelm, speeds.wllama].map((all) => ({
        prompt: median(all.map((speed) => speed.prompt)),
        text: median(all.map((speed) => speed.text)),
      }));
      const about = { precision, threads };
      rows.push({ ...about, engine: 'openelm', 'prompt, tok/s': own.prompt, 'text, tok/s': own.text });
      rows.push({
        ...{ ...about, engine: 'wllama', 'prompt, tok/s': peer.prompt, 'text, tok/s': peer.text },
        ...{ 'ours to it, prompt': own.prompt / peer.prompt, 'ours to it, text': own.text / peer.text },
      });
    }
  }
  report('tab-peer', rows);
}

interface Race {
  readonly precision: Precision;
  readonly threads: number;
  readonly rounds: number;
  readonly prompt: number;
  readonly tokens: number;
}

async function race(file: string, { precision, threads, rounds, prompt, tokens }: Race): Promise<Record<string, Speed[]>> {
  const server = await staticServer(packagePath('.'), { isolated: true });
  const { context, close } = await launch();
  try {
    const page = await context.newPage();
    await page.goto(`${server.url}/page`);
    await page.waitForFunction(() => 'openelm' in globalThis);
    await page.evaluate(
      async ([address, count, most, dtype]) => {
        const model = await openelm.load(address, { threads: count, context: most, backend: 'wasm', keep: false, dtype });
        const peers = '/bench/peers/node_modules/@wllama/wllama/esm';
        const { Wllama } = await import(`${peers}/index.js`);
        const silent = { debug() {}, log() {}, warn() {}, error() {} };
        const peer = new Wllama({ default: `${peers}/wasm/wllama.wasm` }, { logger: silent });
        const blob = await (await fetch(address)).blob();
        await peer.loadModel([blob], {
          ...{ n_threads: count, n_ctx: most, n_batch: 512, n_ubatch: 512, n_gpu_layers: 0, flash_attn: true },
          ...{ warmup: false, n_parallel: 1, jinja: false, chat_template: 'chatml' },
        });
        if ((peer.getNumThreads?.() ?? count) !== count) throw new Error('wllama does not run with so many threads');
        Object.assign(globalThis, { ours: model, theirs: peer });
      },
      [file, threads, Math.ceil((prompt + tokens) / 256 + 1) * 256, precision] as const,
    );
    let asked = 0;
    const own = (): Promise<Speed> =>
      page.evaluate(
        async ([length, count, which]) => {
          const ids = Array.from({ length }, (_, i) => (((i + 1) * (which + 7919)) % 30_000) + 3);
          const pieces = ours.generate(ids, { maxTokens: count, temperature: 0, ignoreEos: true });
          let next = await pieces.next();
          while (!next.done) next = await pieces.next();
          const { promptTokens, reusedTokens, promptMs, generatedTokens, generateMs } = next.value.timings;
          const speed = (computed: number, ms: number): number => (1000 * computed) / ms;
          return { prompt: speed(promptTokens - reusedTokens, promptMs), text: speed(generatedTokens - 1, generateMs) };
        },
        [prompt, tokens, asked++] as const,
      );
    let letters = prompt;
    const peer = async (): Promise<Speed> => {
      const timings = await page.evaluate(
        async ([length, count, which]) => {
          const letter = (i: number): string => 'abcdefghijklmnopqrstuvwxyz'[(i * 7 + which * 3 + ((i * i) >> 3)) % 26];
          const text = Array.from({ length }, (_, i) => letter(i)).join('');
          const options = { max_tokens: count, temperature: 0, cache_prompt: false, ignore_eos: true };
          return (await theirs.createCompletion({ prompt: text, ...options })).timings;
        },
        [letters, tokens, asked++] as const,
      );
      letters = Math.floor((letters * 0.95 * prompt) / timings.prompt_n); // it takes text, not ids
      return { prompt: timings.prompt_per_second, text: timings.predicted_per_second };
    };
    await own(); // these do not count
    await peer();
    return await interleave<string, Speed>({ openelm: own, wllama: peer }, rounds);
  } finally {
    await close();
    server.close();
  }
}
