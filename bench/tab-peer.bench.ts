// Text in a page of Chromium: our engine in WebAssembly beside another one in WebAssembly, the same shapes, threads and tab, by turns:
// llama.cpp (wllama) with the same GGUF file, or onnxruntime-web with an int8 graph. How WebAssembly stands beside native code is
// `run --against wasm`'s, training in a page tab.bench.ts's.
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import type { Page } from 'playwright-core';
import type * as Door from '../src/browser.js';
import { InputError } from '../src/errors.js';
import { packagePath } from '../src/io/node/paths.js';
import { executablePath, launch } from '../test/browser/launch.js';
import { staticServer } from '../test/browser/static-server.js';
import { ggufOf, installPeers, type Precision } from './contender.js';
import { writeOnnx } from './onnx-graph.js';
import { randomCheckpoint, readConfig } from './own.js';
import { type Row, report, resultsDirectory } from './report.js';
import { interleave, median } from './statistics.js';

const usage = `npm run bench -- tab-peer [options], after npm run compile
  --peer NAME         wllama or onnxruntime (default: wllama)
  --model DIR         a folder with config.json and model.safetensors (default: OpenELM-270M with random weights)
  --precisions LIST   (default: q8,q4; onnxruntime: q8 beside its int8)
  --threads LIST      (default: 1,2)
  --rounds N          by turns, after one that does not count (default: 3)
  --prompt N          tokens, of which the prompt's speed is told (default: 256; wllama 3.13 fails at 512)
  --tokens N          that are written after it (default: 64)
It needs Chromium (CHROMIUM=PATH); the peers are installed on first use.`;

declare const openelm: typeof Door;

/** Tokens a second. */
interface Speed {
  readonly prompt: number;
  readonly text: number;
}

interface Race {
  readonly folder: string;
  readonly precision: Precision;
  readonly threads: number;
  readonly prompt: number;
  readonly tokens: number;
}

/** An engine that is raced: put into a page, which is at the package's root, it gives what answers once. */
interface Peer {
  /** Its package. */
  readonly install: string;
  readonly precisions: string;
  open(page: Page, race: Race): Promise<() => Promise<Speed>>;
}

/** What is used of wllama. */
interface Wllama {
  loadModel(blobs: readonly Blob[], options: object): Promise<void>;
  createCompletion(options: object): Promise<{ timings: Record<string, number> }>;
}

declare const ours: Door.BrowserModel;
declare const theirs: Wllama;
/** Asks bench/peers/onnx-worker.js. */
declare const askOnnx: (data: object) => Promise<{ prompt: number; text: number }>;

const peers: Readonly<Record<string, Peer>> = {
  wllama: { install: '@wllama/wllama', precisions: 'q8,q4', open: openWllama },
  onnxruntime: { install: 'onnxruntime-web', precisions: 'q8', open: openOnnx },
};

export async function run(args: string[]): Promise<void> {
  const text = { type: 'string' } as const;
  const options = { peer: text, model: text, precisions: text, threads: text, rounds: text, prompt: text, tokens: text } as const;
  const { values } = parseArgs({ args, options: { ...options, help: { type: 'boolean' } } });
  if (values.help) {
    console.log(usage);
    return;
  }
  if (executablePath === undefined) throw new InputError('there is no Chromium here: install it, or set CHROMIUM to its path');
  const name = values.peer ?? 'wllama';
  const peer = peers[name];
  if (!peer) throw new InputError(`there is no peer ${name}: choose from ${Object.keys(peers).join(', ')}`);
  const precisions = (values.precisions ?? peer.precisions).split(',') as Precision[];
  if (name === 'onnxruntime' && precisions.some((precision) => precision !== 'q8'))
    throw new InputError('onnxruntime runs an int8 graph: take --precisions q8');
  installPeers(peer.install);
  const [rounds, prompt, tokens] = [values.rounds ?? '3', values.prompt ?? '256', values.tokens ?? '64'].map(Number);
  const folder = values.model ?? (await randomCheckpoint('OpenELM-270M'));
  const rows: Row[] = [];
  for (const precision of precisions) {
    for (const threads of (values.threads ?? '1,2').split(',').map(Number)) {
      const speeds = await race(peer, { folder, precision, threads, prompt, tokens }, rounds);
      const [own, other] = [speeds.own, speeds.peer].map((all) => ({
        prompt: median(all.map((speed) => speed.prompt)),
        text: median(all.map((speed) => speed.text)),
      }));
      const about = { precision, threads };
      rows.push({ ...about, engine: 'openelm', 'prompt, tok/s': own.prompt, 'text, tok/s': own.text });
      rows.push({
        ...{ ...about, engine: name, 'prompt, tok/s': other.prompt, 'text, tok/s': other.text },
        ...{ 'ours to it, prompt': own.prompt / other.prompt, 'ours to it, text': own.text / other.text },
      });
    }
  }
  report(name === 'wllama' ? 'tab-peer' : `tab-peer-${name}`, rows);
}

async function race(peer: Peer, about: Race, rounds: number): Promise<Record<'own' | 'peer', Speed[]>> {
  const server = await staticServer(packagePath('.'), { isolated: true });
  const { context, close } = await launch();
  try {
    const page = await context.newPage();
    await page.goto(`${server.url}/page`);
    await page.waitForFunction(() => 'openelm' in globalThis);
    const contenders = { own: await openOwn(page, about), peer: await peer.open(page, about) };
    for (const once of Object.values(contenders)) await once(); // these do not count
    return await interleave<'own' | 'peer', Speed>(contenders, rounds);
  } finally {
    await close();
    server.close();
  }
}

const addressOf = (file: string): string => `/${relative(packagePath('.'), file)}`;
const contextOf = ({ prompt, tokens }: Race): number => Math.ceil((prompt + tokens) / 256 + 1) * 256;
let asked = 0;

async function openOwn(page: Page, race: Race): Promise<() => Promise<Speed>> {
  const { folder, precision, threads, prompt, tokens } = race;
  await page.evaluate(
    async ([address, count, most, dtype]) => {
      const model = await openelm.load(address, { threads: count, context: most, backend: 'wasm', keep: false, dtype });
      Object.assign(globalThis, { ours: model });
    },
    [addressOf(await ggufOf(folder, precision)), threads, contextOf(race), precision] as const,
  );
  return () =>
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
}

async function openWllama(page: Page, race: Race): Promise<() => Promise<Speed>> {
  const { folder, precision, threads, prompt, tokens } = race;
  await page.evaluate(
    async ([address, count, most]) => {
      const installed = '/bench/peers/node_modules/@wllama/wllama/esm';
      const { Wllama } = await import(`${installed}/index.js`);
      const silent = { debug() {}, log() {}, warn() {}, error() {} };
      const peer = new Wllama({ default: `${installed}/wasm/wllama.wasm` }, { logger: silent });
      const blob = await (await fetch(address)).blob();
      await peer.loadModel([blob], {
        ...{ n_threads: count, n_ctx: most, n_batch: 512, n_ubatch: 512, n_gpu_layers: 0, flash_attn: true },
        ...{ warmup: false, n_parallel: 1, jinja: false, chat_template: 'chatml' },
      });
      if ((peer.getNumThreads?.() ?? count) !== count) throw new Error('wllama does not run with so many threads');
      Object.assign(globalThis, { theirs: peer });
    },
    [addressOf(await ggufOf(folder, precision)), threads, contextOf(race)] as const,
  );
  let letters = prompt;
  return async () => {
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
}

async function openOnnx(page: Page, { folder, threads, prompt, tokens }: Race): Promise<() => Promise<Speed>> {
  const file = join(resultsDirectory, 'int8.onnx');
  writeOnnx(await readConfig(folder), file);
  await page.evaluate(
    async ([address, count]) => {
      const worker = new Worker('/bench/peers/onnx-worker.js', { type: 'module' });
      const ask = (data: object): Promise<unknown> =>
        new Promise((resolve, reject) => {
          worker.onerror = ({ message }) => reject(new Error(message));
          worker.onmessage = (event) => (event.data.error ? reject(new Error(event.data.error)) : resolve(event.data));
          worker.postMessage(data);
        });
      await ask({ file: address, threads: count });
      Object.assign(globalThis, { askOnnx: ask });
    },
    [addressOf(file), threads] as const,
  );
  return async () => {
    const { prompt: first, text } = await page.evaluate(
      ([length, count, which]) => {
        const ids = Array.from({ length }, (_, i) => (((i + 1) * (which + 7919)) % 30_000) + 3);
        return askOnnx({ ids, count });
      },
      [prompt, tokens, asked++] as const,
    );
    return { prompt: (1000 * prompt) / first, text: (1000 * (tokens - 1)) / text };
  };
}
