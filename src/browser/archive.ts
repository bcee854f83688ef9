// Files as one zip archive, made of their blobs without holding them in the heap. Fetched when it is first asked for (browser.ts).

import { bytesOf } from '../io/browser/blob-source.js';
import { writeZip } from '../io/zip.js';

/** Read, and summed up, so much at a time: a page goes on between two pieces. */
const pieceBytes = 1 << 20;

/** An archive with the files in a folder. Throws `InputError` where one cannot be read any more. */
export async function zipOf(folder: string, files: readonly File[]): Promise<Blob> {
  const parts: BlobPart[] = [];
  async function* pieces(file: File): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < file.size; at += pieceBytes) yield bytesOf(file.name, file.slice(at, at + pieceBytes));
  }
  const entries = files.map((file) => ({ name: `${folder}/${file.name}`, data: () => pieces(file) }));
  await writeZip({ write: async (chunk) => void parts.push(new Blob([chunk as BlobPart])) }, entries);
  return new Blob(parts, { type: 'application/zip' });
}
