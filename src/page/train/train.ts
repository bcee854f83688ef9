// The Train tab: a text becomes a model in this very page. Who trains when, what is kept of it, and what is done with it; what is asked
// beforehand is setup.ts's, what is seen meanwhile run.ts's.

import {
  type ContinueOptions,
  continueTraining,
  estimateTraining,
  foreignTrainings,
  type KeptTraining,
  keptTrainings,
  removeTraining,
  runningTrainings,
  type TrainOptions,
  type TrainResult,
  train,
  trainedModel,
  zipOf,
} from '../../browser.js';
import { takeDrops } from '../drops.js';
import { button, element, reasonOf, saveFile } from '../elements.js';
import { offer, places, withdraw } from '../engine.js';
import { ago, counted, short, whole } from '../format.js';
import { RunView } from './run.js';
import { setup } from './setup.js';
import { rememberSpeed } from './sizes.js';

/** The training that is looked at. */
interface Training {
  readonly name: string;
  readonly options: KeptTraining['options'];
  /** Aborted: it pauses. */
  running?: AbortController;
  /** Its last result, of this visit. */
  result?: TrainResult;
}

type PickFolder = (options: { mode: 'readwrite' }) => Promise<FileSystemDirectoryHandle>;
const pickFolder = (globalThis as { showDirectoryPicker?: PickFolder }).showDirectoryPicker?.bind(globalThis);

const tab = document.querySelector('#tabs [href="#train"]')!;
const usualName = tab.textContent!;
const heading = element('h1', { tabIndex: -1 }, 'Train a model');
const alert = element('p', { className: 'error', hidden: true });
const keptList = element('ul', { className: 'kept' });
const kept = element('section', { className: 'card', hidden: true }, element('h2', {}, 'Kept in this browser'), keptList);
const hello = element(
  'p',
  { className: 'quiet' },
  'From nothing, on a text of yours, on this device. The text does not leave it.',
);
const form = setup((name, options) => void begin(name, options));
const view = new RunView({
  pause: () => pause(),
  proceed: () => void proceed(),
  chat: () => current && void chat(current.name, current.result?.files),
  archive: () => current && void archive(current.name, current.result?.files),
  ...(pickFolder && { folder: () => current && void folder(current.name, current.result?.files) }),
  remove: () => current && void remove(current.name),
  leave,
});
let current: Training | undefined;

export async function open(place: HTMLElement): Promise<void> {
  alert.setAttribute('role', 'alert');
  const before = element('div', { className: 'before' }, hello, kept, form.element);
  place.append(element('div', { className: 'column' }, heading, alert, before, view.element));
  place.addEventListener('show', () => void showKept());
  form.element.addEventListener('input', () => {
    alert.hidden = true; // it may be mended
  });
  takeDrops(
    place,
    () => !current,
    ({ files }) => void form.take([...files]),
  );
  addEventListener('beforeunload', (event) => {
    // What is kept goes on after a reload; what is not would be lost.
    if (current?.result?.checkpoint || (current?.running && notKept)) event.preventDefault();
  });
  await showKept();
}

let notKept = false;

async function begin(name: string, options: TrainOptions): Promise<void> {
  if (current) return;
  const { text: _text, ...others } = options;
  current = { name, options: others };
  const readable = (await keptTrainings()).map((training) => training.name);
  // Another tab may have begun one and not kept it yet.
  const names = new Set([...readable, ...(await foreignTrainings()), ...(await runningTrainings())]);
  let free = name;
  for (let i = 2; names.has(free); i++) free = `${name} ${i}`;
  current = { name: free, options: others };
  view.open(free, '', options.steps, { losses: [], validations: [], samples: [] });
  await follow((events) => train({ ...options, ...events, keep: free }));
}

async function proceed(): Promise<void> {
  if (!current || current.running) return;
  const { name, result } = current;
  await follow((events) => continueTraining(result?.checkpoint ?? name, events));
}

/** Goes on with one that is kept, or looks at it. */
async function look(training: KeptTraining, goOn: boolean): Promise<void> {
  current = { name: training.name, options: training.options };
  view.open(training.name, '', training.options.steps, training.history);
  await describe();
  const finished = training.step >= training.options.steps;
  view.show(finished ? 'finished' : 'paused', standing(training));
  show();
  if (goOn && !finished) await proceed();
}

function standing({ step, options }: Pick<KeptTraining, 'step' | 'options'>): string {
  return step >= options.steps
    ? `Finished: ${counted(options.steps, 'step', whole)}`
    : `Paused at step ${whole(step)} of ${whole(options.steps)}`;
}

/** Lets it train, and shows what comes of it. */
async function follow(work: (events: ContinueOptions) => Promise<TrainResult>): Promise<void> {
  const training = current!;
  const running = new AbortController();
  training.running = running;
  notKept = false;
  show();
  view.show('preparing', 'Starting');
  const described = describe();
  described.catch(() => undefined); // what is wrong with the options is told of by the training
  let [began, learning] = [false, false];
  try {
    const phases = { tokenizer: 'Learning a vocabulary from the text', text: 'Reading the text', train: 'The first steps' };
    const result = await work({
      ...places,
      signal: running.signal,
      onBackend: async ({ description }) => describe(description),
      onPhase: (phase) => {
        began = true; // so no other tab has it
        learning = phase === 'train';
        if (!running.signal.aborted) view.show(learning ? 'training' : 'preparing', phases[phase]);
      },
      onStep: (report) => {
        view.onStep(report);
        tab.textContent = `${usualName} ${Math.floor((100 * report.step) / training.options.steps)}%`;
      },
      onValidation: (told) => view.onValidation(told),
      onSample: (told) => view.onSample(told),
      onNotice: (message) => {
        notKept = true;
        view.notify(message);
      },
    });
    training.result = result;
    if (view.speed > 0) rememberSpeed(view.speed * (await described));
    view.show(result.interrupted ? 'paused' : 'finished', standing({ step: result.steps, options: training.options }));
  } catch (error) {
    view.show('paused', 'Stopped');
    if (!learning && (await standsNowhere(training.name, began))) leave();
    if (!running.signal.aborted) complain(reasonOf(error));
  } finally {
    training.running = undefined;
    tab.textContent = usualName;
    await showKept();
  }
}

/** Whether nothing is kept of it, so that there is nothing to go on with; `mine`: nor for another tab. */
async function standsNowhere(name: string, mine: boolean): Promise<boolean> {
  const found = (await keptTrainings()).find((training) => training.name === name);
  if (found && found.step > 0) return false;
  if (found && mine) await removeTraining(name).catch(() => undefined);
  return true;
}

function pause(): void {
  if (!current?.running) return;
  view.show('stopping', 'Keeping what it has learned');
  current.running.abort();
}

/** What it is, in a line; its operations for a token. */
async function describe(computes?: string): Promise<number> {
  const { parameters, flopsPerToken, config } = await estimateTraining(current!.options);
  const { layers, modelDim, vocabSize } = config;
  const parts = [
    counted(parameters, 'parameter', short),
    `${counted(layers.length, 'layer')}, ${modelDim} wide`,
    counted(vocabSize, 'piece', whole),
  ];
  view.describe([...parts, ...(computes === undefined ? [] : [computes])].join(' · '));
  return flopsPerToken;
}

/** The model's files: of this visit, or as it is kept. */
async function filesOf(name: string, files: readonly File[] | undefined): Promise<readonly File[]> {
  const found = files ?? (await trainedModel(name));
  if (!found) throw new Error(`nothing is kept of ${name} yet: train it a little first`);
  return found;
}

async function chat(name: string, files?: readonly File[]): Promise<void> {
  await trying(async () => {
    offer({ id: name, source: await filesOf(name, files), continues: true });
    location.hash = '#chat';
  });
}

async function archive(name: string, files?: readonly File[]): Promise<void> {
  await trying(async () => {
    const folderName = plain(name);
    saveFile(`${folderName}.zip`, await zipOf(folderName, await filesOf(name, files)));
    view.say(`Unpack it, and on a command line: openelm run -m ${folderName} "Once"`);
  });
}

async function folder(name: string, files?: readonly File[]): Promise<void> {
  await trying(async () => {
    const place = await pickFolder!({ mode: 'readwrite' }).catch((error: DOMException) => {
      if (error.name !== 'AbortError') throw error;
    });
    if (!place) return; // thought better of it
    const made = await place.getDirectoryHandle(plain(name), { create: true });
    for (const file of await filesOf(name, files)) {
      const writable = await (await made.getFileHandle(file.name, { create: true })).createWritable();
      await file.stream().pipeTo(writable);
    }
    view.say(`Saved in ${place.name}/${made.name}; on a command line: openelm run -m ${made.name}`);
  });
}

async function remove(name: string): Promise<void> {
  if (!confirm(`Delete "${name}" and all that it has learned?`)) return;
  await trying(async () => {
    await removeTraining(name);
    withdraw(name);
    leave();
  });
}

/** A name that every file system and shell takes. */
function plain(name: string): string {
  return (
    name
      .toLowerCase()
      .replace(/[^\p{L}\p{N}]+/gu, '-')
      .replace(/^-|-$/g, '') || 'model'
  );
}

function leave(): void {
  current = undefined;
  view.element.hidden = true;
  show();
  heading.focus();
  void showKept();
}

/** Either the one that is looked at, or what is kept and what could be begun. */
function show(): void {
  alert.hidden = true;
  (form.element.parentElement as HTMLElement).hidden = current !== undefined;
}

async function showKept(): Promise<void> {
  const [trainings, others] = await Promise.all([keptTrainings(), foreignTrainings()]);
  kept.hidden = trainings.length + others.length === 0;
  const item = (name: string, facts: string, buttons: HTMLElement[]): HTMLElement => {
    const words = element('div', {}, element('strong', {}, name), element('p', { className: 'quiet' }, facts));
    const drop = button('Delete', () => void remove(name), `Delete ${name}`);
    return element('li', {}, words, element('div', { className: 'row' }, ...buttons, drop));
  };
  keptList.replaceChildren(
    ...trainings.map((training) => {
      const { name, step, options, changed, history } = training;
      const loss = history.losses.at(-1);
      const facts = [standing(training), ...(loss === undefined ? [] : [`loss ${loss.toFixed(2)}`]), ago(changed)];
      const go = button('Continue', () => void look(training, true), `Continue ${name}`);
      go.className = 'main';
      const buttons = [
        ...(step < options.steps ? [go] : []),
        ...(step > 0 ? [button('Open', () => void look(training, false), `Open ${name}`)] : []),
        ...(step > 0 ? [button('Chat', () => void chat(name), `Chat with ${name}`)] : []),
      ];
      return item(name, facts.join(' · '), buttons);
    }),
    ...others.map((name) => item(name, 'Begun by another version of this page, which alone can go on with it', [])),
  );
}

async function trying(work: () => Promise<void>): Promise<void> {
  alert.hidden = true;
  try {
    await work();
  } catch (error) {
    complain(reasonOf(error));
  }
}

function complain(message: string): void {
  alert.textContent = message;
  alert.hidden = false;
}
