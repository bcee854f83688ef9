// The step time of data parallel training on paper, as Markdown: `npx tsx bench/mpi/model.ts`. Compute is what one machine was measured
// to do, messages cost alpha + bytes * beta; the tables of docs/scale.md are what it prints. What the names mean is said there.

export interface Model {
  readonly name: string;
  readonly parameters: number;
  /** Of them in the tied embedding, whose gradient is complete last. */
  readonly embedding: number;
  /** Tokens a second of one rank, a machine of 16 cores. */
  readonly tokensPerSecond: number;
}

export interface Network {
  readonly name: string;
  /** Seconds a message, and bytes a second. */
  readonly alpha: number;
  readonly bandwidth: number;
}

export interface Method {
  readonly name: string;
  readonly zero?: boolean;
  /** Gradients in bf16. */
  readonly half?: boolean;
  /** Steps between exchanges. */
  readonly every?: number;
}

// 198 tokens/s of the 270M on 2 cores (docs/speed.md), 8 times as many cores, and time in proportion to the parameters.
const perParameter = 198 * 8 * 271e6;
const models: readonly Model[] = [
  ['270M', 271e6, 41e6],
  ['450M', 457e6, 49e6],
  ['1.1B', 1080e6, 65.5e6],
  ['3B', 3037e6, 98e6],
].map(([name, parameters, embedding]) => ({
  name: String(name),
  parameters: Number(parameters),
  embedding: Number(embedding),
  tokensPerSecond: perParameter / Number(parameters),
}));

const networks: readonly Network[] = [
  { name: '10 Gbit/s, 50 us', alpha: 50e-6, bandwidth: 1.25e9 },
  { name: '100 Gbit/s, 5 us', alpha: 5e-6, bandwidth: 12.5e9 },
];
const methods: readonly Method[] = [
  { name: 'plain' },
  { name: 'bf16', half: true },
  { name: 'ZeRO-1', zero: true },
  { name: 'ZeRO-1, bf16', zero: true, half: true },
  { name: 'DiLoCo, H = 50', every: 50 },
];

/** OpenELM's batch: 4M tokens a step, whatever the number of ranks. */
const batchTokens = 4 * 2 ** 20;
const bucketBytes = 16 << 20;
/** The share of a step's compute that is the way back, behind which sums can hide. */
const wayBack = 0.6;

/** Seconds of a ring's all-reduce: each rank sends 2 (n - 1) / n of the bytes in 2 (n - 1) messages. */
export function allReduce(bytes: number, ranks: number, { alpha, bandwidth }: Network): number {
  return 2 * (ranks - 1) * alpha + (2 * (ranks - 1) * bytes) / ranks / bandwidth;
}

/** Seconds of a step, and the share of it that is communication which nothing hides. */
export function step(
  model: Model,
  ranks: number,
  network: Network,
  { zero, half, every }: Method,
  tokens = batchTokens,
): { seconds: number; exposed: number } {
  const compute = tokens / ranks / model.tokensPerSecond;
  if (every !== undefined) {
    const exposed = allReduce(4 * model.parameters, ranks, network) / every;
    return { seconds: compute + exposed, exposed: exposed / (compute + exposed) };
  }
  const width = half ? 2 : 4;
  if (ranks === 1) return { seconds: compute, exposed: 0 };
  const bytes = width * (model.parameters - model.embedding);
  const buckets = Math.ceil((4 * (model.parameters - model.embedding)) / bucketBytes);
  const part = zero ? 0.5 : 1; // a reduce-scatter is half of an all-reduce
  const hidden = part * buckets * allReduce(bytes / buckets, ranks, network);
  const last = part * allReduce(width * model.embedding, ranks, network);
  const gather = zero ? 0.5 * allReduce(4 * model.parameters, ranks, network) : 0;
  const exposed = Math.max(0, hidden - wayBack * compute) + last + gather;
  return { seconds: compute + exposed, exposed: exposed / (compute + exposed) };
}

function table(network: Network): string {
  const ranks = [8, 32, 128, 512, 1024];
  const lines = [`| ${network.name} | ${ranks.map((n) => `${n} ranks`).join(' | ')} |`, `|---|${'---|'.repeat(ranks.length)}`];
  for (const model of models) {
    for (const method of methods) {
      const cells = ranks.map((n) => {
        const { seconds, exposed } = step(model, n, network, method);
        return `${(batchTokens / seconds / 1000).toFixed(0)}k, ${(100 * (1 - exposed)).toFixed(0)}%`;
      });
      lines.push(`| ${model.name}, ${method.name} | ${cells.join(' | ')} |`);
    }
  }
  return lines.join('\n');
}

if (process.argv[1] === import.meta.filename) console.log(networks.map(table).join('\n\n'));
