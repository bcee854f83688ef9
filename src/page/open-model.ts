// Opening another model in the chat of `openelm web`: by its hub id, from a folder or files that are chosen, or dropped anywhere on the
// chat. What is wrong with one is said in a sentence, and the chat has what it had.

import { type LoadOptions, type ModelSource, type Precision, removeKept } from '../browser.js';
import { takeDrops } from './drops.js';
import { at, button, element, reasonOf } from './elements.js';
import { offerLoaded } from './engine.js';
import { bytes } from './format.js';
import { modelFields, precisions } from './words.js';

type PickFolder = () => Promise<FileSystemDirectoryHandle>;
const pickFolder = (globalThis as { showDirectoryPicker?: PickFolder }).showDirectoryPicker?.bind(globalThis);

const word = element('input', {
  type: 'text',
  placeholder: 'apple/OpenELM-270M-Instruct',
  autocomplete: 'off',
  spellcheck: false,
});
const precision = element(
  'select',
  {},
  ...[
    ['q8', `${precisions.q8}: fast, half the memory`],
    ['q4', `${precisions.q4}: a quarter of the memory`],
    ['', 'As it is stored'],
    ['f32', `${precisions.f32}: exact, twice the memory`],
  ].map(([value, label]) => element('option', { value }, label)),
);
const context = element('input', { type: 'number', min: '1', step: '1', placeholder: "the model's own" });
const token = element('input', { type: 'password', autocomplete: 'off', placeholder: 'for gated and private models' });
const room = element('p', { className: 'quiet' });
const empty = button('Remove downloaded models', () => void removeDownloaded());
const load = element('button', { type: 'submit', className: 'main' }, 'Load');
const status = element('p', { className: 'quiet' });
const alert = element('p', { className: 'error', hidden: true });
const files = element('input', { type: 'file', multiple: true, hidden: true });
const folder = element('input', { type: 'file', webkitdirectory: true, hidden: true });
const close = button('Close', () => dialog.close());
const cancel = button('Cancel', () => opening?.abort());
const form = element(
  'form',
  { method: 'dialog' },
  element('h2', { id: 'open-title' }, 'Open a model'),
  element('label', {}, 'A model of huggingface.co', word),
  element('label', {}, modelFields.dtype, precision),
  element(
    'p',
    { className: 'quiet' },
    'Or a GGUF file, or a folder with config.json, safetensors weights and the tokenizer; they can be dropped on the chat as well.',
  ),
  element(
    'div',
    { className: 'row' },
    button('Choose a folder…', () => void chooseFolder()),
    button('Choose files…', () => files.click()),
    files,
    folder,
  ),
  element(
    'details',
    {},
    element('summary', {}, 'More settings'),
    element(
      'div',
      { className: 'grid' },
      element('label', {}, modelFields.context, context),
      element('label', {}, modelFields['hub.token'], token),
    ),
    room,
    empty,
  ),
  status,
  alert,
  element('div', { className: 'row' }, close, element('span', { className: 'gap' }), cancel, load),
);
const dialog = element('dialog', { className: 'opening' }, form);
let opening: AbortController | undefined;

/** Shows the button, and takes what is dropped. */
export function startOpening(): void {
  cancel.hidden = true;
  dialog.setAttribute('aria-labelledby', 'open-title');
  status.setAttribute('role', 'status');
  alert.setAttribute('role', 'alert');
  document.body.append(dialog);
  const opener = at('open');
  opener.hidden = false;
  opener.onclick = show;
  form.querySelector('details')!.ontoggle = () => void showRoom();
  form.onsubmit = (event) => {
    event.preventDefault();
    const id = word.value.trim();
    if (id === '') word.focus();
    else void take(id, id);
  };
  files.onchange = () => void takeFiles([...(files.files ?? [])]);
  folder.onchange = () => void takeFiles([...(folder.files ?? [])]);
  takeDrops(at('chat'), () => true, takeDropped);
}

function show(): void {
  if (!opening) {
    status.textContent = '';
    alert.hidden = true;
  }
  if (!dialog.open) dialog.showModal();
}

async function chooseFolder(): Promise<void> {
  if (!pickFolder) return folder.click();
  try {
    const handle = await pickFolder();
    await take(handle.name, handle);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'AbortError')) complain(error);
  }
}

/** What is kept here, and what may be. */
async function showRoom(): Promise<void> {
  const { usage, quota } = (await navigator.storage?.estimate?.()) ?? {};
  const known = usage !== undefined && quota !== undefined;
  room.textContent = known ? `This page keeps ${bytes(usage)} in this browser, of ${bytes(quota)} that it may.` : '';
}

async function removeDownloaded(): Promise<void> {
  if (!confirm('Remove all downloaded models? Conversations and trainings stay.')) return;
  alert.hidden = true;
  try {
    await removeKept();
    status.textContent = 'Removed; they are downloaded again when they are wanted.';
  } catch (error) {
    complain(error);
  }
  await showRoom();
}

const modelFile = /\.(safetensors|gguf|pt|pth)$/i;
const archive = /\.(zip|tar|gz|tgz|bz2|xz|zst|7z|rar)$/i;

/** Chosen files, or those at the top of a chosen folder. */
async function takeFiles(list: readonly File[]): Promise<void> {
  if (list.length === 0) return;
  const [name] = list[0].webkitRelativePath.split('/');
  const top = name === '' ? list : list.filter(({ webkitRelativePath }) => webkitRelativePath.split('/').length === 2);
  const packed = top.find((file) => archive.test(file.name));
  if (packed) return complain(`${packed.name} is an archive: unpack it, and choose the folder`);
  const weights = top.find((file) => modelFile.test(file.name));
  await take(name || (weights?.name.replace(modelFile, '') ?? 'chosen files'), top);
}

function takeDropped({ items, files: dropped }: DataTransfer): void {
  const entries = [...items].map((item) => item.webkitGetAsEntry());
  const directory = entries.find((entry) => entry?.isDirectory) as FileSystemDirectoryEntry | undefined;
  const list = [...dropped];
  show();
  if (directory) void filesIn(directory).then((found) => take(directory.name, found), complain);
  else void takeFiles(list);
}

/** The files at the top of a dropped folder, none of them read yet. */
async function filesIn(directory: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = directory.createReader();
  const list: File[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return list;
    for (const entry of entries) {
      if (entry.isFile)
        list.push(await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
    }
  }
}

async function take(name: string, source: ModelSource): Promise<void> {
  if (opening) return complain('another model is being opened: wait until it is here, or cancel it');
  opening = new AbortController();
  const { signal } = opening;
  load.disabled = true;
  cancel.hidden = false;
  alert.hidden = true;
  const options: LoadOptions = {
    ...(precision.value === '' ? {} : { dtype: precision.value as Precision }),
    ...(context.value === '' ? {} : { context: Number(context.value) }),
    ...(token.value.trim() === '' ? {} : { hub: { token: token.value.trim() } }),
  };
  try {
    status.textContent = 'Opening';
    const onProgress = (words: string): void => {
      status.textContent = words;
    };
    await offerLoaded({ id: name, source, options }, onProgress, signal);
    dialog.close();
    status.textContent = '';
  } catch (error) {
    status.textContent = signal.aborted ? 'Cancelled; what was downloaded is kept' : '';
    if (!signal.aborted) complain(error);
  } finally {
    opening = undefined;
    load.disabled = false;
    cancel.hidden = true;
    files.value = '';
    folder.value = '';
  }
}

function complain(error: unknown): void {
  alert.textContent = reasonOf(error);
  alert.hidden = false;
  if (!dialog.open) dialog.showModal(); // it may have been closed meanwhile
}
