// The server under several clients: throughput beside one client and beside llama.cpp's batching (node-llama-cpp, a sequence a
// client), time to the first token when a long beginning is shared, how long a long prompt stalls a running answer, and what
// the event loop feels of it. Requests go through the handler; sockets and JSON of clients are left out on both sides.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { load } from '../src/index.js';
import { createServer, type Handler } from '../src/server.js';
import { LlamaContender, type Precision } from './contender.js';
import { randomCheckpoint } from './own.js';
import { report } from './report.js';
import { busyCores, interleave, median } from './statistics.js';

const usage = `npm run bench -- serve [options]
  --model DIR      checkpoint directory (default: OpenELM-270M, random)
  --precision P    q8 (default), q4 or f16
  --threads N      default 2
  --clients N      clients at once (default: 16)
  --rounds N       timed rounds (default: 5)
  --alone          without llama.cpp`;

const promptTokens = 64;
const answerTokens = 64;
const prefixTokens = 512;
const longTokens = 2000;

/** The command. */
export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      ...{ model: { type: 'string' }, precision: { type: 'string', default: 'q8' }, threads: { type: 'string', default: '2' } },
      ...{ clients: { type: 'string', default: '16' }, rounds: { type: 'string', default: '5' } },
      ...{ alone: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
    },
  });
  if (values.help) return console.log(usage);
  const [threads, clients, rounds] = [Number(values.threads), Number(values.clients), Number(values.rounds)];
  const precision = values.precision as Precision;
  const directory = values.model ?? (await randomCheckpoint('OpenELM-270M'));
  const model = await load(directory, { dtype: precision, threads, slots: clients, backend: 'native' });
  const handler = await createServer({ models: [model], queue: clients });
  const llama = values.alone ? undefined : new LlamaContender(directory, precision, threads);
  await llama?.load(clients, 2 * (promptTokens + answerTokens));
  try {
    const { vocabSize } = model.checkpoint.config;
    const own = new Clients(handler, vocabSize);
    const others = Math.max(await busyCores(300), 0);
    await own.together(clients);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const runs = {
      'openelm, one client': () => own.together(1),
      [`openelm, ${clients} clients`]: () => own.together(clients),
      ...(llama && {
        'llama.cpp, one client': () => llama.clients(1, promptTokens, answerTokens),
        [`llama.cpp, ${clients} clients`]: () => llama.clients(clients, promptTokens, answerTokens),
      }),
    };
    const seconds = await interleave(runs, rounds);
    const speed = (name: string, count: number): number => median(seconds[name].map((time) => (count * answerTokens) / time));
    const one = speed('openelm, one client', 1);
    const many = speed(`openelm, ${clients} clients`, clients);
    const theirs = llama && speed(`llama.cpp, ${clients} clients`, clients);
    const cold: number[] = [];
    const warm: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const prefix = own.ids(prefixTokens);
      cold.push(await own.firstToken([...prefix, ...own.ids(16)]));
      warm.push(await own.firstToken([...prefix, ...own.ids(16)]));
    }
    const stalls: number[] = [];
    for (let round = 0; round < Math.min(3, rounds); round++) stalls.push(await own.stall());
    delay.disable();
    const rows = [
      { what: 'one client, tokens/s', value: one.toFixed(1) },
      { what: `${clients} clients, tokens/s`, value: many.toFixed(1) },
      { what: `${clients} clients over one`, value: (many / one).toFixed(2) },
      ...(theirs === undefined || !llama
        ? []
        : [
            { what: 'llama.cpp, one client, tokens/s', value: speed('llama.cpp, one client', 1).toFixed(1) },
            { what: `llama.cpp, ${clients} clients, tokens/s`, value: theirs.toFixed(1) },
            { what: 'openelm over llama.cpp', value: (many / theirs).toFixed(2) },
          ]),
      { what: `first token after ${prefixTokens} + 16 tokens, ms`, value: median(cold).toFixed(1) },
      { what: 'first token when the 512 are shared, ms', value: median(warm).toFixed(1) },
      { what: 'of that without reuse', value: `${((100 * median(warm)) / median(cold)).toFixed(1)}%` },
      { what: `longest wait for a token beside a prompt of ${longTokens}, ms`, value: median(stalls).toFixed(1) },
      { what: 'event loop delay, p99, ms', value: (delay.percentile(99) / 1e6).toFixed(1) },
      { what: 'cores busy with other work', value: others.toFixed(2) },
    ];
    report('serve', rows, { options: { directory, precision, threads, clients, rounds }, seconds, cold, warm, stalls });
  } finally {
    await handler.stop();
    await model.dispose();
    await llama?.dispose();
  }
}

/** Requests of ids that no two have in common. */
class Clients {
  private count = 0;

  constructor(
    private readonly handler: Handler,
    private readonly vocabSize: number,
  ) {}

  ids(length: number): number[] {
    const first = ++this.count * 7919;
    return Array.from({ length }, (_, i) => 3 + ((first + i * (31 + (first % 97))) % (this.vocabSize - 3)));
  }

  /** Seconds until all have their answers. */
  async together(clients: number): Promise<number> {
    const prompts = Array.from({ length: clients }, () => this.ids(promptTokens));
    const began = performance.now();
    const all = await Promise.all(prompts.map((prompt) => this.ask({ prompt, max_tokens: answerTokens })));
    for (const response of all) {
      const { usage } = (await response.json()) as { usage: { completion_tokens: number } };
      if (usage.completion_tokens !== answerTokens) throw new Error(`an answer has ${usage.completion_tokens} tokens`);
    }
    return (performance.now() - began) / 1000;
  }

  async firstToken(prompt: number[]): Promise<number> {
    const began = performance.now();
    const response = await this.ask({ prompt, max_tokens: 1, stream: true });
    const reader = response.body!.getReader();
    await reader.read();
    const milliseconds = performance.now() - began;
    while (!(await reader.read()).done);
    return milliseconds;
  }

  /** The longest time between two tokens of an answer while a long prompt is read beside it. */
  async stall(): Promise<number> {
    const running = await this.ask({ prompt: this.ids(16), max_tokens: 400, stream: true });
    const reader = running.body!.getReader();
    for (let i = 0; i < 8; i++) await reader.read();
    let reading = true;
    const long = this.ask({ prompt: this.ids(longTokens), max_tokens: 1 }).then(() => {
      reading = false;
    });
    let longest = 0;
    for (let last = performance.now(); reading; ) {
      if ((await reader.read()).done) throw new Error('the answer was too short to be stalled');
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }
    await long;
    await reader.cancel();
    return longest;
  }

  private async ask(body: object): Promise<Response> {
    const json = JSON.stringify({ ...body, temperature: 0, ignore_eos: true });
    const response = await this.handler.fetch(new Request('http://localhost/v1/completions', { method: 'POST', body: json }));
    if (!response.ok) throw new Error(await response.text());
    return response;
  }
}
