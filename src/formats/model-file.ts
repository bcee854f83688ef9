// What a reader of a format makes of one file that holds a whole model: its config, its tensors under names that the model knows, and
// the texts that travel with it as the files of Hugging Face's layout. Types and names only.

import type { ByteSource, StoredTensor } from '../io/bytes.js';
import type { ModelConfig } from '../model/config.js';

/** How a model lies on disk: Hugging Face's folder, CoreNet's PyTorch file, llama.cpp's file, MLX's folder. */
export const modelFormats = ['hf', 'corenet', 'gguf', 'mlx'] as const;
export type ModelFormat = (typeof modelFormats)[number];

/** Files that hold a whole model: llama.cpp's with its config and texts, PyTorch's (CoreNet's, or a state_dict) perhaps. */
export const isGgufFile = (path: string): boolean => /\.gguf$/i.test(path);
export const isCoreNetFile = (path: string): boolean => /\.(pt|pth|bin|ckpt)$/i.test(path);

/** A model in one file; no weight is read yet. */
export interface ModelFile {
  readonly format: ModelFormat;
  readonly config: ModelConfig;
  /** A text beside the weights by its name in Hugging Face's layout, made when it is asked for. */
  text(name: string): Promise<Uint8Array | undefined>;
  /** What the file says of itself, for people. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The tensors over a source of the same file. */
  tensors(source: ByteSource): Map<string, StoredTensor>;
}
