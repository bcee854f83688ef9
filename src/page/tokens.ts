// An answer token by token: how likely each was as colour, and what might have come instead in a card beside the one that is pointed
// at, touched or walked to with the arrow keys. All that a card says is in its token's label too. Where tokens come from is the client's.

import { element } from './elements.js';
import type { AnswerToken, Likelihood } from './store.js';

/** The least probability of each step of the scale, and how it is called. */
const steps = [
  [0.9, 'over 90%'],
  [0.5, '50 to 90%'],
  [0.2, '20 to 50%'],
  [0.05, '5 to 20%'],
  [0, 'under 5%'],
] as const;

const card = element('div', { className: 'token-card', hidden: true });
card.setAttribute('aria-hidden', 'true'); // what it says is in the labels
document.body.append(card);
document.addEventListener('scroll', () => hide(), true);

/** Shows tokens as they come: each call adds those behind the last one's. */
export interface TokenView {
  readonly element: HTMLElement;
  show(tokens: readonly AnswerToken[]): void;
}

export function tokenView(): TokenView {
  const list = element('div', { className: 'tokens' });
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Tokens of the answer with their probabilities');
  const mean = element('span', {});
  const legend = element(
    'p',
    { className: 'legend' },
    ...steps.map(([, name], i) => element('span', { className: `step${i}` }, name)),
    mean,
  );
  let shown: AnswerToken[] = [];

  const spanOf = (target: EventTarget | null): HTMLElement | undefined =>
    (target as Element | null)?.closest<HTMLElement>('[role=option]') ?? undefined;
  const inform = (event: Event): void => {
    const span = spanOf(event.target);
    if (span) place(span, shown[Number(span.dataset.at)]);
  };
  list.onmouseover = inform;
  list.onclick = (event) => spanOf(event.target)?.focus();
  list.onmouseleave = () => hide();
  list.addEventListener('focusin', (event) => {
    const span = spanOf(event.target);
    if (!span) return;
    for (const other of list.querySelectorAll('[tabindex="0"]')) other.setAttribute('tabindex', '-1');
    span.tabIndex = 0;
    inform(event);
  });
  list.addEventListener('focusout', () => hide());
  list.onkeydown = (event) => {
    const at = Number(spanOf(event.target)?.dataset.at);
    const last = shown.length - 1;
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
    if (event.key === 'Escape' && !card.hidden) {
      hide();
      event.stopPropagation();
    }
    if (next === undefined) return;
    event.preventDefault();
    list.querySelector<HTMLElement>(`[data-at="${Math.min(last, Math.max(0, next))}"]`)?.focus();
  };

  return {
    element: element('div', {}, legend, list),
    show(tokens) {
      list.append(...tokens.slice(shown.length).map((token, i) => option(token, shown.length + i)));
      shown = [...tokens];
      list.querySelector('[role=option]')?.setAttribute('tabindex', '0');
      const sum = tokens.reduce((all, { logprob }) => all + logprob, 0);
      mean.textContent = `perplexity ${Math.exp(-sum / Math.max(1, tokens.length)).toFixed(2)}`;
    },
  };
}

function option(token: AnswerToken, index: number): HTMLElement {
  const probability = Math.exp(token.logprob);
  const step = steps.findIndex(([least]) => probability >= least);
  const text = index === 0 ? token.text.trimStart() : token.text;
  const span = element('span', { className: `step${step}`, tabIndex: -1 }, text.replaceAll('\n', '⏎\n'));
  span.dataset.at = String(index);
  span.setAttribute('role', 'option');
  span.setAttribute('aria-selected', 'false');
  span.setAttribute('aria-label', labelOf(token));
  return span;
}

function labelOf({ text, logprob, top }: AnswerToken): string {
  const others = top.filter((other) => other.text !== text).map((other) => `${named(other.text)} ${percent(other.logprob)}`);
  return `${named(text)}, ${percent(logprob)}${others.length > 0 ? `; instead of ${others.join(', ')}` : ''}`;
}

function place(span: HTMLElement, token: AnswerToken): void {
  const chosen = token.top.some(({ text }) => text === token.text) ? [] : [token];
  const rows = [...token.top, ...chosen].map((other) => rowOf(other, other.text === token.text));
  const surprise = -token.logprob / Math.LN2;
  card.replaceChildren(...rows, element('p', {}, `surprise ${surprise.toFixed(surprise < 10 ? 1 : 0)} bits`));
  card.hidden = false;
  const [box] = span.getClientRects();
  const { offsetWidth: width, offsetHeight: height } = card;
  const below = box.bottom + 6 + height < innerHeight;
  const left = Math.max(8, Math.min(box.left, innerWidth - width - 8));
  const top = below ? box.bottom + 6 : Math.max(8, box.top - height - 6);
  card.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}

function rowOf({ text, logprob }: Likelihood, chosen: boolean): HTMLElement {
  const bar = element('i', {});
  bar.style.width = `${(100 * Math.exp(logprob)).toFixed(1)}%`;
  const row = element(
    'div',
    { className: chosen ? 'chosen' : '' },
    element('code', {}, text.replaceAll('\n', '⏎').replace(/^ | $/g, '␣')),
    element('span', { className: 'bar-place' }, bar),
    element('span', {}, percent(logprob)),
  );
  return row;
}

function hide(): void {
  card.hidden = true;
}

function named(text: string): string {
  return text.trim() === '' ? ({ '\n': 'line break', ' ': 'space' }[text] ?? 'white space') : text.trim();
}

function percent(logprob: number): string {
  const share = 100 * Math.exp(logprob);
  if (share < 0.01) return 'under 0.01%';
  return `${share.toFixed(share >= 9.95 ? 0 : share >= 1 ? 1 : 2)}%`;
}
