// A model of any format as one of another, on this machine. Which tensors, names and bytes that takes is formats/write.ts's; here it is
// decided what is written where, and the result appears whole or not at all. Part of the library's door.

import { nativeEncoder } from './backends/native.js';
import { type Checkpoint, openChatTemplate, openTokenizer, sideFiles } from './checkpoint.js';
import { InputError } from './errors.js';
import { isCoreNetFile, isGgufFile, type ModelFormat } from './formats/model-file.js';
import {
  type OnBytes,
  type WritableModel,
  writeCoreNetFile,
  writeGgufFile,
  writeHuggingFace,
  writeMlx,
} from './formats/write.js';
import { templatesByName } from './infer/chat.js';
import { makingAlone, writeDirectory } from './io/node/checkpoints.js';
import { writeAtomic } from './io/node/files.js';
import { kindOf, namesIn } from './io/node/paths.js';
import { foreignFile } from './locate.js';
import type { ModelConfig } from './model/config.js';
import {
  type CheckpointType,
  checkpointTypeOf,
  checkpointTypes,
  checkWeights,
  type Precision,
  plainPrecision,
} from './model/parameters.js';

export interface ConvertOptions {
  /** Default: by the ending of the name, .gguf or .pt, else Hugging Face's folder. */
  readonly to?: ModelFormat;
  /** Default: as the weights are stored, as far as the format has that. */
  readonly dtype?: Precision;
  /** Weights that share a scale, in MLX: 32, 64 or 128. Default 64, or 32 where rows are no multiple. */
  readonly group?: number;
  /** Replaces what is there. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  /** Called as weights are written, with bytes so far and in all. */
  readonly onProgress?: OnBytes;
}

/** What was written. */
export interface Converted {
  readonly to: ModelFormat;
  readonly dtype: Precision;
}

/**
 * Writes a model to a file or folder, tensor by tensor. Throws `InputError` when something is there already, the format cannot hold
 * the model or the precision, or the place cannot be written; rethrows the signal's reason. Nothing is left half written; what
 * a killed one left is removed.
 */
export async function convertModel(checkpoint: Checkpoint, out: string, options: ConvertOptions = {}): Promise<Converted> {
  if (out === '') throw new InputError('the place to write to has no name');
  const to = options.to ?? formatOf(out);
  await checkPlace(out, to, options.force);
  const { config, place, name: given } = checkpoint;
  const weights = await checkpoint.openWeights();
  try {
    const checked = checkWeights(config, weights.tensors, place);
    const { tensors, dtype: stored } = checked;
    const name = given
      .split(/[/\\]/)
      .at(-1)!
      .replace(/\.(gguf|pt|safetensors)$/, '');
    const model: WritableModel = { name, config, tensors, texts: await sideFiles(checkpoint) };
    const onProgress: OnBytes = (done, total) => {
      options.signal?.throwIfAborted();
      options.onProgress?.(done, total);
    };
    const plain = to === 'hf' || to === 'corenet' || stored in checkpointTypes;
    const dtype = options.dtype ?? (plain ? checkpointTypeOf(checked) : plainPrecision(stored));
    if (options.group !== undefined && !(to === 'mlx' && (dtype === 'q8' || dtype === 'q4')))
      throw new InputError(
        (option) => `${option('group')} is for mlx with q8 or q4: ${to} with ${dtype} has no groups to choose`,
      );
    await makingAlone(out, async () => {
      await checkPlace(out, to, options.force); // another process may have made it meanwhile
      if (to === 'gguf') {
        const beside = {
          tokenizer: await openTokenizer(checkpoint),
          templates: templatesByName((await openChatTemplate(checkpoint)) ?? {}),
          encode: nativeEncoder(),
        };
        await writeAtomic(out, (sink) => writeGgufFile(sink, model, dtype, beside, onProgress));
      } else if (to === 'corenet') {
        await writeAtomic(out, (sink) => writeCoreNetFile(sink, model, plainType(dtype, to), onProgress));
      } else if (to === 'mlx' && (dtype === 'q8' || dtype === 'q4')) {
        const format = { bits: dtype === 'q8' ? 8 : 4, groupSize: options.group ?? groupOf(config) };
        await writeDirectory(out, (file) => writeMlx(file, model, stored === 'bf16' ? 'bf16' : 'f16', format, onProgress));
      } else {
        await writeDirectory(out, (file) => writeHuggingFace(file, model, plainType(dtype, to), onProgress));
      }
    });
    return { to, dtype };
  } finally {
    await weights.close();
  }
}

/** The format that a name asks for. Throws `InputError` for a file of weights alone, and of a format that is not written. */
function formatOf(out: string): ModelFormat {
  if (isGgufFile(out)) return 'gguf';
  if (/\.safetensors$/i.test(out))
    throw new InputError(`${out}: safetensors lie in a folder, with config.json and the tokenizer beside them; name the folder`);
  const foreign = foreignFile(out);
  if (foreign) throw new InputError(`${out}: ${foreign} is not written; name a .gguf or .pt file, or a folder`);
  return isCoreNetFile(out) ? 'corenet' : 'hf';
}

/** Throws `InputError` unless the result may be put there. */
async function checkPlace(out: string, to: ModelFormat, force = false): Promise<void> {
  const there = await kindOf(out);
  if (there === undefined) return;
  const wanted = to === 'gguf' || to === 'corenet' ? 'file' : 'directory';
  if (there !== wanted) throw new InputError(`${out} is a ${there}, and ${to} is written as a ${wanted}; choose another name`);
  if (!force)
    throw new InputError(
      (option) => `${out}: something is there already; choose another name, or ${option('force', true)} to replace it`,
    );
  // A folder goes whole: never one of other things.
  const names = there === 'directory' ? await namesIn(out) : [];
  if (names.length > 0 && !names.includes('config.json'))
    throw new InputError(`${out} is a folder of other things: it has no config.json, and is not replaced; choose another name`);
}

/** Throws `InputError` for a precision that the format has no numbers of. */
function plainType(dtype: Precision, to: ModelFormat): CheckpointType {
  if (dtype === 'f32' || dtype === 'f16' || dtype === 'bf16') return dtype;
  throw new InputError(`${to} holds f32, f16 or bf16, not ${dtype}; choose one of them, or gguf or mlx as the format`);
}

/** The usual group, or a smaller one where a row is no multiple of it. */
function groupOf({ modelDim, layers }: ModelConfig): number {
  const widths = [modelDim, ...layers.flatMap(({ queryHeads, headDim, ffnDim }) => [queryHeads * headDim, ffnDim])];
  return widths.every((width) => width % 64 === 0) ? 64 : 32;
}
