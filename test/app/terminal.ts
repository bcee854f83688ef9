// A terminal for tests: what goes in is given, what comes out is kept, and Ctrl-C can be pressed.

import { PassThrough, Readable, Writable } from 'node:stream';
import { main } from '../../src/app/main.js';
import type { Terminal } from '../../src/app/terminal.js';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Given {
  /** What is piped in; undefined: a terminal at which nobody types. */
  readonly stdin?: string | Uint8Array | Readable;
  /** Whether stdout is a terminal, where each step of a training run is drawn. */
  readonly isTTY?: boolean;
  /** Called with what was just written to stdout; may press Ctrl-C. */
  readonly onOutput?: (text: string, interrupt: () => void) => void;
  /** The same of stderr. */
  readonly onNotice?: (text: string, interrupt: () => void) => void;
  /** Called when a verb begins to listen to Ctrl-C. */
  readonly onListen?: (interrupt: () => void) => void;
}

/** Runs a command line in this process. */
export async function run(argv: readonly string[], { stdin, isTTY, onOutput, onNotice, onListen }: Given = {}): Promise<Outcome> {
  const listeners = new Set<() => void>();
  const interrupt = (): void => {
    for (const listener of listeners) listener();
  };
  const written = { stdout: '', stderr: '' };
  const stream = (name: keyof typeof written): Writable =>
    new Writable({
      decodeStrings: false,
      write(chunk: string, _encoding, done) {
        written[name] += chunk;
        (name === 'stdout' ? onOutput : onNotice)?.(chunk, interrupt);
        done();
      },
    });
  const terminal: Terminal = {
    stdin: stdinOf(stdin),
    stdout: Object.assign(stream('stdout'), { isTTY }),
    stderr: stream('stderr'),
    onInterrupt(listener) {
      listeners.add(listener);
      onListen?.(interrupt);
      return () => listeners.delete(listener);
    },
  };
  const code = await main(argv, terminal);
  return { code, ...written };
}

function stdinOf(given: Given['stdin']): Terminal['stdin'] {
  if (given === undefined) return Object.assign(new PassThrough(), { isTTY: true });
  return given instanceof Readable ? given : Readable.from([Buffer.from(given)]);
}
