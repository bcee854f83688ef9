// What a training run shows: what it will do, the current step as one line that is drawn over itself on a terminal (in a file or a pipe a line a second at
// most: the log has each), and lines that stay: validation, samples, notes. What is in the lines is training-run.ts's.

import { counted, visible, visibleLines } from '../errors.js';
import { formatNumber } from './progress.js';
import type { Terminal } from './terminal.js';

/** Milliseconds from line to line where none is drawn over. */
const plainEvery = 1000;
const clear = '\r\u001b[2K';

/** Facts of a run, told before it starts: `steps    6 of 32 tokens`. Ends without a newline. */
export function planText(facts: readonly (readonly [name: string, text: string])[]): string {
  return facts.map(([name, text]) => `${name.padEnd(9)}${text}`).join('\n');
}

/** The facts that every run has last: what computes, on so many processes, and what it leaves. */
export function placeFacts(backend: string, processes: number, out: string, every: number): [name: string, text: string][] {
  return [
    ['backend', processes > 1 ? `${backend}, on each of ${counted(processes, 'rank')}` : backend],
    [
      'out',
      `${out}: settings in config.yaml, a line a step in log.jsonl, checkpoints every ${counted(every, 'step', formatNumber)}`,
    ],
  ];
}

export class TrainingScreen {
  /** What is not yet written of the current step: on a terminal the end of its line, elsewhere all of it. */
  private rest = '';
  private written = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly stdout: Terminal['stdout'],
    private readonly now = Date.now,
  ) {}

  /** The current step. */
  step(line: string): void {
    if (this.stdout.isTTY) {
      const width = (this.stdout.columns ?? 80) - 1;
      this.stdout.write(`${clear}${visible(line).slice(0, width)}`);
      this.rest = '\n';
    } else {
      this.rest = `${visible(line)}\n`;
      if (this.now() - this.written >= plainEvery) this.end();
    }
  }

  /** Something that stays; the step that it belongs to stays above it. */
  keep(text: string): void {
    this.end();
    this.stdout.write(`${visibleLines(text)}\n`);
  }

  /** Ends the line of the current step. */
  end(): void {
    if (this.rest === '') return;
    this.stdout.write(this.rest);
    this.rest = '';
    this.written = this.now();
  }
}
