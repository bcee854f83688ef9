// The place that a worker writes files into: private files that can be written at once, else Cache storage, else memory. Pages only ask what
// is kept (kept-places.ts), and need none of this.

import { messageOf } from '../../errors.js';
import { blobFiles, cacheName, folderOf, keptFiles, type PlaceRoot, privateFiles, type SyncFile } from './kept-places.js';
import { isOpenElsewhere, type Place } from './place.js';

/** The place of what `key` names, in a worker. `notKept` is told why it is memory, if it is. */
export async function openPlace(root: PlaceRoot, key: string, notKept: (reason: string) => void): Promise<Place> {
  try {
    return await privatePlace(root, key);
  } catch (error) {
    const { filesInCache, filesInMemory } = await blobFiles();
    try {
      const cached = filesInCache(cacheName(root, key));
      await cached.write('.probe', ''); // a private window, or a site without room, has caches that take nothing
      return cached;
    } catch {
      notKept(messageOf(error));
      return filesInMemory();
    }
  }
}

/** Throws where there are no private files that can be written at once. */
async function privatePlace(root: PlaceRoot, key: string): Promise<Place> {
  const make = async (): Promise<FileSystemDirectoryHandle> => {
    const places = await (await privateFiles()).getDirectoryHandle(root, { create: true });
    return places.getDirectoryHandle(folderOf(key), { create: true });
  };
  const folder = await make();
  const probe: SyncFile = await folder.getFileHandle('.probe', { create: true });
  if (!probe.createSyncAccessHandle) throw new Error('its private files cannot be written here');
  await probe.createSyncAccessHandle().then(
    async (handle) => {
      const isSync = typeof handle.getSize() === 'number'; // before Chrome 108 and Safari 16.4 it was a promise
      await handle.close();
      if (!isSync) throw new Error('its private files cannot be written at once');
    },
    (error: unknown) => {
      if (!isOpenElsewhere(error)) throw error; // another tab tries the same: it can be opened, then
    },
  );
  return keptFiles(folder, make);
}
