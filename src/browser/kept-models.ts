// Whether a downloaded model is here whole, as a page can tell without a worker. How it came is model-files.ts's.

import { keptPlaces, type Place } from '../io/browser/place.js';
import { INDEX_FILE, WEIGHTS_FILE } from '../io/weights-files.js';
import { addressOf, type FileOptions, hubKey, isAddress } from './model-source.js';

/** Whether a model's weights are kept here whole. */
export async function isKept(source: string, { hub, keep }: FileOptions): Promise<boolean> {
  if (keep === false) return false;
  for await (const place of keptPlaces('openelm-models', isAddress(source) ? addressOf(source).base : hubKey(source, hub))) {
    if (await isWhole(place, WEIGHTS_FILE)) return true;
    const index =
      (await isWhole(place, INDEX_FILE)) && ((await jsonOf(place, INDEX_FILE)) as { weight_map?: Record<string, string> });
    const shards = new Set(Object.values(index ? (index.weight_map ?? {}) : {}));
    const whole = await Promise.all([...shards].map((name) => isWhole(place, name)));
    if (whole.length > 0 && whole.every(Boolean)) return true;
  }
  return false;
}

async function isWhole(place: Pick<Place, 'read'>, name: string): Promise<boolean> {
  return ((await jsonOf(place, `${name}.state`)) as { whole?: boolean } | undefined)?.whole === true;
}

async function jsonOf(place: Pick<Place, 'read'>, name: string): Promise<unknown> {
  try {
    return JSON.parse((await (await place.read(name))?.text()) ?? 'null') ?? undefined;
  } catch {
    return undefined;
  }
}
