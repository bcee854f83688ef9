// The text that is to be learned: pasted, of files, or the sample; looked at as far as it must be, and refused where it is none.

import { button, element, reasonOf } from '../elements.js';
import { fetchedFile } from '../fetched.js';
import type { TextFacts } from './sizes.js';

export interface Material {
  readonly name: string;
  readonly text: Blob;
  readonly facts: TextFacts;
  readonly beginning: string;
  /** What samples begin with. */
  readonly prompt: string;
}

export interface TextCard {
  readonly element: HTMLElement;
  /** Undefined while there is no text. */
  readonly material: Material | undefined;
  /** Takes files as the text: one behind another. */
  take(files: readonly File[]): Promise<void>;
  /** What there is to know of the text. */
  hint(text: string): void;
}

/** Looked at to know what a text is like. */
const looked = 200_000;
const between = '\n<|endoftext|>\n';

/** `changed` is called whenever there is another text, or none any more. */
export function textCard(changed: () => Promise<void>): TextCard {
  let material: Material | undefined;
  const pasted = element('textarea', { rows: 7, placeholder: 'Paste or write a text here, or drop files anywhere on this page' });
  pasted.setAttribute('aria-label', 'The text to learn from');
  const chosen = element('div', { className: 'chosen', hidden: true });
  const picker = element('input', { type: 'file', multiple: true, accept: '.txt,.md,.csv,.json,.html,text/*', hidden: true });
  const hint = element('p', { className: 'quiet' });
  const warning = element('p', { className: 'error', hidden: true });
  warning.setAttribute('role', 'alert');

  const choose = button('Choose files…', () => picker.click());
  const sample = button('Take the sample', () => void takeSample());
  picker.onchange = () => {
    void take([...(picker.files ?? [])]);
    picker.value = '';
  };
  let waiting: ReturnType<typeof setTimeout> | undefined;
  pasted.oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => void takePasted(), 200);
  };

  async function takePasted(): Promise<void> {
    const { value } = pasted;
    warn();
    material = value.trim() === '' ? undefined : await materialOf('My text', new Blob([value]));
    await changed();
  }

  async function takeSample(): Promise<void> {
    try {
      const text = await (await fetchedFile('page/train/tales.txt')).blob();
      await use({ ...(await materialOf('Household Tales', text)), prompt: 'There was once' });
    } catch (error) {
      warn(reasonOf(error));
    }
  }

  async function take(files: readonly File[]): Promise<void> {
    if (files.length === 0) return;
    const parts = files.flatMap((file, i) => (i === 0 ? [file] : [between, file]));
    const name = files[0].name.replace(/\.\w+$/, '') + (files.length > 1 ? ` and ${files.length - 1} more` : '');
    await use(await materialOf(name, new Blob(parts)));
  }

  async function use(next: Material): Promise<void> {
    warn();
    if (/[\0\uFFFD]/.test(next.beginning)) return warn(`${next.name} is no text in UTF-8: choose a plain text file`);
    if (next.beginning.trim() === '') return warn(`${next.name} is empty: choose another text`);
    material = next;
    pasted.hidden = true;
    const other = button('Another text', () => {
      material = undefined;
      chosen.hidden = true;
      pasted.hidden = false;
      void takePasted();
      pasted.focus();
    });
    chosen.replaceChildren(
      element('div', { className: 'row' }, element('strong', {}, next.name), element('span', { className: 'gap' }), other),
      element('p', { className: 'beginning' }, next.beginning.slice(0, 600)),
    );
    chosen.hidden = false;
    await changed();
  }

  function warn(message?: string): void {
    if (message !== undefined) warning.textContent = message;
    warning.hidden = message === undefined;
  }

  const card = element(
    'section',
    { className: 'card' },
    element('h2', {}, 'Text'),
    pasted,
    chosen,
    element('div', { className: 'row' }, choose, sample, picker),
    hint,
    warning,
  );
  return {
    element: card,
    get material() {
      return material;
    },
    take,
    hint: (text) => {
      hint.textContent = text;
    },
  };
}

async function materialOf(name: string, text: Blob): Promise<Material> {
  const beginning = await text.slice(0, looked).text();
  // The cut may be within a character.
  const whole = text.size > looked ? beginning.replace(/\uFFFD+$/, '') : beginning;
  return {
    name,
    text,
    beginning: whole,
    prompt: firstWords(whole),
    facts: { bytes: text.size, characters: new Set(whole).size },
  };
}

function firstWords(text: string): string {
  return (text.replace(/^<\|endoftext\|>/, '').match(/\S+/g) ?? []).slice(0, 3).join(' ');
}
