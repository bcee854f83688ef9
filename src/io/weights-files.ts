// Where a model's weights lie in its directory: whole, or in shards that an index lists (safetensors-index.ts).

export const WEIGHTS_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';
