// What a training run shows: the current step as one line that is drawn over itself on a terminal (a line a step in a file or a pipe),
// and lines that stay: validation, samples, notes. What is in the lines is training-run.ts's.

import { visible, visibleLines } from '../errors.js';
import type { Terminal } from './terminal.js';

const clear = '\r\u001b[2K';

export class TrainingScreen {
  /** Whether the last thing on the terminal is a line that the next step replaces. */
  private drawn = false;

  constructor(private readonly stdout: Terminal['stdout']) {}

  /** The current step. */
  step(line: string): void {
    if (!this.stdout.isTTY) {
      this.stdout.write(`${visible(line)}\n`);
      return;
    }
    const width = (this.stdout.columns ?? 80) - 1;
    this.stdout.write(`${clear}${visible(line).slice(0, width)}`);
    this.drawn = true;
  }

  /** Something that stays; the step that it belongs to stays above it. */
  keep(text: string): void {
    this.end();
    this.stdout.write(`${visibleLines(text)}\n`);
  }

  /** Ends the line of the current step. */
  end(): void {
    if (this.drawn) this.stdout.write('\n');
    this.drawn = false;
  }
}
