// `openelm convert`: a model of any format as one of another.

import { Command, Option } from 'commander';
import { convertModel } from '../convert.js';
import { type ModelFormat, modelFormats } from '../formats/model-file.js';
import { type Precision, precisions } from '../model/parameters.js';
import { openShown } from './loading.js';
import { progressBar } from './progress.js';
import { interruptible, type Terminal, writeLine } from './terminal.js';

interface ConvertFlags {
  readonly to?: ModelFormat;
  readonly dtype?: Precision;
  readonly group?: string;
  readonly force?: boolean;
}

const help = `
IN is what \`openelm run -m\` takes: a folder, a .gguf or .pt file, a hub id. OUT is a .gguf or .pt file, or a folder; the ending says
the format, and of folders Hugging Face's is written unless --to says mlx:

  hf       config.json and model.safetensors (shards of 5 GB): f32, f16, bf16
  corenet  a PyTorch state_dict under CoreNet's names: f32, f16, bf16; LLaMA's vocabulary is padded to 32,128 rows
  gguf     llama.cpp's openelm: f32, f16, bf16, q8 (Q8_0), q4 (Q4_0)
  mlx      matrices in groups of 4 (q4) or 8 bits (q8), else f32, f16, bf16

Tokenizer and chat template travel along, inside the file where OUT is one. Without --dtype the weights stay as they are stored, as
far as the format has that.

Example:
  $ openelm convert apple/OpenELM-270M openelm-270m.gguf --dtype q8`;

/** The verb with its options. */
export function convertCommand(terminal: Terminal): Command {
  return new Command('convert')
    .argument('<in>', 'the model')
    .argument('<out>', 'the file or folder to write')
    .addOption(new Option('--to <format>', "the format (default: by OUT's ending)").choices(modelFormats))
    .addOption(new Option('--dtype <type>', 'how the weights are stored').choices(precisions))
    .addOption(
      new Option('--group <n>', 'weights that share a scale, in MLX (default: 64 where it fits)').choices(['32', '64', '128']),
    )
    .option('--force', 'replace what is at OUT')
    .addHelpText('after', help)
    .action((from: string, out: string, flags: ConvertFlags) => convert(terminal, from, out, flags));
}

async function convert(terminal: Terminal, from: string, out: string, { group, ...flags }: ConvertFlags): Promise<void> {
  const checkpoint = await openShown(terminal, from);
  const bar = progressBar(terminal.stderr);
  const onProgress = (done: number, total: number): void => bar.update('converting', done, total);
  const options = { ...flags, group: group === undefined ? undefined : Number(group), onProgress };
  const convertWith = (signal: AbortSignal) => convertModel(checkpoint, out, { ...options, signal });
  const { to, dtype } = await interruptible(terminal, convertWith, { writes: true }).finally(() => bar.finish());
  writeLine(terminal, `${out}: ${checkpoint.name} as ${to}, ${dtype}`);
}
