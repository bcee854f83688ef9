// Going on from a training checkpoint of CoreNet's: its weights, AdamW's moments and its iterations, into parameters that are trained
// here. Where it stood in its data is not in it: the corpora begin anew.

import { readCoreNetModel, readCoreNetTraining } from '../formats/corenet.js';
import { readFloat32 } from '../io/decode.js';
import { openFile } from '../io/node/files.js';
import { checkWeights } from '../model/parameters.js';
import type { ModelParameters } from '../train/parameters.js';

/** Fills parameters and moments; the number of steps taken. Throws `InputError` when it is no such file, or of another model. */
export async function loadCoreNetTraining(file: string, parameters: ModelParameters): Promise<number> {
  const { config } = parameters;
  const source = await openFile(file);
  try {
    const model = await readCoreNetModel(source, config);
    await parameters.load(checkWeights(config, model.tensors(source), file).tensors);
    const { step, moments } = await readCoreNetTraining(source, config);
    for (const { name } of parameters.list) {
      const { first, second } = moments.get(name)!;
      parameters.write(name, await readFloat32(first), 'firstMoment');
      parameters.write(name, await readFloat32(second), 'secondMoment');
    }
    return step;
  } finally {
    await source.close();
  }
}
