// Our engine as a contender of the run benchmark, and what this machine could do at best with the same model: the bytes that
// a decoded token must read, the multiply-adds that a prefilled one takes, against rates measured in the same run.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { initCheckpoint } from '../src/app/init.js';
import type { DoorBackend } from '../src/backends/door.js';
import { type NativeBackend, nativeBackend } from '../src/backends/native.js';
import { nodeWasmBackend } from '../src/backends/wasm-node.js';
import { InputError } from '../src/errors.js';
import { maxStepRows, Stepper } from '../src/infer/step.js';
import { readJson } from '../src/io/node/files.js';
import { openWeights } from '../src/io/node/weights.js';
import { type Cache, createCache } from '../src/model/cache.js';
import { configFromHuggingFace, configFromName, type ModelConfig } from '../src/model/config.js';
import { type LoadedModel, loadModel } from '../src/model/load.js';
import { checkWeights, parameterShapes, weightBytes } from '../src/model/parameters.js';
import type { Contender, Precision } from './contender.js';
import { resultsDirectory } from './report.js';

/** A checkpoint with random weights, made once under bench/results. */
export async function randomCheckpoint(name: string): Promise<string> {
  const directory = join(resultsDirectory, name);
  if (!existsSync(join(directory, 'config.json'))) {
    console.error(`writing ${name} with random weights to ${directory}`);
    await initCheckpoint({ config: configFromName(name), out: directory, dtype: 'f16', seed: 1 });
  }
  return directory;
}

/** Holds all that this process opens or starts to an instruction set, if one is given; returns the one in use. */
export function holdTo(isa: string | undefined): string {
  if (isa !== undefined) process.env.OPENELM_ISA = isa;
  const backend = openNative(1);
  void backend.dispose();
  return backend.isa;
}

export function openNative(threads: number): NativeBackend {
  const opened = nativeBackend({ threads });
  if ('reason' in opened) throw new InputError(`the native backend is not available: ${opened.reason}`);
  return opened.backend;
}

export async function readConfig(directory: string): Promise<ModelConfig> {
  const file = join(directory, 'config.json');
  return configFromHuggingFace(await readJson(file), file);
}

/** The native backend, or WebAssembly's, with an f16 cache; ids that repeat, since speed does not depend on them. */
export class OwnContender implements Contender {
  readonly name: string;
  private backend?: DoorBackend;
  private loaded?: LoadedModel;
  private cache?: Cache;
  private stepper?: Stepper;

  constructor(
    private readonly directory: string,
    private readonly precision: Precision,
    private readonly threads: number,
    private readonly kind: 'native' | 'wasm' = 'native',
  ) {
    this.name = kind === 'native' ? 'openelm' : 'wasm';
  }

  async load(): Promise<void> {
    const config = await readConfig(this.directory);
    this.backend = this.kind === 'native' ? openNative(this.threads) : nodeWasmBackend({ threads: this.threads });
    const weights = await openWeights(this.directory);
    this.loaded = await loadModel(this.backend, config, checkWeights(config, weights.tensors, this.directory), {
      dtype: this.precision,
    });
    await weights.close();
    this.cache = createCache(this.backend, config, config.maxContextLength, config.maxContextLength, 'f16');
    this.stepper = new Stepper(this.backend, this.loaded.model, this.cache, { maxSequences: 1, maxSegments: 1 });
  }

  async prefill(tokens: number): Promise<number> {
    const began = performance.now();
    await this.evaluate(0, tokens, maxStepRows);
    return (performance.now() - began) / 1000;
  }

  async decode(tokens: number, context: number): Promise<number> {
    if (context > 0) await this.evaluate(0, context, maxStepRows);
    const began = performance.now();
    await this.evaluate(context, tokens, 1);
    return (performance.now() - began) / 1000;
  }

  async dispose(): Promise<void> {
    await this.backend?.dispose();
  }

  /** Tokens behind `past` others in steps of at most `rows`; the last row of one-row steps, and of the whole, gets logits. */
  private async evaluate(past: number, tokens: number, rows: number): Promise<void> {
    const { vocabSize } = this.loaded!.model.config;
    for (let done = 0; done < tokens; done += rows) {
      const count = Math.min(rows, tokens - done);
      const ids = Array.from({ length: count }, (_, i) => ((past + done + i) * 7919 + 1) % vocabSize);
      const wanted = rows === 1 || done + count === tokens ? [count - 1] : [];
      const segments = [[0, past + done + count]] as const;
      await this.stepper!.run([{ ids, past: past + done, segments, wanted }], 'argmax');
    }
  }
}

/** The least that a token costs. */
export interface TokenCost {
  /** Bytes of weights that a decoded token reads, all of them once. */
  readonly decodeBytes: number;
  /** Multiply-adds of a prefilled token: every matrix but the output layer, which only the last token needs. */
  readonly prefillMacs: number;
}

export function tokenCost(config: ModelConfig, precision: Precision): TokenCost {
  const matrices = parameterShapes(config).filter(({ name, shape }) => shape.length === 2 && name.includes('.layers.'));
  const prefillMacs = matrices.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0);
  return { decodeBytes: weightBytes(config, precision), prefillMacs };
}

/** What this machine's threads can read and multiply a second. */
export interface Rates {
  readonly bytes: number;
  readonly int8Macs: number;
  readonly floatMacs: number;
}

export async function measureRates(threads: number): Promise<Rates> {
  const backend = openNative(threads);
  const { readBytesPerSecond, int8MultiplyAdds, f32MultiplyAdds } = await backend.measureRoofline(threads);
  await backend.dispose();
  return {
    bytes: readBytesPerSecond[threads - 1],
    int8Macs: int8MultiplyAdds * threads,
    floatMacs: f32MultiplyAdds * threads,
  };
}
