// Whether a downloaded model is here whole, as a page can tell without a worker. How it came is model-files.ts's.

import { keptPlaces } from '../io/browser/kept-places.js';
import { type Place, readJson, stateName } from '../io/browser/place.js';
import { onlyModelFile, readListing, repoFile } from '../io/hub-listing.js';
import { INDEX_FILE, WEIGHTS_FILE } from '../io/weights-files.js';
import { addressOf, type FileOptions, hubKey, isAddress } from './model-source.js';

/** Whether a model's weights are kept here whole. */
export async function isKept(source: string, { hub, keep }: FileOptions): Promise<boolean> {
  if (keep === false) return false;
  const { repoId, file } = repoFile(source) ?? { repoId: source };
  const { base: key, single: named } = isAddress(source) ? addressOf(source) : { base: hubKey(repoId, hub), single: file };
  for await (const place of keptPlaces('openelm-models', key)) {
    const single = named ?? (await singleOf(place, repoId));
    if (await isWhole(place, single ?? WEIGHTS_FILE)) return true;
    if (single !== undefined) continue;
    const index =
      (await isWhole(place, INDEX_FILE)) && ((await jsonOf(place, INDEX_FILE)) as { weight_map?: Record<string, string> });
    const shards = new Set(Object.values(index ? (index.weight_map ?? {}) : {}));
    const whole = await Promise.all([...shards].map((name) => isWhole(place, name)));
    if (whole.length > 0 && whole.every(Boolean)) return true;
  }
  return false;
}

/** The one file that a hub's model is, by what the hub said last. */
async function singleOf(place: Pick<Place, 'read'>, repoId: string): Promise<string | undefined> {
  const listing = await jsonOf(place, 'listing.json');
  try {
    return listing === undefined ? undefined : onlyModelFile(readListing(listing, 'listing.json'), repoId);
  } catch {
    return undefined; // there are several: none was named
  }
}

async function isWhole(place: Pick<Place, 'read'>, name: string): Promise<boolean> {
  return ((await jsonOf(place, stateName(name))) as { whole?: boolean } | undefined)?.whole === true;
}

function jsonOf(place: Pick<Place, 'read'>, name: string): Promise<unknown> {
  return readJson(place, name).catch(() => undefined);
}
