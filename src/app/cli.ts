#!/usr/bin/env node
// The executable: this process as a terminal, and what happens when nobody reads the output, or when not even the program's own
// files can be opened. All else is main.ts.

import { fewFiles, isFewFiles } from './few-files.js';

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0); // the reader (`| head`) has enough
  const why = error.code === 'ENOSPC' ? 'the disk is full: free some space and try again' : error.message;
  process.stderr.write(`openelm: the output cannot be written: ${why}\n`);
  process.exit(1);
});
process.stderr.on('error', () => {}); // nobody left to tell

const { main } = await import('./main.js').catch((error: NodeJS.ErrnoException) => {
  if (!isFewFiles(error)) throw error;
  process.stderr.write(`openelm: ${fewFiles}\n`);
  process.exit(1);
});

process.exitCode = await main(process.argv.slice(2), {
  // stdin is opened when it is asked for
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  onInterrupt(listener) {
    process.on('SIGINT', listener);
    return () => process.off('SIGINT', listener);
  },
});
