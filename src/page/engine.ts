// The models of this page (openelm/browser, in a worker): those that the server offers and those that came by themselves, one loaded at
// a time, for whichever tab asks. What is being loaded and what computes it shows above the question.

import {
  type BrowserModel,
  keptTrainings,
  type LoadOptions,
  load,
  type ModelSource,
  type PageTools,
  trainedModel,
} from '../browser.js';
import { button, element, reasonOf } from './elements.js';
import { fetchedFile, imported, jsonOf } from './fetched.js';
import { tell } from './notices.js';

/** A model that can be loaded. */
export interface Offered {
  readonly id: string;
  readonly source: ModelSource | (() => Promise<ModelSource>);
  readonly options?: LoadOptions;
  /** It was trained to go on with a text, not to answer. */
  readonly continues?: boolean;
}

interface Loaded {
  readonly id: string;
  readonly model: Promise<BrowserModel>;
  readonly opening: AbortController;
  /** Once it is there. */
  there?: BrowserModel;
}

const fetching = 'Fetching what computes…';
const line = element('p', { className: 'computes' }, fetching);
line.setAttribute('role', 'status');
document.querySelector('#composer')?.before(line);
const added: Offered[] = [];
let served: Promise<Offered[]> | undefined;
let loaded: Loaded | undefined;
/** What was to be loaded, and was not. */
let failed: string | undefined;

/** Where the modules of openelm/browser and its worker lie. */
const here = (path: string): string => new URL(`openelm/${path}`, document.baseURI).href;
export const places = { wasm: here('wasm/'), worker: here('bundle/worker.js') };

/** Shapes in numbers and the measurement of speed: no worker, and no part of the door. */
export function tools(): Promise<PageTools> {
  return imported(() => import(here('bundle/tools.js')) as Promise<PageTools>);
}

/** All that can be loaded: what was added, the newest first, what the server has, what was trained here. */
export async function offered(): Promise<Offered[]> {
  served ??= listed().catch((error: unknown) => {
    served = undefined; // asked again the next time
    throw error;
  });
  const [there, kept] = await Promise.all([served, trained()]);
  const all = [...added, ...there, ...kept];
  return all.filter(({ id }, i) => all.findIndex((other) => other.id === id) === i);
}

/** Offers another model, in place of one of the same name, and has the chat choose it. */
export function offer(model: Offered): void {
  forget(model.id);
  added.unshift(model);
  choose(model.id);
}

/** Loads another model and offers it then. Throws `InputError` in one sentence, or the signal's reason, and the chat has what it had. */
export async function offerLoaded(model: Offered, onProgress: (words: string) => void, signal: AbortSignal): Promise<void> {
  forget(model.id);
  added.unshift(model);
  signal.addEventListener('abort', () => forget(model.id));
  const observer = new MutationObserver(() => onProgress(line.textContent ?? ''));
  observer.observe(line, { childList: true });
  try {
    await modelOf(model.id);
  } catch (error) {
    forget(model.id);
    line.textContent = '';
    throw error;
  } finally {
    observer.disconnect();
  }
  choose(model.id);
}

/** Nothing is loaded for now, so nothing is said of it. */
export function waits(): void {
  if (!loaded) line.textContent = '';
}

/** Tells the chat that there are other models than before, and which to take. */
function choose(id?: string): void {
  document.dispatchEvent(new CustomEvent('models', { detail: id }));
}

/** Whether a model goes on with a text, rather than answers: by what is known of it, its chat template, its name. */
export async function continues(id: string): Promise<boolean> {
  const told = (await offered()).find((model) => model.id === id)?.continues;
  return told ?? !((await modelOf(id)).hasChatTemplate || /instruct|chat/i.test(id));
}

/** Offers a model no longer; frees it if it is loaded. */
export function withdraw(id: string): void {
  forget(id);
  choose();
}

function forget(id: string): void {
  const index = added.findIndex((model) => model.id === id);
  if (index >= 0) added.splice(index, 1);
  if (loaded?.id === id) void release();
}

/** The loaded model, if any; one that is still loading is awaited. */
export function current(): Promise<BrowserModel> | undefined {
  return loaded?.model;
}

/** Whether it is this one, and not put away. */
export function isLoaded(model: BrowserModel): boolean {
  return loaded?.there === model;
}

/** Its name. */
export function loadedId(): string | undefined {
  return loaded?.id;
}

/** A model by its name, loaded, anew where its worker failed: one at a time, another takes its place. Throws `InputError` in one sentence. */
export function modelOf(id: string): Promise<BrowserModel> {
  if (loaded?.id === id && !loaded.there?.isLost) return loaded.model;
  const before = release();
  const opening = new AbortController();
  const starting: Loaded = { id, model: before.then(() => open(id, opening.signal)), opening };
  loaded = starting;
  const here = (model: BrowserModel): void => {
    starting.there = model;
  };
  starting.model.then(here, (error) => {
    if (loaded !== starting) return;
    loaded = undefined;
    line.replaceChildren(
      reasonOf(error),
      ' ',
      button('Try again', () => again(id)),
    );
    failed = id;
  });
  failed = undefined;
  line.replaceChildren(fetching);
  return starting.model;
}

/** What could not be loaded is tried again when it is wanted, or the network is back. */
function again(id: string): void {
  void modelOf(id).catch(() => undefined); // the line tells
}
addEventListener('online', () => failed !== undefined && !loaded && again(failed));

/** The loaded model, else the first that there is. Throws as `modelOf`. */
export async function anyModel(): Promise<BrowserModel> {
  const [first] = loaded ? [loaded] : await offered();
  return modelOf(first?.id ?? '');
}

/** Frees the memory of the model that is loaded, if any; one that is on its way comes no further. */
export async function release(): Promise<void> {
  const before = loaded;
  loaded = undefined;
  before?.opening.abort(new Error(`${before.id} was put away for another model`));
  await before?.model.then((model) => model.dispose()).catch(() => undefined);
}

async function listed(): Promise<Offered[]> {
  const list = await jsonOf<{ id: string; address: string; files: string[] }[]>(await fetchedFile('models.json'));
  return list.map(({ id, address, files }) => ({ id, source: `./${address}`, options: { files } }));
}

async function trained(): Promise<Offered[]> {
  const source = (name: string) => async (): Promise<ModelSource> => {
    const files = await trainedModel(name);
    if (!files) throw new Error(`${name} is kept no longer`);
    return files;
  };
  const kept = await keptTrainings();
  return kept.filter(({ step }) => step > 0).map(({ name }) => ({ id: name, source: source(name), continues: true }));
}

async function open(id: string, signal: AbortSignal): Promise<BrowserModel> {
  const found = (await offered()).find((model) => model.id === id);
  if (!found)
    throw new Error(id === '' ? 'there is no model yet: open one in Chat, with +' : `${id} is not here any more: choose another`);
  signal.throwIfAborted();
  tell('model', undefined);
  const model = await load(typeof found.source === 'function' ? await found.source() : found.source, {
    ...places,
    ...found.options,
    signal,
    onProgress: ({ phase, bytes, total }) => {
      const doing = phase === 'download' ? 'Downloading' : 'Loading';
      line.textContent = total < 1e5 ? `${doing}…` : `${doing} ${(bytes / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
    },
    onNotice: (message) => tell('model', message),
  });
  showComputing(model);
  return model;
}

/** What computes a model, and why. */
export function showComputing({ backend, weights }: BrowserModel): void {
  const text = `${backend.description}, ${weights.dtype}`;
  const why = element('span', { className: 'why' }, ` · ${backend.reason}`);
  if (line.firstChild?.textContent !== text) line.replaceChildren(text, ...(backend.reason === '' ? [] : [why]));
}
