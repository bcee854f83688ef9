// `openelm merge`: a model with an adapter put into its weights, as a model of its own.

import { Command, Option } from 'commander';
import { baseOfAdapter, locateAdapter, openAdapter, otherBase } from '../adapters.js';
import { folder, openChatTemplate } from '../checkpoint.js';
import { counted } from '../errors.js';
import { readFloat32 } from '../io/decode.js';
import { CARRIED_FILES, TOOL_TEMPLATE } from '../io/hub-listing.js';
import { requireNew, writeNewDirectory } from '../io/node/checkpoints.js';
import { mergedWeight } from '../model/merge.js';
import { type CheckpointType, checkpointTypeOf, checkpointTypes, checkWeights } from '../model/parameters.js';
import { type WriteFile, whole, writeModel } from '../model/write.js';
import { openShown } from './loading.js';
import { required } from './options.js';
import { progressBar } from './progress.js';
import { interruptible, type Terminal, tell, writeLine } from './terminal.js';

interface MergeOptions {
  readonly out?: string;
  readonly dtype?: CheckpointType;
}

const help = `
MODEL is what \`openelm run -m\` takes; ADAPTER a directory with PEFT's adapter_config.json and adapter_model.safetensors, or a run. The
tokenizer and the chat template of the adapter, else of the model, are copied beside the weights.

With tied embeddings an adapted embedding becomes the output layer too, so the merged model differs a little from base and adapter
side by side; it is PEFT's formula.

Example:
  $ openelm merge apple/OpenELM-270M runs/tuned/adapter --out my-model`;

/** The verb with its options. */
export function mergeCommand(terminal: Terminal): Command {
  return new Command('merge')
    .argument('<model>', 'the base')
    .argument('<adapter>', "the adapter's directory")
    .option('-o, --out <directory>', 'the model to write (required)')
    .addOption(new Option('--dtype <type>', "precision on disk (default: the base's own)").choices(Object.keys(checkpointTypes)))
    .addHelpText('after', help)
    .action((model: string, adapter: string, options: MergeOptions) => merge(terminal, model, adapter, options));
}

async function merge(terminal: Terminal, name: string, place: string, options: MergeOptions): Promise<void> {
  const out = required(options.out, '-o, --out <directory>');
  await requireNew(out);
  const base = await openShown(terminal, name);
  const { config } = base;
  const directory = await locateAdapter(place);
  const adapter = await openAdapter(directory, config);
  const other = otherBase(place, await baseOfAdapter(directory), base.name);
  if (other) tell(terminal, other);
  const modules = new Map(adapter.modules.map((module) => [`${module.name}.weight`, module]));
  const bar = progressBar(terminal.stderr);
  const weights = await base.openWeights();
  try {
    const checked = checkWeights(config, weights.tensors, base.place);
    const dtype = options.dtype ?? checkpointTypeOf(checked);
    const values = async (parameter: string): Promise<Float32Array> => {
      const own = await readFloat32(checked.tensors.get(parameter)!);
      const module = modules.get(parameter);
      return module ? mergedWeight(own, module, adapter) : own;
    };
    const fill = async (write: WriteFile): Promise<void> => {
      const templated = (await openChatTemplate(folder(directory))) !== undefined;
      for (const file of CARRIED_FILES) {
        const own = await folder(directory).text(file);
        // An adapter's template stands for all of the model's.
        const bytes = own ?? (file === TOOL_TEMPLATE && templated ? undefined : await base.text(file));
        if (bytes) await write(file, (sink) => sink.write(bytes));
      }
      const onProgress = (done: number, total: number): void => bar.update('merging', done, total);
      await writeModel(write, config, dtype, (parameter) => whole(values(parameter.name)), { onProgress });
    };
    await interruptible(terminal, (signal) => writeNewDirectory(out, fill, signal), { writes: true });
  } finally {
    bar.finish();
    await weights.close();
  }
  writeLine(terminal, `${out}: ${base.name} with ${directory} (${counted(adapter.modules.length, 'module')}) merged`);
}
