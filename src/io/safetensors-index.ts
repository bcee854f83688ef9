// A model in several safetensors files: `model.safetensors.index.json` says which shard holds which tensor. The shards'
// own headers must tell the same story: every tensor listed is in the shard named, and no shard holds one that is not
// listed for it. Opening a shard is the caller's affair (a file beside the index, a URL): no paths here, only plain names.

import { InputError } from '../errors.js';
import type { ByteSource, StoredTensor } from './bytes.js';
import { decodeUtf8, JsonReader, quoted } from './json.js';
import { readSafetensors, type SafetensorsContents } from './safetensors.js';

export { INDEX_FILE, WEIGHTS_FILE } from './weights-files.js';

/** The longest index in bytes: the same as a header, which holds as much for each tensor. */
const MAX_INDEX_BYTES = 100_000_000;

/** The index's `weight_map`, turned round: the tensors of each shard, shards in order of name. */
export interface ShardedIndex {
  readonly name: string;
  readonly shards: Map<string, string[]>;
}

/** Reads `model.safetensors.index.json`. Throws `InputError` when it is not one, or a shard's name is not a plain `.safetensors` file name. */
export async function readShardedIndex(source: ByteSource): Promise<ShardedIndex> {
  if (source.size > MAX_INDEX_BYTES) {
    throw new InputError(`${source.name}: an index of ${source.size} bytes is over the limit of ${MAX_INDEX_BYTES}`);
  }
  const reader = new JsonReader(decodeUtf8(await source.read(0, source.size), source.name), source.name);
  const shards = new Map<string, string[]>();
  let found = false;
  reader.object('a shard index as an object', (key) => {
    if (key !== 'weight_map') {
      reader.skip(); // metadata.total_size is wrong in too many files to be checked
      return;
    }
    found = true;
    reader.object('weight_map as an object of strings', (tensor) => {
      const shard = reader.string(`the shard of tensor ${quoted(tensor)} as a string`);
      if (!isShardName(shard)) {
        reader.fail(`tensor ${quoted(tensor)}: expected a plain file name ending in .safetensors, found ${quoted(shard)}`);
      }
      const tensors = shards.get(shard);
      if (tensors) tensors.push(tensor);
      else shards.set(shard, [tensor]);
    });
  });
  reader.end();
  if (!found) throw new InputError(`${source.name}: not a shard index: it has no weight_map`);
  if (shards.size === 0) throw new InputError(`${source.name}: its weight_map is empty`);
  return { name: source.name, shards: new Map([...shards].sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** Opens every shard and checks it against the index. Throws `InputError` naming the first tensor that is missing, misplaced or not listed. */
export async function readShards(
  index: ShardedIndex,
  openShard: (fileName: string) => Promise<ByteSource>,
): Promise<SafetensorsContents> {
  const contents = new Map<string, SafetensorsContents>();
  for (const shard of index.shards.keys()) contents.set(shard, await readSafetensors(await openShard(shard)));
  const tensors = new Map<string, StoredTensor>();
  const metadata = new Map<string, string>();
  for (const [shard, listed] of index.shards) {
    const held = contents.get(shard) as SafetensorsContents;
    for (const name of listed) {
      if (held.tensors.has(name)) continue;
      const elsewhere = [...contents].find(([, other]) => other.tensors.has(name))?.[0];
      const found = elsewhere ? `it is in ${quoted(elsewhere)}` : 'no shard holds it';
      throw new InputError(`${index.name}: tensor ${quoted(name)} is listed in shard ${quoted(shard)}, but ${found}`);
    }
    const names = new Set(listed);
    for (const [name, tensor] of held.tensors) {
      if (!names.has(name))
        throw new InputError(
          `${index.name}: shard ${quoted(shard)} holds tensor ${quoted(name)}, which the index does not list there`,
        );
      tensors.set(name, tensor);
    }
    for (const [key, value] of Object.entries(held.metadata)) metadata.set(key, value);
  }
  return { tensors, metadata: Object.fromEntries(metadata) };
}

/** Whether a shard may be called so: a name that cannot lead out of its directory, on any system. */
export function isShardName(name: string): boolean {
  return name.length <= 255 && name.endsWith('.safetensors') && !name.startsWith('.') && !/[/\\:\p{Cc}]/u.test(name);
}
