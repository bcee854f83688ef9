// The log of a training run: one JSON object a line, appended as things happen, read by `openelm plot`. Going on from a
// checkpoint drops the lines after it, so a run's log has each step once.

import { appendFile, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Means } from '../../train/objective.js';
import type { StepReport, ValidationReport } from '../../train/trainer.js';
import { fileError, isMissing, writeWhole } from './files.js';
import { readIfThere } from './paths.js';

export const LOG_FILE = 'log.jsonl';

/** A report with its means beside its other numbers: `loss`, and whatever else the objective names. */
type Flat<Report extends { readonly means: Means }> = Omit<Report, 'means'> & Pick<Means, 'loss'> & Numbers;
type Numbers = { readonly [name: string]: unknown };

/** A line of a run's `log.jsonl`. */
export type LogLine =
  | ({ readonly type: 'step' } & Flat<StepReport>)
  | ({ readonly type: 'validation' } & Flat<ValidationReport>)
  | { readonly type: 'checkpoint'; readonly step: number; readonly path: string }
  | { readonly type: 'sample'; readonly step: number; readonly prompt: string; readonly text: string };

/** A run's log, to be written. */
export class RunLog {
  private constructor(private readonly path: string) {}

  /** Opens a run's log, keeping what was written up to a step. Throws `InputError` when it cannot be written. */
  static async open(directory: string, upTo: number): Promise<RunLog> {
    const path = join(directory, LOG_FILE);
    // Whole lines as they are, those that say nothing here included; a last one that was cut is what a kill left.
    const text = new TextDecoder().decode((await readIfThere(path, Number.POSITIVE_INFINITY)) ?? new Uint8Array());
    const whole = text.split('\n').slice(0, -1);
    const kept = upTo === 0 ? [] : whole.filter((line) => parsed(line).every(({ step }) => step <= upTo));
    await writeWhole(path, kept.map((line) => `${line}\n`).join(''));
    return new RunLog(path);
  }

  async write(line: LogLine): Promise<void> {
    try {
      await appendFile(this.path, lineOf(line));
    } catch (error) {
      throw fileError(error, this.path, 'write');
    }
  }
}

/** The lines of a run's log; none when it has none. A last line that a killed run left half written is passed over. */
export async function readLog(directory: string): Promise<readonly LogLine[]> {
  return new LogFollower(directory).read();
}

const newline = 10;
const pieceBytes = 16 << 20;

/** Reads a run's log while it is written: from the file only what was added, up to the last line that is whole. */
export class LogFollower {
  readonly path: string;
  private lines: readonly LogLine[] = [];
  private file = -1; // a log that was replaced is another file, or a shorter one
  private end = 0;

  constructor(directory: string) {
    this.path = join(directory, LOG_FILE);
  }

  /** All lines so far, none when there is no log: the same array as before if nothing was added. Not to be called twice at once. */
  async read(): Promise<readonly LogLine[]> {
    try {
      const handle = await open(this.path, 'r');
      try {
        const { ino, size } = await handle.stat();
        if (ino !== this.file || size < this.end) {
          this.file = ino;
          this.end = 0;
          this.lines = [];
        }
        while (this.end < size && (await this.take(handle, Math.min(size - this.end, pieceBytes))));
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!isMissing(error)) throw fileError(error, this.path, 'read');
      this.file = -1;
      if (this.lines.length > 0) this.lines = [];
    }
    return this.lines;
  }

  /** Takes the whole lines among the next bytes; false when there is none. */
  private async take(handle: FileHandle, length: number): Promise<boolean> {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, this.end);
    const whole = buffer.subarray(0, buffer.subarray(0, bytesRead).lastIndexOf(newline) + 1);
    this.end += whole.length;
    const added = whole.toString('utf8').split('\n').flatMap(parsed);
    if (added.length > 0) this.lines = [...this.lines, ...added];
    return whole.length > 0;
  }
}

function parsed(line: string): LogLine[] {
  try {
    const value = JSON.parse(line) as LogLine | null;
    return value && Number.isSafeInteger(value.step) ? [value] : [];
  } catch {
    return [];
  }
}

function lineOf(line: LogLine): string {
  return `${JSON.stringify(line)}\n`;
}
