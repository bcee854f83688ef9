// What a server tells Prometheus: tokens, requests, queues, times, memory. A registry of its own, so that several servers in one
// process do not count together.

import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Tally } from './call.js';
import type { Models } from './models.js';

const timeBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const tokenBuckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];

export class Metrics {
  private readonly registry = new Registry();
  private readonly registers = [this.registry];
  private readonly requests = new Counter({
    ...{ name: 'openelm_requests_total', help: 'Requests answered', labelNames: ['path', 'status'], registers: this.registers },
  });
  private readonly promptTokens = this.tokens('openelm_prompt_tokens_total', 'Tokens of prompts');
  private readonly cachedTokens = this.tokens('openelm_prompt_tokens_cached_total', 'Tokens of prompts found in the cache');
  private readonly generatedTokens = this.tokens('openelm_generated_tokens_total', 'Tokens generated');
  private readonly duration = this.times('openelm_request_seconds', 'Time of a request', ['path'], timeBuckets);
  private readonly firstToken = this.times(
    'openelm_time_to_first_token_seconds',
    'Time to the first token',
    ['model'],
    timeBuckets,
  );
  private readonly perToken = this.times('openelm_time_per_token_seconds', 'Time from token to token', ['model'], tokenBuckets);

  /** `memory`: resident bytes of the process, where they are known. */
  constructor(models: Models, memory?: () => number) {
    const { registers } = this;
    const gauge = (name: string, help: string, set: (gauge: Gauge<'model'>) => void): Gauge<'model'> =>
      new Gauge({
        ...{ name, help, labelNames: ['model'] as const, registers },
        collect() {
          this.reset();
          set(this);
        },
      });
    const each = (of: (state: ReturnType<Models['state']>[number]) => number) => (target: Gauge<'model'>) => {
      for (const state of models.state()) target.set({ model: state.id }, of(state));
    };
    gauge(
      'openelm_requests_running',
      'Answers under way',
      each((state) => state.running),
    );
    gauge(
      'openelm_requests_waiting',
      'Answers that wait for a slot',
      each((state) => state.waiting),
    );
    gauge(
      'openelm_model_bytes',
      'Estimated bytes of loaded models and their caches',
      each((state) => state.bytes),
    );
    if (!memory) return;
    new Gauge({
      ...{ name: 'process_resident_memory_bytes', help: 'Resident memory', registers },
      collect() {
        this.set(memory());
      },
    });
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }

  add(path: string, status: number, milliseconds: number, model?: string, tally?: Tally): void {
    this.requests.inc({ path, status });
    this.duration.observe({ path }, milliseconds / 1000);
    if (model === undefined || !tally) return;
    this.promptTokens.inc({ model }, tally.promptTokens);
    this.cachedTokens.inc({ model }, tally.reusedTokens);
    this.generatedTokens.inc({ model }, tally.generatedTokens);
    if (tally.firstTokenMs !== undefined) this.firstToken.observe({ model }, tally.firstTokenMs / 1000);
    if (tally.generatedTokens > 1) this.perToken.observe({ model }, tally.generateMs / (tally.generatedTokens - 1) / 1000);
  }

  private tokens(name: string, help: string): Counter<'model'> {
    return new Counter({ name, help, labelNames: ['model'] as const, registers: this.registers });
  }

  private times<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    buckets: number[],
  ): Histogram<Label> {
    return new Histogram({ name, help, labelNames: [...labelNames], buckets, registers: this.registers });
  }
}
