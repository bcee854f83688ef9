// The log of a training run: one JSON object a line, appended as things happen, read by `openelm plot`. Going on from a
// checkpoint drops the lines after it, so a run's log has each step once.

import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError, isMissing, writeAtomic } from '../io/node/files.js';
import { readIfThere } from '../io/node/paths.js';
import type { StepReport, ValidationReport } from '../train/trainer.js';

export const LOG_FILE = 'log.jsonl';

export type LogLine =
  | ({ readonly type: 'step' } & StepReport)
  | ({ readonly type: 'validation' } & ValidationReport)
  | { readonly type: 'checkpoint'; readonly step: number; readonly path: string }
  | { readonly type: 'sample'; readonly step: number; readonly prompt: string; readonly text: string };

/** A run's log, to be written. */
export class RunLog {
  private constructor(private readonly path: string) {}

  /** Opens a run's log, keeping what was written up to a step. Throws `InputError` when it cannot be written. */
  static async open(directory: string, upTo: number): Promise<RunLog> {
    const path = join(directory, LOG_FILE);
    const kept = (await readLog(directory)).filter(({ step }) => step <= upTo);
    await writeAtomic(path, (sink) => sink.write(new TextEncoder().encode(kept.map(lineOf).join(''))));
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
export async function readLog(directory: string): Promise<LogLine[]> {
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readIfThere(join(directory, LOG_FILE), 1 << 30);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return new TextDecoder()
    .decode(bytes)
    .split('\n')
    .flatMap((line) => {
      try {
        const value = JSON.parse(line) as LogLine | null;
        return value && Number.isSafeInteger(value.step) ? [value] : [];
      } catch {
        return [];
      }
    });
}

function lineOf(line: LogLine): string {
  return `${JSON.stringify(line)}\n`;
}
