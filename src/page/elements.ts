// Elements of the page, made in one expression each. Nothing here knows what they are for.

import type { InputError } from '../errors.js';
import { asField } from './words.js';

export function at<Type extends HTMLElement>(id: string): Type {
  return document.getElementById(id) as Type;
}

export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Partial<HTMLElementTagNameMap[Name]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Names and what they stand for, as a `dl` has them. */
export function facts(list: readonly (readonly [name: string, value: string])[]): HTMLElement[] {
  return list.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value)));
}

/** `title` names the button where its label is only a sign. */
export function button(label: string, action: () => void, title = label): HTMLButtonElement {
  const made = element('button', { type: 'button', onclick: action, title }, label);
  if (title !== label) made.setAttribute('aria-label', title);
  return made;
}

/** Copies what `text` gives then, and says so where it stands for a moment. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const made = button(label, async () => {
    made.textContent = (await copy(text())) ? 'Copied' : 'Not copied';
    setTimeout(() => {
      made.textContent = label;
    }, 2000);
  });
  made.removeAttribute('title');
  made.setAttribute('aria-live', 'polite');
  return made;
}

/** False where the browser does not let it. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page that is not https has no clipboard but what is selected.
    const before = document.activeElement as HTMLElement | null;
    const area = element('textarea', { value: text, className: 'hidden' });
    (before?.closest('dialog') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    before?.focus();
    return done;
  }
}

/** Offers bytes as a file to be saved. */
export function saveFile(name: string, content: Blob): void {
  const link = element('a', { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Keeps it as high as its text where the style cannot (`field-sizing`), up to the style's own end, and lets it run as its first letters do:
 * `dir="auto"` looks through all of the text at each key, seconds for a book.
 */
export function fitted(area: HTMLTextAreaElement): HTMLTextAreaElement {
  const turn = (): void => {
    area.dir = fromRight.test(area.value.slice(0, 1000)) ? 'rtl' : 'ltr';
  };
  turn();
  area.addEventListener('input', turn);
  const adjust = (): void => {
    area.style.minHeight = '';
    area.style.minHeight = `min(40dvh, ${area.scrollHeight + area.offsetHeight - area.clientHeight}px)`;
  };
  if (!CSS.supports('field-sizing', 'content')) {
    area.addEventListener('input', adjust);
    requestAnimationFrame(adjust); // it lies in the page then
  }
  return area;
}

/** Letters of Hebrew, Arabic and their neighbours are the first. */
const fromRight = /^[^\p{L}]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u;

/** The message of what was thrown, with options as the page's fields are called. */
export function reasonOf(error: unknown): string {
  // No `instanceof`: the tools (engine.ts) have a class of their own.
  if (error instanceof Error) return (error as Partial<InputError>).naming?.(asField) ?? error.message;
  return String(error);
}
