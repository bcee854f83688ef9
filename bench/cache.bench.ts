// What the type of the key/value cache costs and brings: processor time of one decoded token at a full context, of a prompt's last 256
// tokens there, and memory, of each type in turn; on random weights, as speed does not depend on them.
import { parseArgs } from 'node:util';
import { Stepper } from '../src/infer/step.js';
import { openWeights } from '../src/io/node/weights.js';
import { createCache } from '../src/model/cache.js';
import { loadModel } from '../src/model/load.js';
import { type CacheType, cacheTypes, checkWeights, kvBytesPerToken } from '../src/model/parameters.js';
import { openNative, randomCheckpoint, readConfig } from './own.js';
import { type Row, report } from './report.js';
import { interleave, median } from './statistics.js';

const usage = `npm run bench -- cache [options]
  --model DIR      checkpoint directory (default: OpenELM-270M, random)
  --dtype NAME     precision of the weights: f16, q8 or q4 (default: q8)
  --context N      tokens in the cache (default: the config's)
  --rounds N       rounds of each (default: 20)`;

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: 'string' },
      dtype: { type: 'string', default: 'q8' },
      context: { type: 'string' },
      rounds: { type: 'string', default: '20' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(usage);
  const directory = values.model ?? (await randomCheckpoint('OpenELM-270M'));
  const backend = openNative(1);
  const config = await readConfig(directory);
  const weights = await openWeights(directory);
  const dtype = values.dtype as 'f16' | 'q8' | 'q4';
  const loaded = await loadModel(backend, config, checkWeights(config, weights.tensors, directory), { dtype });
  await weights.close();
  const context = Number(values.context ?? config.maxContextLength);
  const made = cacheTypes.map((type) => {
    const cache = createCache(backend, config, context, context, type);
    const stepper = new Stepper(backend, loaded.model, cache, { maxSequences: 1, maxSegments: 1 });
    const step = async (count: number): Promise<number> => {
      const ids = Array.from({ length: count }, (_, i) => (i * 7919 + 1) % config.vocabSize);
      const before = process.cpuUsage();
      await stepper.run([{ ids, past: context - count, segments: [[0, context]], wanted: [count - 1] }], 'argmax');
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    return { type, stepper, cache, step };
  });
  const sampled = async (count: number, rounds: number): Promise<Record<CacheType, number[]>> => {
    for (const { step } of made) await step(count);
    const contenders = Object.fromEntries(made.map(({ type, step }) => [type, () => step(count)]));
    return (await interleave(contenders, rounds)) as Record<CacheType, number[]>;
  };
  const rounds = Number(values.rounds);
  const [decode, prompt] = [await sampled(1, rounds), await sampled(256, Math.ceil(rounds / 5))];
  const rows = cacheTypes.map(
    (type): Row => ({
      cache: type,
      'bytes a token': kvBytesPerToken(config, type),
      'decode, ms (best)': Math.min(...decode[type]),
      'decode, ms (median)': median(decode[type]),
      '256 tokens, ms (best)': Math.min(...prompt[type]),
    }),
  );
  report('cache', rows, { model: directory, dtype, context, rounds });
  for (const { stepper, cache } of made) {
    stepper.dispose();
    cache.free();
  }
  loaded.free();
  await backend.dispose();
}
