// `openelm/server`: a server of models without a socket. It joins the handler (server/) with opening models (open.ts); sockets,
// signals and the page's files are the command line's (app/serve.ts).

import { openAdapter } from './adapters.js';
import { openChatTemplate, openCheckpoint } from './checkpoint.js';
import { type LoadOptions, load, type Model } from './index.js';
import { templatesByName } from './infer/chat.js';
import { defaultChatModel, defaultModel } from './locate.js';
import { checkContext, countParameters, type ModelConfig } from './model/config.js';
import { checkWeights, kvBytesPerToken, memoryBytes } from './model/parameters.js';
import { createHandler, type Handler, type HandlerOptions } from './server/handler.js';
import type { ModelDetails, ModelSource } from './server/models.js';

export { ApiError } from './server/errors.js';
export { loopbackHosts } from './server/guard.js';
export type { Asset, Handler, HandlerOptions, RequestLog } from './server/handler.js';
export { createHandler } from './server/handler.js';
export type { ModelDetails, ModelSource, OpenModel } from './server/models.js';

/** Answers that share a model's steps, unless `slots` says otherwise. */
export const defaultServerSlots = 8;

/** A model to serve: a word as `load` takes it, or one with a name and options of its own. */
export interface ServedModel extends LoadOptions {
  readonly model?: string;
  /** What clients call it; default the word, or the last part of a path. */
  readonly name?: string;
}

/** What is served, and to whom. */
export interface ServerOptions extends Omit<HandlerOptions, 'models'> {
  /** Default the two models in the package: the one that tells stories by instruction, and the one that continues texts. */
  readonly models?: readonly (string | ServedModel | Model)[];
}

/**
 * A server for any runtime that calls `fetch(Request) -> Response`. Models are found now (those of the hub are downloaded) and
 * loaded when they are first asked for; one that is loaded already (`Model`) stays the caller's. Throws `InputError` on a model that
 * cannot be found or read, and on two of one name.
 */
export async function createServer(options: ServerOptions = {}): Promise<Handler> {
  const { models = [defaultChatModel, defaultModel], ...rest } = options;
  const sources: ModelSource[] = [];
  for (const model of models) {
    if (typeof model === 'string') sources.push(await sourceOf({ model }));
    else sources.push('engine' in model ? loadedSource(model) : await sourceOf(model));
  }
  return createHandler({ ...rest, models: sources });
}

/** A model that is loaded when it is asked for: its files are looked at now. */
export async function sourceOf({ model, name, ...options }: ServedModel): Promise<ModelSource> {
  const checkpoint = await openCheckpoint(model, { onNotice: options.onNotice, ...options.hub });
  const { config, place } = checkpoint;
  const files = await checkpoint.openWeights();
  const checked = await Promise.resolve()
    .then(() => checkWeights(config, files.tensors, place))
    .finally(() => files.close());
  const dtype = options.dtype ?? checked.dtype;
  const slots = options.slots ?? defaultServerSlots;
  const context = options.context ?? config.maxContextLength;
  checkContext(context, config);
  for (const directory of Object.values(options.adapters ?? {})) await openAdapter(directory, config);
  const cacheType = options.cacheType ?? (dtype === 'f32' ? 'f32' : 'f16');
  return {
    id: name ?? nameOf(checkpoint.name),
    bytes: memoryBytes(checked, options.dtype) + kvBytesPerToken(config, cacheType) * context * slots,
    slots,
    adapters: Object.keys(options.adapters ?? {}),
    created: now(),
    details: {
      ...detailsOf(config, dtype, context),
      template: templatesByName((await openChatTemplate(checkpoint)) ?? {}).default,
    },
    open: async () => {
      const loaded = await load(model, { ...options, slots });
      return { model: loaded, slots, close: () => loaded.dispose() };
    },
  };
}

function loadedSource(model: Model): ModelSource {
  const { checkpoint, weights, engine } = model;
  return {
    id: nameOf(checkpoint.name),
    bytes: weights.bytes,
    slots: engine.slotCount,
    created: now(),
    details: detailsOf(checkpoint.config, weights.dtype, engine.context),
    open: async () => ({ model, slots: engine.slotCount, close: async () => {} }),
  };
}

/** A hub id as it is; of a path its last part. */
function nameOf(word: string): string {
  if (/^[\w.-]+\/[\w.-]+$/.test(word)) return word;
  return word.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '') || word;
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}

function detailsOf(config: ModelConfig, dtype: string, context: number): ModelDetails {
  return { parameters: countParameters(config), dtype, context };
}
