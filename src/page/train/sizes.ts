// The dial of the Train tab: shapes from tiny to what a laptop learns overnight, scaled by layer as the paper does it, and what goes well
// with each on a text of some length.

import type { TrainOptions } from '../../browser.js';

export interface Size {
  readonly layers: number;
  readonly width: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /** Tokens of a window. */
  readonly length: number;
  readonly learningRate: number;
}

export const sizes: readonly Size[] = [
  { layers: 3, width: 64, headDim: 16, vocabSize: 512, length: 128, learningRate: 4e-3 },
  { layers: 4, width: 128, headDim: 16, vocabSize: 1024, length: 128, learningRate: 3e-3 },
  { layers: 6, width: 192, headDim: 24, vocabSize: 2048, length: 128, learningRate: 2e-3 },
  { layers: 8, width: 256, headDim: 32, vocabSize: 4096, length: 256, learningRate: 1.5e-3 },
  { layers: 10, width: 384, headDim: 48, vocabSize: 4096, length: 256, learningRate: 1e-3 },
  { layers: 12, width: 512, headDim: 64, vocabSize: 8192, length: 256, learningRate: 8e-4 },
];
export const usualSize = 1;

export const stepChoices: readonly number[] = [50, 100, 200, 400, 800, 1500, 3000, 6000, 12_000];
export const usualSteps = 3;

/** Of a text, as far as it was looked at. */
export interface TextFacts {
  /** Bytes in all. */
  readonly bytes: number;
  /** Different characters. */
  readonly characters: number;
}

type Shaped = Required<Pick<TrainOptions, 'shape' | 'vocabSize' | 'batch' | 'length' | 'learningRate'>>;

/** Control and byte pieces that every vocabulary has. */
const reserved = 259;
/** Of text in a token of such a vocabulary, roughly. */
const bytesPerToken = 3;

export function tokensOf({ bytes }: TextFacts): number {
  return Math.round(bytes / bytesPerToken);
}

/** A size's settings: a vocabulary that the text can fill and that has its characters, windows that it has enough of. */
export function settingsOf({ layers, width, headDim, vocabSize, length, learningRate }: Size, text: TextFacts): Shaped {
  const filled = 2 ** Math.floor(Math.log2(Math.max(1, text.bytes / 40)));
  const least = reserved + Math.ceil(1.3 * text.characters);
  const shape = {
    ...{ num_transformer_layers: layers, model_dim: width, head_dim: headDim, num_gqa_groups: 2, ffn_dim_divisor: 32 },
    ...{ qkv_multipliers: [0.5, 1], ffn_multipliers: [0.5, 4] },
    ...{ normalize_qk_projections: true, share_input_output_layers: true },
  };
  const batch = 8;
  const most = 2 ** Math.floor(Math.log2(Math.max(1, tokensOf(text) / (2 * batch))));
  return {
    shape,
    vocabSize: Math.max(least, Math.min(vocabSize, filled)),
    batch,
    length: Math.max(16, Math.min(length, most)),
    learningRate,
  };
}

const speedKey = 'openelm.training-speed';

/** Floating-point operations a second that training reaches here: as the last one did, or a guess by threads. */
export function knownSpeed(): number {
  const threads = crossOriginIsolated ? Math.min(8, Math.max(2, navigator.hardwareConcurrency)) / 2 + 0.5 : 1;
  try {
    return Number(localStorage.getItem(speedKey)) || 12e9 * threads;
  } catch {
    return 12e9 * threads;
  }
}

export function rememberSpeed(flopsPerSecond: number): void {
  try {
    localStorage.setItem(speedKey, flopsPerSecond.toPrecision(3));
  } catch {}
}
