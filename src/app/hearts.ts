// Whether processes that train together go on: each changes a file of its own in the run's directory now and then, and who waits too
// long for the others looks whose does not change any more. For those of other machines too, and for those that were stopped; a
// process that died on this machine is noticed sooner (ranks-run.ts).

import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory } from '../io/node/files.js';

const folder = '.hearts';

export class Hearts {
  private beats = 0;
  private beganAt = Number.NEGATIVE_INFINITY;
  private lastAt = Number.NEGATIVE_INFINITY;
  private lookedAt = Number.NEGATIVE_INFINITY;
  /** What the others' files said when they last said something else than before, and when that was. */
  private readonly seen = new Map<number, { readonly text: string; readonly since: number }>();

  /** `seconds`: after which one that shows no life hangs. */
  constructor(
    private readonly directory: string,
    private readonly rank: number,
    private readonly size: number,
    readonly seconds: number,
  ) {}

  /** Removes what an older run left. By one process, before the others begin. */
  static async prepare(directory: string): Promise<void> {
    await rm(join(directory, folder), { recursive: true, force: true });
    await makeDirectory(join(directory, folder));
  }

  /** By one process, when the run is over. */
  async remove(): Promise<void> {
    await rm(join(this.directory, folder), { recursive: true, force: true }).catch(() => {}); // the next run does
  }

  /** To be called again and again: shows life, and returns who hangs, once this process has waited for the others as long. */
  async look(waited: number): Promise<readonly number[]> {
    const now = performance.now() / 1000;
    const { seconds } = this;
    if (now - this.beganAt >= seconds / 4) {
      this.beganAt = now;
      await writeFile(join(this.directory, folder, String(this.rank)), String(++this.beats)).then(
        () => (this.lastAt = performance.now() / 1000),
        () => {}, // a directory that is away for a while: then nobody is judged
      );
    }
    if (waited < seconds / 2) {
      this.seen.clear();
      return [];
    }
    // Those who cannot write are seen by none, and cannot judge.
    if (now - this.lookedAt < seconds / 8 || now - this.lastAt > seconds / 2) return [];
    this.lookedAt = now;
    const silent: number[] = [];
    for (let rank = 0; rank < this.size; rank++) {
      if (rank === this.rank) continue;
      const text = await readFile(join(this.directory, folder, String(rank)), 'utf8').catch(() => undefined);
      const before = this.seen.get(rank);
      if (text === undefined) continue;
      if (before?.text !== text) this.seen.set(rank, { text, since: now });
      else if (now - before.since >= seconds / 2) silent.push(rank);
    }
    return silent;
  }
}
