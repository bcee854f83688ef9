// What guessed tokens and structured output cost and bring, on a model of random weights: steps of several rows beside steps of one;
// texts whose guesses are right at a given rate, which is stated, as random weights quote nothing by themselves; a text that repeats
// itself, guessed by prompt lookup; and decoding within a grammar beside decoding freely.
import { parseArgs } from 'node:util';
import { parseJsonSchema } from '../src/grammar/json-schema.js';
import { Constraint, ConstraintVocabulary } from '../src/infer/constraint.js';
import { Engine, type GenerateOptions, type GenerateResult } from '../src/infer/engine.js';
import { uniform } from '../src/infer/random.js';
import { Stepper } from '../src/infer/step.js';
import { openWeights } from '../src/io/node/weights.js';
import { createCache } from '../src/model/cache.js';
import { type LoadedModel, loadModel } from '../src/model/load.js';
import { checkWeights } from '../src/model/parameters.js';
import type { Backend } from '../src/tensor/backend.js';
import { llamaTokenizer } from '../src/tokenizer/llama.js';
import { openNative, randomCheckpoint, readConfig } from './own.js';
import { type Row, report } from './report.js';
import { busyCores, interleave } from './statistics.js';

const usage = `npm run bench -- speculation [options]
  --model DIR      checkpoint directory (default: OpenELM-270M, random)
  --dtype NAME     f16, q8 or q4 (default: q8)
  --threads N      (default: 2)
  --tokens N       tokens of a generation (default: 128)
  --guesses N      guesses of a step (default: 10)
  --rounds N       rounds of each (default: 5); the best counts
  --clock NAME     wall, or cpu: the processor time of all threads, for a busy machine (with --threads 1; default: wall)`;

let now = (): number => performance.now();

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: 'string' },
      dtype: { type: 'string', default: 'q8' },
      threads: { type: 'string', default: '2' },
      tokens: { type: 'string', default: '128' },
      guesses: { type: 'string', default: '10' },
      rounds: { type: 'string', default: '5' },
      clock: { type: 'string', default: 'wall' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(usage);
  const [tokens, guesses, rounds] = [values.tokens, values.guesses, values.rounds].map(Number);
  if (values.clock === 'cpu') {
    now = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    };
  }
  const directory = values.model ?? (await randomCheckpoint('OpenELM-270M'));
  const backend = openNative(Number(values.threads));
  const config = await readConfig(directory);
  const weights = await openWeights(directory);
  const dtype = values.dtype as 'f16' | 'q8' | 'q4';
  const loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, directory), { dtype });
  await weights.close();
  const busy = await busyCores(300);
  const rows = [
    ...(await stepRows(backend, loaded, rounds)),
    ...(await guessRows(backend, loaded, { tokens, guesses, rounds })),
    ...(await grammarRows(backend, loaded, { tokens, rounds })),
  ];
  report('speculation', rows, {
    model: directory,
    dtype,
    threads: Number(values.threads),
    tokens,
    guesses,
    rounds,
    busyCores: busy,
  });
  loaded.free();
  await backend.dispose();
}

/** Milliseconds of a step of several tokens of one sequence, behind 256 others. */
async function stepRows(backend: Backend, { model }: LoadedModel, rounds: number): Promise<Row[]> {
  const cache = createCache(backend, model.config, 512, 512, 'f16');
  const counts = [1, 2, 4, 6, 8, 11, 16];
  const stepper = new Stepper(backend, model, cache, { maxSequences: 1, maxSegments: 1, maxWanted: 16 });
  const step = async (count: number): Promise<number> => {
    const ids = Array.from({ length: count }, (_, i) => (i * 37) % model.config.vocabSize);
    const began = now();
    for (let i = 0; i < 4; i++)
      await stepper.run([{ ids, past: 256, segments: [[0, 256 + count]], wanted: ids.map((_, k) => k) }], 'argmax');
    return (now() - began) / 4;
  };
  for (const count of counts) await step(count);
  const samples = await interleave(Object.fromEntries(counts.map((count) => [count, () => step(count)])), rounds);
  stepper.dispose();
  cache.free();
  const best = counts.map((count) => Math.min(...samples[count]));
  return counts.map((count, i) => ({ what: `a step of ${count} rows`, ms: best[i], 'times one': best[i] / best[0] }));
}

interface Sizes {
  readonly tokens: number;
  readonly rounds: number;
}

interface Made {
  readonly ids: number[];
  readonly result: GenerateResult;
  /** From the first token to the last. */
  readonly milliseconds: number;
}

async function generate(engine: Engine, options: GenerateOptions): Promise<Made> {
  const tokens = engine.generate(
    Array.from({ length: 64 }, (_, i) => (i * 37 + 5) % 1000),
    { temperature: 0, ignoreEos: true, ...options },
  );
  const ids: number[] = [];
  let began = 0;
  for (;;) {
    const next = await tokens.next();
    if (next.done) return { ids, result: next.value, milliseconds: now() - began };
    if (ids.length === 0) began = now();
    ids.push(next.value);
  }
}

const perSecond = ({ ids, result }: { ids: number[]; result: GenerateResult }): number =>
  ((ids.length - 1) * 1000) / result.generateMs;

async function guessRows(
  backend: Backend,
  { model }: LoadedModel,
  { tokens, guesses, rounds }: Sizes & { guesses: number },
): Promise<Row[]> {
  const engine = new Engine(backend, model, { context: 1024 });
  const plain = (await generate(engine, { maxTokens: tokens })).ids;
  /** Knows the text, and guesses each token right with the same probability. */
  const knowing = (rate: number) => ({
    draft: async (_slot: number, { length }: readonly number[], count: number): Promise<number[]> => {
      const from = length - 64;
      return plain
        .slice(from, Math.min(from + Math.min(count, guesses), tokens - 1))
        .map((id, i) => (uniform(Math.round(rate * 1000), 100 * from + i) < rate ? id : (id + 1) % model.config.vocabSize));
    },
    dispose: () => {},
  });
  const helped = new Map(
    [1, 0.9, 0.8, 0.7, 0.5].map((rate) => [
      rate,
      Object.assign(new Engine(backend, model, { context: 1024 }), { assistant: knowing(rate) }),
    ]),
  );
  const accepted = new Map<string, string>();
  const contenders: Record<string, () => Promise<number>> = {
    'without guesses': async () => perSecond(await generate(engine, { maxTokens: tokens })),
    'prompt lookup, in the text that these weights write': async () => {
      const made = await generate(engine, { maxTokens: tokens, promptLookup: guesses });
      accepted.set('prompt lookup, in the text that these weights write', shareOf(made));
      return perSecond(made);
    },
  };
  for (const [rate, one] of helped) {
    const name = `up to ${guesses} guesses, each right in ${100 * rate}%`;
    contenders[name] = async () => {
      const made = await generate(one, { maxTokens: tokens });
      if (made.ids.join() !== plain.join()) throw new Error('guesses changed the text');
      accepted.set(name, shareOf(made));
      return perSecond(made);
    };
  }
  for (const contender of Object.values(contenders)) await contender();
  const samples = await interleave(contenders, rounds);
  await Promise.all([engine, ...helped.values()].map((one) => one.dispose()));
  const best = Object.keys(contenders).map((name) => Math.max(...samples[name]));
  return Object.keys(contenders).map((name, i) => ({
    what: name,
    'tokens/s': best[i],
    'times plain': best[i] / best[0],
    accepted: accepted.get(name),
  }));
}

function shareOf({ result }: Made): string {
  const { drafted, accepted, steps } = result.speculation!;
  return steps === 0 ? 'none made' : `${accepted} of ${drafted}, ${(1 + accepted / steps).toFixed(1)} a step`;
}

async function grammarRows(backend: Backend, { model }: LoadedModel, { tokens, rounds }: Sizes): Promise<Row[]> {
  const engine = new Engine(backend, model, { context: 1024 });
  const vocabulary = new ConstraintVocabulary(await llamaTokenizer(), model.config.vocabSize);
  const made = (schema: unknown): Constraint => new Constraint(parseJsonSchema(schema), vocabulary);
  const endless = { type: 'array', items: { type: 'string' }, minItems: 1000 };
  const mixed = {
    type: 'array',
    items: { type: 'object', properties: { n: { type: 'integer' }, t: { enum: ['red', 'green'] } }, required: ['n', 't'] },
    minItems: 400,
  };
  const constraints: Record<string, Constraint | undefined> = {
    freely: undefined,
    'within JSON of texts': made(endless),
    'within JSON of objects': made(mixed),
  };
  const contenders = Object.fromEntries(
    Object.entries(constraints).map(([name, constraint]) => [
      `decoding ${name}`,
      async () => perSecond(await generate(engine, { maxTokens: tokens, constraint })),
    ]),
  );
  for (const contender of Object.values(contenders)) await contender();
  const samples = await interleave(contenders, rounds);
  await engine.dispose();
  const best = Object.keys(contenders).map((name) => Math.max(...samples[name]));
  return Object.keys(contenders).map((name, i) => ({ what: name, 'tokens/s': best[i], 'times plain': best[i] / best[0] }));
}
