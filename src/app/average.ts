// `openelm average`: the mean of several checkpoints' weights as a model of its own, as OpenELM was released (its last five), or
// the moving average that a training checkpoint kept.

import { basename, join } from 'node:path';
import { Command, Option } from 'commander';
import { folder, sideFiles } from '../checkpoint.js';
import { InputError } from '../errors.js';
import type { StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { listCheckpoints, requireNew, writeNewDirectory } from '../io/node/checkpoints.js';
import { openFile, readJson } from '../io/node/files.js';
import { kindOf } from '../io/node/paths.js';
import { openWeights } from '../io/node/weights.js';
import { readSafetensors } from '../io/safetensors.js';
import { configFromHuggingFace, type ModelConfig } from '../model/config.js';
import { type CheckpointType, checkpointTypes, checkWeights } from '../model/parameters.js';
import { peftFiles } from '../model/peft.js';
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
  const make = async (signal: AbortSignal): Promise<void> => {
    const opened: { close(): Promise<void> }[] = [];
    try {
      const file = join(models[0], checkpointFiles.config);
      const config = configFromHuggingFace(await readJson(file), file);
      const beside = await sideFiles(folder(models[0]));
      const values = await (ema ? movingAverageOf(models[0], opened) : meanOf(models, config, opened));
      const fill = (write: WriteFile): Promise<number> =>
        writeModel(write, config, dtype, ({ name }) => whole(values(name)), { beside });
      await writeNewDirectory(out, fill, signal);
    } finally {
      await Promise.all(opened.map((source) => source.close()));
    }
  };
  await interruptible(terminal, make, { writes: true });
  writeLine(terminal, `${out}: ${ema ? `the moving average of ${models[0]}` : `the mean of ${models.join(', ')}`}`);
}

/** A run's last checkpoints, or the model itself. Throws `InputError` where one is no folder with a model. */
async function modelsIn(directory: string, last: number): Promise<string[]> {
  const checkpoints = await listCheckpoints(directory);
  const models = checkpoints.length > 0 ? checkpoints.slice(-last).map(({ path }) => path) : [directory];
  for (const model of models) {
    if (await kindOf(join(model, checkpointFiles.config))) continue;
    throw new InputError(
      (await kindOf(join(model, peftFiles.config)))
        ? `${model} holds an adapter: whole models are averaged, which \`openelm merge\` makes of it`
        : `${model}: neither a run with checkpoints nor a folder with a model; \`openelm convert\` makes one of other files`,
    );
  }
  return models;
}

type Values = (name: string) => Promise<Float32Array>;

/** Of models of one shape; what was `opened` is closed by the caller. Throws `InputError` when one is missing or of another shape. */
async function meanOf(models: readonly string[], config: ModelConfig, opened: { close(): Promise<void> }[]): Promise<Values> {
  const tensors: ReadonlyMap<string, StoredTensor>[] = [];
  for (const model of models) {
    const weights = await openWeights(model);
    opened.push(weights);
    tensors.push(checkWeights(config, weights.tensors, basename(model)).tensors);
  }
  return (name) => meanTensor(tensors.map((of) => of.get(name)!));
}

/** As `meanOf`, of what a checkpoint kept. */
async function movingAverageOf(checkpoint: string, opened: { close(): Promise<void> }[]): Promise<Values> {
  const source = await openFile(join(checkpoint, checkpointFiles.state));
  opened.push(source);
  const { tensors } = await readSafetensors(source);
  return async (name) => {
    const tensor = tensors.get(emaTensorName(name));
    if (!tensor) throw new InputError(`${source.name}: no moving average in it: it was trained without ema_momentum`);
    return readFloat32(tensor);
  };
}
