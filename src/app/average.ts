// `openelm average`: the mean of several checkpoints' weights as a model of its own, as OpenELM was released (its last five), or
// the moving average that a training checkpoint kept.

import { basename, join } from 'node:path';
import { Command, Option } from 'commander';
import { folder, sideFiles } from '../checkpoint.js';
import { InputError } from '../errors.js';
import type { StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { listCheckpoints, makingNew, requireNew, writeDirectory } from '../io/node/checkpoints.js';
import { openFile, readJson } from '../io/node/files.js';
import { openWeights } from '../io/node/weights.js';
import { readSafetensors } from '../io/safetensors.js';
import { configFromHuggingFace, type ModelConfig } from '../model/config.js';
import { type CheckpointType, checkpointTypes, checkWeights } from '../model/parameters.js';
import { type WriteFile, whole, writeModel } from '../model/write.js';
import { meanTensor } from '../train/average.js';
import { checkpointFiles, emaTensorName } from '../train/checkpoint.js';
import { required, wholeNumber } from './options.js';
import { interruptible, type Terminal, UsageError, writeLine } from './terminal.js';

interface AverageOptions {
  readonly last: number;
  readonly out?: string;
  readonly ema?: boolean;
  readonly dtype: CheckpointType;
}

const help = `
DIR is a run (its last --last checkpoints are taken) or a model; models count as they are given. With --ema it is one run or
checkpoint, trained with ema_momentum.

Example:
  $ openelm average runs/tiny --last 5 --out tiny-model`;

/** The verb with its options. */
export function averageCommand(terminal: Terminal): Command {
  return new Command('average')
    .argument('<dir...>', 'runs or models')
    .option('-o, --out <directory>', 'the model to write (required)')
    .option('--last <n>', "how many of a run's checkpoints", wholeNumber(1), 5)
    .addOption(new Option('--dtype <type>', 'precision on disk').choices(Object.keys(checkpointTypes)).default('f32'))
    .option('--ema', 'the moving average that the last checkpoint kept, instead of a mean')
    .addHelpText('after', help)
    .action((directories: string[], options: AverageOptions) => average(terminal, directories, options));
}

async function average(terminal: Terminal, directories: readonly string[], options: AverageOptions): Promise<void> {
  const { last, ema, dtype } = options;
  const out = required(options.out, '-o, --out <directory>');
  if (ema && directories.length > 1) throw new UsageError('--ema takes one run or checkpoint');
  await requireNew(out);
  const models = (await Promise.all(directories.map((directory) => modelsIn(directory, ema ? 1 : last)))).flat();
  const make = (signal: AbortSignal): Promise<void> =>
    makingNew(out, () => (ema ? writeMovingAverage(models[0], out, dtype, signal) : writeMean(models, out, dtype, signal)));
  await interruptible(terminal, make, { writes: true });
  writeLine(terminal, `${out}: ${ema ? `the moving average of ${models[0]}` : `the mean of ${models.join(', ')}`}`);
}

/** A run's last checkpoints, or the model itself. */
async function modelsIn(directory: string, last: number): Promise<string[]> {
  const checkpoints = await listCheckpoints(directory);
  return checkpoints.length > 0 ? checkpoints.slice(-last).map(({ path }) => path) : [directory];
}

async function configOf(directory: string): Promise<ModelConfig> {
  const file = join(directory, checkpointFiles.config);
  return configFromHuggingFace(await readJson(file), file);
}

/** Writes the mean of models of one shape. Throws `InputError` when one is missing or of another shape. */
async function writeMean(models: readonly string[], out: string, dtype: CheckpointType, signal: AbortSignal): Promise<void> {
  const config = await configOf(models[0]);
  const opened: { close(): Promise<void> }[] = [];
  try {
    const tensors: ReadonlyMap<string, StoredTensor>[] = [];
    for (const model of models) {
      const weights = await openWeights(model);
      opened.push(weights);
      tensors.push(checkWeights(config, weights.tensors, basename(model)).tensors);
    }
    const mean = (name: string): Promise<Float32Array> => meanTensor(tensors.map((of) => of.get(name)!));
    const beside = await sideFiles(folder(models[0]));
    const fill = (write: WriteFile): Promise<number> =>
      writeModel(write, config, dtype, ({ name }) => whole(mean(name)), { beside });
    await writeDirectory(out, fill, { signal });
  } finally {
    await Promise.all(opened.map((weights) => weights.close()));
  }
}

async function writeMovingAverage(checkpoint: string, out: string, dtype: CheckpointType, signal: AbortSignal): Promise<void> {
  const config = await configOf(checkpoint);
  const source = await openFile(join(checkpoint, checkpointFiles.state));
  try {
    const { tensors } = await readSafetensors(source);
    const values = async (name: string): Promise<Float32Array> => {
      const tensor = tensors.get(emaTensorName(name));
      if (!tensor) throw new InputError(`${source.name}: no moving average in it: it was trained without ema_momentum`);
      return readFloat32(tensor);
    };
    const beside = await sideFiles(folder(checkpoint));
    const fill = (write: WriteFile): Promise<number> =>
      writeModel(write, config, dtype, ({ name }) => whole(values(name)), { beside });
    await writeDirectory(out, fill, { signal });
  } finally {
    await source.close();
  }
}
