// An adapter's modules put into the weights themselves: a plain model that computes what base and adapter did. With tied embeddings
// an adapted embedding becomes the output layer too, which in the adapted model is the base's: CoreNet and PEFT do the same.

import { type Adapter, type AdapterModule, scalingOf, transposed } from './adapter.js';
import { fuseDora } from './dora.js';
import { fuseLora } from './lora.js';

/** A module's weight with its adapter in it. base: [outputs, inputs], of an embedding [vocabulary, modelDim]. */
export function mergedWeight(base: Float32Array, module: AdapterModule, { values }: Pick<Adapter, 'values'>): Float32Array {
  const { name, embedding, outputs, rank } = module;
  const [a, b] = [values.get(`${name}.lora_A`)!, values.get(`${name}.lora_B`)!];
  const [low, up] = embedding ? [a, transposed(b, outputs, rank)] : [b, a];
  const adapted = fuseLora(base, low, up, rank, scalingOf(module));
  const magnitude = values.get(`${name}.lora_magnitude_vector`);
  return magnitude ? fuseDora(adapted, magnitude) : adapted;
}
