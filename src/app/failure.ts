// What a failure is to whoever called: one sentence on stderr, and an exit code. Who it is thrown to is main.ts's.

import { CommanderError } from 'commander';
import { InputError, messageOf, type OptionNamer } from '../errors.js';
import { ExecutionError, isOutOfMemory } from '../tensor/execution.js';
import { fewFiles, isFewFiles } from './few-files.js';
import { Interrupted, type Terminal, ToldAlready, tell, UsageError } from './terminal.js';

/** Says on stderr what went wrong and returns the exit code. */
export function tellFailure(error: unknown, terminal: Terminal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has written its message already
  if (error instanceof Interrupted) return error.code;
  if (error instanceof ToldAlready) return error.code;
  const debug = Boolean(process.env.OPENELM_DEBUG);
  if (debug && error instanceof Error) for (const line of (error.stack ?? '').split('\n')) tell(terminal, line);
  if (error instanceof UsageError) {
    tell(terminal, oneLine(error.message));
    return 2;
  }
  const message = oneLine(sentenceOf(error));
  if (error instanceof InputError) tell(terminal, message);
  else if (isFewFiles(error)) tell(terminal, fewFiles);
  else if (error instanceof ExecutionError && error.code === 'device-lost') tell(terminal, message);
  else if (isOutOfMemory(error)) tell(terminal, `${message}; try a smaller --dtype (q8, q4) or --context`);
  else tell(terminal, `${message} (a defect of this program${debug ? '' : '; OPENELM_DEBUG=1 shows where'})`);
  return 1;
}

/** What ended a training, as its user should hear it: how it goes on after its GPU was lost, and what takes less memory than `rows` did. */
export function trainingFailure(error: unknown, rows: string, besides = ''): unknown {
  if (error instanceof ExecutionError && error.code === 'device-lost')
    return new InputError(
      'the GPU was lost: its driver was reset, or the system took it away; --resume goes on from the last checkpoint',
    );
  if (!isOutOfMemory(error)) return error;
  return new InputError(
    `not enough memory for ${rows}: lower batch_size and raise accumulation, ${besides}or set activation_storage: int16 or activation_checkpointing`,
  );
}

/** The message of what was thrown, with options as they are on the command line. */
export function sentenceOf(error: unknown): string {
  return error instanceof InputError ? error.naming(asFlag) : messageOf(error);
}

/** `--cache-type`, or `--cache-type q8`. */
const asFlag: OptionNamer = (option, value) => {
  const flag = `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  return value === undefined || value === true ? flag : `${flag} ${value}`;
};

export function oneLine(text: string): string {
  return text.trim().replace(/\s*[\r\n]+\s*/g, ' ');
}
