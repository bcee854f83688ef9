// Loading a model for a verb, with what the user should see of it on stderr: download progress, notices, and a bar when
// reading the weights takes a while on a terminal.

import { type Checkpoint, type DownloadOptions, load, type Model, openCheckpoint } from '../index.js';
import { type CacheNeeds, type OpenedModel, type OpenOptions, openModel as openModelParts } from '../open.js';
import type { ModelOptions } from './options.js';
import { type ProgressBar, progressBar } from './progress.js';
import type { Terminal } from './terminal.js';

/** Loads from this duration on are worth a bar. */
const slowMs = 700;

/** A loaded model and how long that took. */
export async function openModel(
  terminal: Terminal,
  options: ModelOptions & { readonly assistant?: string },
): Promise<{ model: Model; loadMs: number }> {
  const began = performance.now();
  const model = await withBar(terminal, options, (shown) =>
    load(options.model, {
      ...{ ...shown, context: options.context, cacheType: options.cacheType },
      ...{ slots: 1, assistant: options.assistant },
    }),
  );
  return { model, loadMs: performance.now() - began };
}

/** A model's parts, for verbs that have a cache of their own. */
export function openParts(terminal: Terminal, options: ModelOptions, cache: CacheNeeds): Promise<OpenedModel> {
  return withBar(terminal, options, (shown) => openModelParts(options.model, shown, cache));
}

async function withBar<T>(
  terminal: Terminal,
  { backend, gpu, arithmetic, dtype, activations, adapter, threads }: ModelOptions,
  open: (options: OpenOptions) => Promise<T>,
): Promise<T> {
  const began = performance.now();
  const bar = progressBar(terminal.stderr);
  const hub = hubOptions(bar);
  const onProgress = (done: number, total: number): void => {
    if (terminal.stderr.isTTY && performance.now() - began > slowMs) bar.update('loading', done, total);
  };
  try {
    return await open({
      backend,
      gpu,
      arithmetic,
      dtype,
      activations,
      adapter,
      threads,
      hub,
      onNotice: hub.onNotice,
      onProgress,
    });
  } finally {
    bar.finish();
  }
}

/** `openCheckpoint`, with its download on a bar. */
export function openShown(terminal: Terminal, name: string | undefined): Promise<Checkpoint> {
  const bar = progressBar(terminal.stderr);
  return openCheckpoint(name, hubOptions(bar)).finally(() => bar.finish());
}

/** Shows a download on the bar. */
export function hubOptions(bar: ProgressBar): DownloadOptions {
  return {
    onProgress: ({ file, overallReceivedBytes, overallTotalBytes }) => bar.update(file, overallReceivedBytes, overallTotalBytes),
    onNotice: (message) => bar.note(`openelm: ${message}`),
  };
}
