// What a verb has of the world: its streams and Ctrl-C. Passed in, so that a test can be the terminal. Reading text from
// stdin and from files is here too, and the ways to write a line, so that what comes from outside cannot steer a terminal.

import type { Readable, Writable } from 'node:stream';
import { InputError, visible, visibleLines } from '../errors.js';
import { openFile } from '../io/node/files.js';

export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  /** Results only. */
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** Progress, notices and errors. */
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** Calls back at Ctrl-C, which then no longer ends the process; returns what takes the listener away. */
  onInterrupt(listener: () => void): () => void;
}

/** Ended by Ctrl-C (or SIGTERM): nothing to report but the exit code, 128 and the signal's number. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';

  constructor(readonly code = interruptedCode) {
    super('interrupted');
  }
}

/** A failure that another process of the same run has told; the exit code. */
export class ToldAlready extends Error {
  override readonly name = 'ToldAlready';

  constructor(readonly code: number) {
    super('told already');
  }
}

/** A call that makes no sense, whatever the input: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The exit code of a program that Ctrl-C ended: 128 + SIGINT. */
export const interruptedCode = 130;
/** 128 + SIGTERM. */
const terminatedCode = 143;

/**
 * Runs `work` with a signal that the next Ctrl-C aborts; a second one ends the process if the work does not end before. Where the work
 * `writes` files that are not to stay half written, so does SIGTERM, unless another part of the program looks after it.
 */
export async function interruptible<T>(
  terminal: Terminal,
  work: (signal: AbortSignal) => Promise<T>,
  { writes = false }: { readonly writes?: boolean } = {},
): Promise<T> {
  const controller = new AbortController();
  let code = interruptedCode;
  const abort = (): void => {
    forget();
    controller.abort();
  };
  const onTerminate = (): void => {
    code = terminatedCode;
    abort();
  };
  const forgetInterrupt = terminal.onInterrupt(abort);
  const forget = (): void => {
    forgetInterrupt();
    process.off('SIGTERM', onTerminate);
  };
  if (writes && process.listenerCount('SIGTERM') === 0) process.on('SIGTERM', onTerminate);
  try {
    return await work(controller.signal);
  } catch (error) {
    throw controller.signal.aborted ? new Interrupted(code) : error;
  } finally {
    forget();
  }
}

/** Resolves at the next Ctrl-C, which then ends nothing else. */
export function untilInterrupted(terminal: Terminal): Promise<void> {
  return new Promise((resolve) => {
    const forget = terminal.onInterrupt(() => {
      forget();
      resolve();
    });
  });
}

const maxTextBytes = 256 << 20;

/** All of stdin as text, less one newline at the end (`echo` adds it). Throws `InputError` when it is not UTF-8, or too large. */
export async function readStdin({ stdin }: Terminal): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of stdin) {
    const data = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Uint8Array);
    bytes += data.length;
    if (bytes > maxTextBytes) throw new InputError(`stdin: more than ${maxTextBytes} bytes of text`);
    chunks.push(data);
  }
  return decode(Buffer.concat(chunks), 'stdin').replace(/\r?\n$/, '');
}

/**
 * The text a verb works on: its argument, or stdin when that is `-` or absent. Throws `UsageError` when there is neither, and
 * `InputError` on an empty text; `what` names it.
 */
export async function textArgument(terminal: Terminal, argument: string | undefined, what: string): Promise<string> {
  if (argument === undefined && terminal.stdin.isTTY) throw new UsageError(`no ${what}: give it as an argument or on stdin`);
  const text = argument === undefined || argument === '-' ? await readStdin(terminal) : argument;
  if (text === '') throw new InputError(`the ${what} is empty: give at least one character`);
  return text;
}

/** A text file that is read piece by piece. */
interface TextFile {
  /** In bytes; what was read of it so far. */
  readonly size: number;
  readonly done: number;
  /** From the beginning, each time. Throws `InputError` when it is not UTF-8. */
  pieces(): AsyncIterable<string>;
  close(): Promise<void>;
}

const pieceBytes = 1 << 20;

/** Opens a text file of any size. Throws `InputError` when it is missing or unreadable. */
export async function openTextFile(path: string): Promise<TextFile> {
  const source = await openFile(path);
  let done = 0;
  return {
    size: source.size,
    get done() {
      return done;
    },
    async *pieces() {
      const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
      for (done = 0; done < source.size; ) {
        const bytes = await source.read(done, Math.min(pieceBytes, source.size - done));
        done += bytes.length;
        yield decode(bytes, path, decoder, done < source.size);
      }
    },
    close: () => source.close(),
  };
}

/** A text file, as it is. Throws `InputError` when it is missing, not UTF-8, or too large. */
export async function readTextFile(path: string): Promise<string> {
  const source = await openFile(path);
  try {
    if (source.size > maxTextBytes) throw new InputError(`${path}: ${source.size} bytes; at most ${maxTextBytes} are read`);
    return decode(await source.read(0, source.size), path);
  } finally {
    await source.close();
  }
}

function decode(
  bytes: Uint8Array,
  where: string,
  decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }),
  stream = false,
): string {
  try {
    return decoder.decode(bytes, { stream });
  } catch {
    throw new InputError(`${where}: not text in UTF-8`);
  }
}

/** One object, the only thing on stdout. Its strings are unchanged: `visible` writes JSON's own escapes. */
export function writeJson({ stdout }: Terminal, value: unknown): void {
  stdout.write(`${visible(JSON.stringify(value))}\n`);
}

/** A notice: one line on stderr in the program's name, whatever characters its paths, names and messages from outside have. */
export function tell({ stderr }: Terminal, text: string): void {
  stderr.write(`openelm: ${visible(text)}\n`);
}

/** One line of a result on stdout, its control characters shown. Not for what a model writes, which stays as it is. */
export function writeLine({ stdout }: Terminal, text: string): void {
  stdout.write(`${visible(text)}\n`);
}

/** Several lines of a result on stdout, their other control characters shown. */
export function writeLines({ stdout }: Terminal, text: string): void {
  stdout.write(`${visibleLines(text)}\n`);
}
