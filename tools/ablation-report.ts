// What recipes/ablation found: a table of validation losses by seed and a picture of the way there.
//   npx tsx tools/ablation-report.ts RUNS OUTPUT
// RUNS has scaled-N and uniform-N for each seed N; written are OUTPUT.md and OUTPUT.svg. Training is the recipe's.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeText } from '../src/app/eval-report.js';
import { writePicture } from '../src/app/picture.js';
import { InputError, messageOf } from '../src/errors.js';
import { readLog } from '../src/io/node/run-log.js';
import { chartSvg, type Line } from '../src/report/chart.js';

type Curve = readonly (readonly [step: number, loss: number])[];
const sides = { scaled: 'layer-wise scaled', uniform: 'uniform' } as const;

async function curveOf(run: string): Promise<Curve> {
  const lines = await readLog(run);
  const curve = lines.flatMap((line) => (line.type === 'validation' ? [[line.step, Number(line.crossEntropy)] as const] : []));
  if (curve.length === 0) throw new InputError(`${run}: no validation in its log`);
  return curve;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
/** Of a sample: with n - 1. */
const deviation = (values: readonly number[]): number =>
  Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / (values.length - 1));

async function reportOn(runs: string, output: string): Promise<void> {
  const seeds = (await readdir(runs)).flatMap((name) => /^scaled-(\d+)$/.exec(name)?.[1] ?? []).sort();
  if (seeds.length < 2) throw new InputError(`${runs}: expected scaled-N and uniform-N for at least two seeds N`);
  const curves = await Promise.all(
    seeds.map(async (seed) => ({
      seed,
      scaled: await curveOf(join(runs, `scaled-${seed}`)),
      uniform: await curveOf(join(runs, `uniform-${seed}`)),
    })),
  );
  const last = curves.map(({ seed, scaled, uniform }) => {
    const [[steps, a], [otherSteps, b]] = [scaled.at(-1)!, uniform.at(-1)!];
    if (steps !== otherSteps) throw new InputError(`seed ${seed}: one run has ${steps} steps, the other ${otherSteps}`);
    return { seed, scaled: a, uniform: b, difference: a - b };
  });
  const row = (name: string, of: (values: readonly number[]) => string): string =>
    `| ${name} | ${(['scaled', 'uniform', 'difference'] as const).map((key) => of(last.map((each) => each[key]))).join(' | ')} |`;
  const differences = last.map(({ difference }) => difference);
  const table = [
    `| seed | ${sides.scaled} | ${sides.uniform} | difference |`,
    '|---|---|---|---|',
    ...last.map(
      ({ seed, ...of }) => `| ${seed} | ${of.scaled.toFixed(4)} | ${of.uniform.toFixed(4)} | ${of.difference.toFixed(4)} |`,
    ),
    row('mean', (values) => mean(values).toFixed(4)),
    row('standard deviation', (values) => deviation(values).toFixed(4)),
    '',
    `Difference of the means: ${mean(differences).toFixed(4)} nats per token, ± ${(deviation(differences) / Math.sqrt(seeds.length)).toFixed(4)} (one standard error over ${seeds.length} pairs).`,
    '',
  ].join('\n');
  const lines = (from: number): Line[] =>
    (['uniform', 'scaled'] as const).flatMap((side) =>
      curves.map((each) => ({ name: sides[side], points: each[side].filter(([step]) => step >= from) })),
    );
  const half = curves[0].scaled.at(-1)![0] / 2;
  const picture = chartSvg({
    title: `Layer-wise scaling, ${seeds.length} seeds`,
    note: 'cross-entropy on held-out documents, nats per token',
    xLabel: 'step',
    panels: [
      { title: 'all of training', lines: lines(0) },
      { title: 'its second half', lines: lines(half) },
    ],
  });
  await writeText(`${output}.md`, table);
  await writePicture(`${output}.svg`, picture);
  process.stdout.write(table);
}

const [runs, output] = process.argv.slice(2);
if (output === undefined) {
  process.stderr.write('usage: tsx tools/ablation-report.ts RUNS OUTPUT\n');
  process.exitCode = 2;
} else {
  await reportOn(runs, output).catch((error: unknown) => {
    process.stderr.write(`ablation-report: ${messageOf(error)}\n`);
    process.exitCode = 1;
  });
}
