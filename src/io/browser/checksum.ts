// The SHA-256 of a download, taken while it comes: read again afterwards it would be as long again.

import type { IHasher } from 'hash-wasm';

export class Checksum {
  private position = 0;
  private digest: string | undefined;

  private constructor(private readonly hasher: IHasher) {}

  /** Undefined where `wanted` is no SHA-256. */
  static async of(wanted: string | undefined): Promise<Checksum | undefined> {
    if (wanted?.length !== 64) return undefined;
    return new Checksum(await (await import('./hashes.js')).createSHA256());
  }

  /** The bytes at `at`; those that are not where the last ones ended are of no use, but for the first. */
  update(at: number, chunk: Uint8Array): void {
    if (at === 0) {
      this.hasher.init();
      this.position = 0;
      this.digest = undefined;
    }
    if (at !== this.position) return;
    this.hasher.update(chunk);
    this.position += chunk.length;
  }

  /** In hexadecimal; undefined where it has not seen all of so many bytes. */
  after(bytes: number): string | undefined {
    if (this.position !== bytes) return undefined;
    this.digest ??= this.hasher.digest('hex');
    return this.digest;
  }
}
