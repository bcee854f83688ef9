// The shapes that the page draws: of the four sizes of OpenELM, against Apple's own numbers.

import { describe, expect, it } from 'vitest';
import { shapeOf, sizes } from '../../src/browser/tools.js';

describe('shapes of models', () => {
  it("are those of Apple's four sizes", () => {
    expect(sizes.map((name) => shapeOf(name).parameters)).toEqual([271_527_168, 457_179_136, 1_079_891_456, 3_036_647_424]);
    const { layers, embeddingParameters, bytes, parameters, cacheBytesPerToken } = shapeOf('OpenELM-270M');
    const heads = [12, 12, 12, 12, 12, 16, 16, 16, 16, 16, 16, 16, 20, 20, 20, 20];
    expect(layers.map(({ queryHeads }) => queryHeads)).toEqual(heads);
    expect(layers.map(({ kvHeads }) => kvHeads)).toEqual(heads.map((count) => count / 4));
    expect([layers[0].ffnDim, layers[15].ffnDim]).toEqual([768, 5120]);
    const inLayers = layers.reduce((sum, layer) => sum + layer.attentionParameters + layer.ffnParameters, 0);
    expect(inLayers + embeddingParameters).toBe(parameters);
    expect(embeddingParameters).toBe(32_000 * 1280 + 1280);
    expect(bytes.f32).toBe(4 * parameters);
    expect(bytes.q8 / bytes.f32).toBeCloseTo(34 / 128, 3);
    expect(cacheBytesPerToken).toBe(heads.reduce((sum, count) => sum + 2 * 2 * 64 * (count / 4), 0));
  });
});
