// The models of this page (openelm/browser, in a worker): those that the server offers and those that came by themselves, one loaded at
// a time, for whichever tab asks. What is being loaded and what computes it shows above the question.

import type { BrowserModel, LoadOptions, ModelSource, PageTools } from '../browser.js';
import { element, reasonOf } from './elements.js';

/** A model that can be loaded. */
export interface Offered {
  readonly id: string;
  readonly source: ModelSource;
  readonly options?: LoadOptions;
  /** It was trained to go on with a text, not to answer. */
  readonly continues?: boolean;
}

type Door = typeof import('../browser.js');

const line = element('p', { className: 'computes' });
line.setAttribute('role', 'status');
document.querySelector('#composer')?.before(line);
const added: Offered[] = [];
let served: Promise<Offered[]> | undefined;
let loaded: { id: string; model: Promise<BrowserModel> } | undefined;

/** `openelm/browser` itself, and where its modules lie. */
export const wasm = new URL('openelm/wasm/', document.baseURI).href;
export function engine(): Promise<Door> {
  return import(new URL('openelm/bundle/browser.js', document.baseURI).href) as Promise<Door>;
}

/** Shapes in numbers and the measurement of speed: no worker, and no part of the door. */
export function tools(): Promise<PageTools> {
  return import(new URL('openelm/bundle/tools.js', document.baseURI).href) as Promise<PageTools>;
}

/** All that can be loaded; what was added comes first, the newest before all. */
export async function offered(): Promise<Offered[]> {
  served ??= listed();
  return [...added, ...(await served)];
}

/** Offers another model, in place of one of the same name, and has the chat choose it. */
export function offer(model: Offered): void {
  withdraw(model.id);
  added.unshift(model);
  document.dispatchEvent(new CustomEvent('models', { detail: model.id }));
}

/** Offers a model no longer; frees it if it is loaded. */
export function withdraw(id: string): void {
  const index = added.findIndex((model) => model.id === id);
  if (index < 0) return;
  added.splice(index, 1);
  if (loaded?.id === id) void release();
}

/** The loaded model, if any; one that is still loading is awaited. */
export function current(): Promise<BrowserModel> | undefined {
  return loaded?.model;
}

/** Its name. */
export function loadedId(): string | undefined {
  return loaded?.id;
}

/** A model by its name, loaded: one at a time, another takes its place. Throws `InputError` in one sentence. */
export function modelOf(id: string): Promise<BrowserModel> {
  if (loaded?.id === id) return loaded.model;
  const before = release();
  const starting = { id, model: before.then(() => open(id)) };
  loaded = starting;
  starting.model.catch((error) => {
    if (loaded !== starting) return;
    loaded = undefined;
    line.textContent = reasonOf(error);
  });
  return starting.model;
}

/** Frees the memory of the model that is loaded, if any. */
export async function release(): Promise<void> {
  const before = loaded;
  loaded = undefined;
  await before?.model.then((model) => model.dispose()).catch(() => undefined);
}

async function listed(): Promise<Offered[]> {
  const response = await fetch('models.json');
  const list = (await response.json()) as { id: string; address: string; files: string[] }[];
  return list.map(({ id, address, files }) => ({ id, source: `./${address}`, options: { files } }));
}

async function open(id: string): Promise<BrowserModel> {
  const found = (await offered()).find((model) => model.id === id);
  if (!found) throw new Error(`there is no model ${id}`);
  const { load } = await engine();
  line.title = '';
  const model = await load(found.source, {
    wasm,
    ...found.options,
    onProgress: ({ phase, bytes, total }) => {
      line.textContent = `${phase === 'download' ? 'Downloading' : 'Loading'} ${(bytes / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
    },
    onNotice: (message) => {
      line.title = message;
    },
  });
  line.textContent = `${model.backend.description}, ${model.weights.dtype}`;
  return model;
}
