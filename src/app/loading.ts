// Loading a model for a verb, with what the user should see of it on stderr: download progress, notices, and a bar when
// reading the weights takes a while on a terminal.

import type { DownloadOptions, Model } from '../index.js';
import { load } from '../index.js';
import type { ModelOptions } from './options.js';
import { type ProgressBar, progressBar } from './progress.js';
import type { Terminal } from './terminal.js';

/** Loads from this duration on are worth a bar. */
const slowMs = 700;

/** A loaded model and how long that took. */
export async function openModel(terminal: Terminal, options: ModelOptions): Promise<{ model: Model; loadMs: number }> {
  const began = performance.now();
  const bar = progressBar(terminal.stderr);
  try {
    const { model: name, ...rest } = options;
    const model = await load(name, {
      backend: rest.backend,
      dtype: rest.dtype,
      activations: rest.activations,
      threads: rest.threads,
      context: rest.context,
      hub: hubOptions(bar),
      onProgress: (done, total) => {
        if (terminal.stderr.isTTY && performance.now() - began > slowMs) bar.update('loading', done, total);
      },
    });
    return { model, loadMs: performance.now() - began };
  } finally {
    bar.finish();
  }
}

/** Shows a download on the bar. */
export function hubOptions(bar: ProgressBar): DownloadOptions {
  return {
    onProgress: ({ file, overallReceivedBytes, overallTotalBytes }) => bar.update(file, overallReceivedBytes, overallTotalBytes),
    onNotice: (message) => bar.note(`openelm: ${message}`),
  };
}
