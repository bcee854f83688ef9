// The chat page: conversations on the left, turns in the middle, a question below. It has the elements and what happens to them; what
// is kept is store.ts, what the server says client.ts, how text becomes elements markdown.ts, and its tokens tokens.ts.

import { answer, computesHere, models, prepare, type Speed, start } from './client.js';
import { at, button, copyButton, element, fitted, reasonOf, saveFile } from './elements.js';
import { counted, whole } from './format.js';
import { rendered } from './markdown.js';
import { tell } from './notices.js';
import { type Conversation, defaults, type Settings, Store, type Turn, tokensOf, toMarkdown } from './store.js';
import { tokenView } from './tokens.js';

const [messages, list, drawer, shade, status] = ['messages', 'conversations', 'drawer', 'shade', 'status'].map((id) => at(id));
const [menu, send, stop] = ['menu', 'send', 'stop'].map((id) => at<HTMLButtonElement>(id));
const question = fitted(at('question'));
const modelChoice = at<HTMLSelectElement>('model');
const dialog = at<HTMLDialogElement>('settings');
const form = dialog.querySelector('form')!;

const store = new Store();
const settings: Settings = store.settings();
let current: Conversation = store.create();
let answering: AbortController | undefined;

/** What is shown. */

function showConversations(): void {
  const items = store.all().map((conversation) => {
    const open = button(conversation.title, () => choose(conversation));
    open.className = 'open';
    open.setAttribute('aria-current', String(conversation.id === current.id));
    const remove = button('×', () => forget(conversation), `Delete "${conversation.title}"`);
    remove.className = 'remove';
    return element('li', {}, open, remove);
  });
  const none = element('li', { className: 'none quiet' }, 'None yet. They are kept in this browser alone.');
  list.replaceChildren(...(items.length > 0 ? items : [none]));
  at<HTMLButtonElement>('export').disabled = current.turns.length === 0;
}

/** Pixels of the conversation below what is seen. */
function fromEnd(): number {
  return messages.scrollHeight - messages.scrollTop - messages.clientHeight;
}

/** Which drawing of the conversation is the newest. */
let drawing = 0;

/**
 * All turns anew, seen from the last on or, with `near`, from that one on, which stays where it is. The nearest come first, the others in
 * pieces that do not hold the page up.
 */
function showMessages(near?: number): void {
  const round = ++drawing;
  const { turns } = current;
  if (turns.length === 0) {
    messages.replaceChildren(welcome());
    return;
  }
  const from = near ?? turns.length - 1;
  const articles = turns.map(({ role }) => element('article', { className: role, tabIndex: -1 }));
  const order = [...articles.keys()].sort((a, b) => Math.abs(a - from) - Math.abs(b - from));
  const topOf = (article: Element): number => article.getBoundingClientRect().top;
  const draw = (top?: number): void => {
    const end = performance.now() + 8;
    for (let i = order.shift(); i !== undefined; i = performance.now() < end ? order.shift() : undefined)
      fillTurn(articles[i], turns[i], i);
    messages.scrollTop = top === undefined ? messages.scrollHeight : messages.scrollTop + topOf(articles[from]) - top;
    if (order.length > 0) setTimeout(() => round === drawing && draw(fromEnd() < 8 ? undefined : topOf(articles[from])));
  };
  const top = near === undefined ? undefined : topOf(messages.children[near]);
  messages.replaceChildren(...articles);
  draw(top);
}

/** What small models can do, to begin with. */
const ideas = [
  'Write a short story about a dog and a ball.',
  'Write a story about a mouse who finds a key.',
  'Once upon a time, there was a little robot',
];

function welcome(): HTMLElement {
  const where = computesHere
    ? 'It runs in this page: nothing that you write leaves this device.'
    : 'Answers come from the server of this page; conversations stay in this browser.';
  const begin = (idea: string) =>
    Object.assign(
      button(idea, () => answering || void say(idea)),
      { className: 'idea' },
    );
  return element(
    'div',
    { className: 'empty' },
    element('h2', { className: 'hello' }, 'A small language model'),
    element('p', {}, where),
    element('div', { className: 'ideas' }, ...ideas.map(begin)),
  );
}

/** Characters of a message that are shown at first: a page of a book or two. */
const mostShown = 6000;

function fillTurn(article: HTMLElement, turn: Turn, index: number): void {
  const body = element('div', { className: 'body' });
  if (turn.role === 'assistant') drawingOf(body, turn)();
  else if (turn.content.length <= 1.5 * mostShown) body.textContent = turn.content;
  else {
    const all = button(`Show all ${counted(turn.content.length, 'character', whole)}`, () => {
      body.textContent = turn.content;
      article.focus({ preventScroll: true });
    });
    body.replaceChildren(`${turn.content.slice(0, mostShown)}… `, all);
  }
  const tools = element('div', { className: 'tools' });
  article.replaceChildren(element('h2', {}, turn.role === 'user' ? 'You' : 'Answer'), body, tools);
  showTools(turn, index, article);
}

/** What draws an answer, again and again as it grows. */
function drawingOf(body: HTMLElement, turn: Turn): () => void {
  if (!settings.tokens || !turn.tokens?.length) return () => body.replaceChildren(...rendered(turn.content));
  const view = tokenView();
  body.replaceChildren(view.element);
  return () => view.show(tokensOf(turn));
}

function showTools(turn: Turn, index: number, article: HTMLElement): void {
  const note = element('span', { className: turn.failed ? 'error' : '' }, turn.note ?? '');
  if (turn.failed) note.setAttribute('role', 'alert');
  const copy = copyButton('Copy', () => turn.content);
  const own =
    turn.role === 'user'
      ? [
          Object.assign(
            button('Edit', () => edit(turn, index, article)),
            { className: 'edit-turn' },
          ),
        ]
      : index === current.turns.length - 1
        ? [
            ...(goesOn(turn) ? [button('Continue', () => void reply(turn), 'Continue this answer')] : []),
            button('Regenerate', () => void regenerate()),
          ]
        : [];
  if (turn.tokens) own.push(tokensButton(index));
  article.querySelector('.tools')!.replaceChildren(...(turn.content === '' ? [] : [copy]), ...own, note);
}

/** Whether there is more to be had of an answer. */
function goesOn({ cut, model, tokens }: Turn): boolean {
  return computesHere && cut === true && model === settings.model && tokens !== undefined;
}

function tokensButton(index: number): HTMLButtonElement {
  const made = button('Tokens', () => {
    if (answering) return;
    settings.tokens = !settings.tokens;
    store.saveSettings(settings);
    showMessages(index);
    messages.children[index].querySelector<HTMLElement>('.toggle')!.focus({ preventScroll: true });
  });
  made.title = 'How likely each token was, and what might have come instead';
  made.className = 'toggle';
  made.setAttribute('aria-pressed', String(settings.tokens));
  return made;
}

/** The question again, to be changed: what came after it goes. */
function edit(turn: Turn, index: number, article: HTMLElement): void {
  if (answering) return;
  const text = fitted(element('textarea', { value: turn.content, rows: 2 }));
  text.setAttribute('aria-label', 'Edit your message');
  const done = (): void => {
    if (text.value.trim() === '') return;
    current.turns = current.turns.slice(0, index);
    void say(text.value.trim());
  };
  const cancel = (): void => {
    fillTurn(article, turn, index);
    article.querySelector<HTMLElement>('.edit-turn')!.focus();
  };
  text.onkeydown = (event) => {
    if (event.key === 'Escape') cancel();
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      done();
    }
  };
  const row = element('div', { className: 'row' }, button('Send', done), button('Cancel', cancel));
  article.replaceChildren(element('div', { className: 'edit' }, text, row));
  text.focus();
}

/** What can be done. */

function choose(conversation: Conversation): void {
  answering?.abort();
  current = conversation;
  showDrawer(false);
  showConversations();
  showMessages();
  focusQuestion();
}

/** Not where that would bring up a keyboard over half of the screen. */
function focusQuestion(): void {
  if (!matchMedia('(pointer: coarse)').matches) question.focus();
}

function forget(conversation: Conversation): void {
  if (!confirm(`Delete "${conversation.title}"?`)) return;
  if (conversation.id === current.id) answering?.abort();
  store.remove(conversation.id);
  if (conversation.id === current.id) choose(store.all()[0] ?? store.create());
  else {
    showConversations();
    at('new').focus();
  }
}

async function say(text: string): Promise<void> {
  if (current.turns.length === 0) current.title = text.replace(/\s+/g, ' ').slice(0, 60);
  current.turns.push({ role: 'user', content: text });
  await reply();
}

async function regenerate(): Promise<void> {
  if (answering || current.turns.at(-1)?.role !== 'assistant') return;
  current.turns.pop();
  await reply();
}

/** What the model is told of these turns: a question that had no answer, since it failed or was stopped at once, is not. */
function answered(turns: readonly Turn[]): Turn[] {
  const none = (i: number): boolean => i < turns.length - 1 && turns[i].role === 'assistant' && turns[i].content === '';
  return turns.filter((_, i) => !none(i) && !none(i + 1));
}

/** Lets the model answer the last turn, or go on with `begun`, and shows the answer as it comes. */
async function reply(begun?: Turn): Promise<void> {
  if (answering) return;
  const conversation = current;
  const asked = answered(conversation.turns);
  const turn: Turn = begun ?? { role: 'assistant', content: '' };
  const tokens = tokensOf(turn);
  if (!begun) conversation.turns.push(turn);
  Object.assign(turn, { tokens, cut: undefined, note: undefined, failed: undefined });
  const controller = new AbortController();
  answering = controller;
  setBusy(true);
  store.save(conversation);
  showConversations();
  showMessages();
  const article = messages.lastElementChild as HTMLElement;
  if (document.activeElement === document.body) article.focus({ preventScroll: true }); // what was pressed is gone
  const body = article.querySelector<HTMLElement>('.body')!;
  body.classList.add('waiting');
  let kept = performance.now();
  const keep = (): void => {
    kept = performance.now();
    store.save(conversation, true);
  };
  addEventListener('pagehide', keep);
  let drawn = false;
  let redraw: (() => void) | undefined;
  const draw = (): void => {
    drawn = false;
    const below = fromEnd() < 60;
    redraw ??= drawingOf(body, turn);
    redraw();
    if (below) messages.scrollTop = messages.scrollHeight;
  };
  try {
    await listed; // a question may come before the models are known
    if (modelChoice.value === '') await listModels(); // they could not be had then
    turn.model = settings.model;
    const speed = await answer(asked, settings, controller.signal, (text, more) => {
      turn.content += text;
      tokens.push(...more);
      Object.assign(turn, { cut: true, note: 'broken off' }); // if the page goes now
      if (performance.now() - kept > 2000) keep();
      if (!drawn) requestAnimationFrame(draw);
      drawn = true;
    });
    turn.cut = speed.reason === 'length';
    turn.note = noteOf(speed);
    status.textContent = 'The answer is complete.';
  } catch (error) {
    turn.cut = controller.signal.aborted;
    turn.failed = !turn.cut;
    turn.note = controller.signal.aborted ? 'stopped' : reasonOf(error);
    status.textContent = controller.signal.aborted ? 'The answer was stopped.' : '';
  }
  removeEventListener('pagehide', keep);
  turn.content = turn.cut ? turn.content.trimStart() : turn.content.trim();
  body.classList.remove('waiting');
  draw();
  turn.tokens = tokens.length > 0 ? JSON.stringify(tokens) : undefined;
  if (answering === controller) {
    answering = undefined;
    setBusy(false);
  }
  if (store.get(conversation.id)) store.save(conversation);
  showTools(turn, conversation.turns.indexOf(turn), article);
  showConversations();
}

function noteOf({
  tokens,
  tokensPerSecond,
  firstTokenMs,
  dropped,
  reason,
}: Speed & { dropped: number; reason?: string }): string {
  const parts = [counted(tokens, 'token')];
  if (tokensPerSecond !== undefined) parts.push(`${tokensPerSecond.toFixed(tokensPerSecond < 10 ? 1 : 0)} tokens/s`);
  if (firstTokenMs !== undefined) parts.push(`first after ${firstTokenMs.toFixed(0)} ms`);
  if (reason === 'length') parts.push('cut at its longest');
  if (dropped > 0) parts.push(`the context is full: the oldest ${counted(dropped, 'turn')} left out`);
  return parts.join(' · ');
}

function setBusy(busy: boolean): void {
  send.hidden = busy;
  stop.hidden = !busy;
  if (document.activeElement === (busy ? send : stop)) focusQuestion();
  messages.setAttribute('aria-busy', String(busy));
}

function showDrawer(shown: boolean): void {
  const before = drawer.classList.contains('shown');
  drawer.classList.toggle('shown', shown);
  shade.hidden = !shown;
  menu.setAttribute('aria-expanded', String(shown));
  if (shown) at('new').focus();
  else if (before && drawer.contains(document.activeElement)) menu.focus();
}

function startNew(): void {
  if (computesHere) location.hash = '#chat';
  choose(store.create());
}

/** Markdown, as a file. */
function save(): void {
  const name = current.title.replace(/[^\w -]+/g, '').trim() || 'conversation';
  saveFile(`${name}.md`, new Blob([toMarkdown(current)], { type: 'text/markdown' }));
}

/** Throws what `models` does. */
async function listModels(): Promise<void> {
  const names = await models(settings.key, settings.model);
  modelChoice.replaceChildren(...names.map((name) => element('option', { value: name }, name)));
  modelChoice.value = names.includes(settings.model) ? settings.model : names[0];
  if (modelChoice.value === settings.model) return;
  settings.model = modelChoice.value;
  if (!answering) showMessages(); // which answers can be gone on with
}

async function showModels(): Promise<void> {
  try {
    await listModels();
  } catch (error) {
    await loaded;
    drawing++;
    const reason = element('p', { className: 'empty error' }, reasonOf(error));
    reason.setAttribute('role', 'alert');
    messages.replaceChildren(reason);
  }
}

function fillSettings(values: Settings): void {
  for (const [name, value] of Object.entries(values)) {
    const field = form.elements.namedItem(name) as HTMLInputElement | null;
    if (field) field.value = String(value);
  }
}

function readSettings(): void {
  const values = settings as unknown as Record<string, string | number>;
  for (const [name, usual] of Object.entries(defaults)) {
    const field = form.elements.namedItem(name) as HTMLInputElement | null;
    if (field) values[name] = typeof usual === 'number' ? Number(field.value) : field.value;
  }
  store.saveSettings(settings);
}

/** Wiring. */

at<HTMLFormElement>('composer').onsubmit = (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (text === '' || answering) return;
  question.value = '';
  question.style.minHeight = '';
  void say(text);
};
question.onkeydown = (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at<HTMLFormElement>('composer').requestSubmit();
};
document.onkeydown = (event) => {
  if (event.key === 'Escape' && !document.querySelector('dialog[open]')) {
    answering?.abort();
    showDrawer(false);
  }
  if (event.key.toLowerCase() === 'o' && event.ctrlKey && event.shiftKey) {
    event.preventDefault();
    startNew();
  }
};
/** The second of two quick clicks is not meant for what the first has put in a button's place: Stop where Send was. */
document.addEventListener(
  'click',
  (event) => {
    if (event.detail > 1 && (event.target as Element).closest('button')) event.stopPropagation();
  },
  true,
);
stop.onclick = () => answering?.abort();
menu.onclick = () => showDrawer(!drawer.classList.contains('shown'));
shade.onclick = () => showDrawer(false);
drawer.addEventListener('focusout', ({ relatedTarget }) => {
  if (relatedTarget && relatedTarget !== menu && !drawer.contains(relatedTarget as Node)) showDrawer(false);
});
at('new').onclick = startNew;
at('export').onclick = save;
at('defaults').onclick = () => fillSettings({ ...defaults, key: settings.key });
at('settings-open').onclick = () => {
  fillSettings(settings);
  dialog.showModal();
};
form.onsubmit = readSettings; // at once: a dialog tells of its end in a later turn
dialog.onclose = () => {
  if (form.checkValidity()) readSettings();
  void showModels();
};
document.addEventListener('models', (event) => {
  settings.model = (event as CustomEvent<string | undefined>).detail ?? settings.model;
  void showModels();
});
modelChoice.onchange = () => {
  settings.model = modelChoice.value;
  store.saveSettings(settings);
  if (answering) return;
  if (current.turns.length > 0) showMessages(current.turns.length - 1); // which answers can be gone on with
  prepare(settings.model);
};

store.onLost = (newer) => {
  const why = newer
    ? 'another tab has a newer version of this page: load this one again, what is said here is not kept'
    : 'this browser keeps nothing here: conversations are gone when the page is closed';
  tell('store', why);
};
/** What is gone on with here does not go into what another tab changed: it is a conversation of its own then. */
store.onChange = (id, other) => {
  if (id === current.id && (answering || messages.querySelector('textarea'))) store.part(current);
  else if (id === current.id) {
    current = other ?? store.create();
    showMessages();
  }
  showConversations();
};

const loaded = store.load().then(() => {
  if (current.turns.length === 0) current = store.all()[0] ?? current;
  showConversations();
  if (!answering) showMessages();
});
const listed = showModels();
question.focus();
start();
