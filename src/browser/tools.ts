// What a page that looks at models wants beside the door and without a worker: their shapes in numbers, and the measurement of their
// speed. Bundled apart, so that a page that only talks does not load it.

import { configFromName, countLayerParameters, countParameters, type ModelConfig } from '../model/config.js';
import { kvBytesPerToken, weightBytes } from '../model/parameters.js';

export { measureSpeed } from '../infer/measure.js';

export interface ShapeLayer {
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly ffnDim: number;
  readonly attentionParameters: number;
  readonly ffnParameters: number;
}

/** A model in numbers: its layers, parameters and bytes. */
export interface ModelShape {
  readonly modelDim: number;
  readonly headDim: number;
  readonly vocabSize: number;
  readonly context: number;
  readonly layers: readonly ShapeLayer[];
  readonly parameters: number;
  readonly embeddingParameters: number;
  /** Of all weights, at each precision. */
  readonly bytes: Readonly<Record<(typeof shownPrecisions)[number], number>>;
  /** Of keys and values of one token, in f16. */
  readonly cacheBytesPerToken: number;
}

const shownPrecisions = ['f32', 'f16', 'q8', 'q4'] as const;

/** The four sizes of OpenELM. */
export const sizes = ['OpenELM-270M', 'OpenELM-450M', 'OpenELM-1_1B', 'OpenELM-3B'] as const;

/** A model's shape in numbers: of a config, or of a built-in name. Throws `InputError` on a name that is none. */
export function shapeOf(model: ModelConfig | string): ModelShape {
  const config = typeof model === 'string' ? configFromName(model) : model;
  const layers = config.layers.map((layer): ShapeLayer => {
    const { queryHeads, kvHeads, ffnDim, proj1Dim } = layer;
    const ffnParameters = (proj1Dim + ffnDim + 1) * config.modelDim; // with the norm before it
    const attentionParameters = countLayerParameters(config, layer) - ffnParameters;
    return { queryHeads, kvHeads, ffnDim, attentionParameters, ffnParameters };
  });
  const parameters = countParameters(config);
  const { modelDim, headDim, vocabSize, maxContextLength: context } = config;
  const inLayers = layers.reduce((sum, layer) => sum + layer.attentionParameters + layer.ffnParameters, 0);
  return {
    ...{ modelDim, headDim, vocabSize, context, layers, parameters },
    embeddingParameters: parameters - inLayers,
    bytes: Object.fromEntries(
      shownPrecisions.map((precision) => [precision, weightBytes(config, precision)]),
    ) as ModelShape['bytes'],
    cacheBytesPerToken: kvBytesPerToken(config, 'f16'),
  };
}
