// `LanguageModel`, browsers' Prompt API, on this package's engine: `installLanguageModel()` puts it where a browser has none, and code that
// is written for the browsers' own runs on. It joins the door of pages (browser.ts) and the interface (browser/language-model.ts).

import { type LanguageModelStatic, languageModelOver } from './browser/language-model.js';
import { isAddress } from './browser/model-source.js';
import { type LoadOptions, load, type ModelSource } from './browser.js';

export type { CreateMonitor } from './browser/create-monitor.js';
export type {
  Availability,
  LanguageModel,
  LanguageModelCreateOptions,
  LanguageModelParams,
  LanguageModelStatic,
} from './browser/language-model.js';
export type {
  LanguageModelCoreOptions,
  LanguageModelExpected,
  LanguageModelMessage,
  LanguageModelMessageContent,
  LanguageModelMessageRole,
  LanguageModelMessageType,
  LanguageModelPrompt,
  LanguageModelPromptOptions,
  SamplingMode,
} from './browser/prompt-input.js';

/** Which model answers, and how it is loaded. */
export interface LanguageModelSettings extends Omit<LoadOptions, 'signal' | 'onProgress'> {
  /** An address, a hub id, files or a folder, as `load` takes them; default the embedded model that was taught to answer (tales-6m-instruct). */
  readonly model?: ModelSource;
  /** BCP 47 tags of the languages that it reads and writes; default English. */
  readonly languages?: readonly string[];
}

// Each written out, so that bundlers see them and bring them along.
const embedded = {
  'config.json': new URL('../../models/tales-6m-instruct/config.json', import.meta.url).href,
  'model.safetensors': new URL('../../models/tales-6m-instruct/model.safetensors', import.meta.url).href,
  'tokenizer.model': new URL('../../models/tales-6m-instruct/tokenizer.model', import.meta.url).href,
  'chat_template.jinja': new URL('../../models/tales-6m-instruct/chat_template.jinja', import.meta.url).href,
};

/** A `LanguageModel` over a model, which all its sessions share; it is loaded for the first of them. */
export function languageModel({ model, languages = ['en'], ...options }: LanguageModelSettings = {}): LanguageModelStatic {
  const source = model ?? new URL('.', embedded['model.safetensors']).href;
  const settings: LoadOptions = { slots: 2, ...options, ...(model === undefined ? { files: embedded } : {}) };
  return languageModelOver({
    languages,
    missing: typeof WebAssembly === 'object' ? undefined : 'this browser has no WebAssembly, or it is turned off (Lockdown Mode)',
    async open({ signal, onProgress }) {
      const opened = await load(source, { ...settings, signal, onProgress });
      const contextWindow = settings.context ?? opened.config.maxContextLength;
      return Object.assign(opened, { contextWindow });
    },
    async isHere() {
      if (typeof source !== 'string') return true;
      const { isKept } = await import('./browser/kept-models.js');
      return isKept(isAddress(source) ? new URL(source, document.baseURI).href : source, settings);
    },
  });
}

/** Which model answers, and whether it does where the browser has one of its own. */
export interface InstallOptions extends LanguageModelSettings {
  /** Take the place of the browser's own too. */
  readonly force?: boolean;
}

/** Makes `LanguageModel` a global where there is none, and gives the one that is there then. */
export function installLanguageModel({ force = false, ...settings }: InstallOptions = {}): LanguageModelStatic {
  const place = globalThis as unknown as { LanguageModel?: LanguageModelStatic };
  if (force || place.LanguageModel === undefined) {
    const value = languageModel(settings);
    Object.defineProperty(globalThis, 'LanguageModel', { value, configurable: true, writable: true, enumerable: false });
  }
  return place.LanguageModel!;
}
