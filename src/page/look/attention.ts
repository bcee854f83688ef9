// Which tokens each head looks at in a layer: a small picture a head, the chosen one large, and what the chosen token looks at, in colours
// on the text and in words.

import type { Inside } from '../../browser.js';
import { element } from '../elements.js';
import { counted } from '../format.js';
import { drawHeat, type Heat, heat } from './heat.js';
import { named } from './names.js';

export class AttentionView {
  private readonly heads = element('fieldset', { className: 'heads' });
  private readonly matrix = heat('matrix');
  private readonly words = element('div', { className: 'tokens looked' });
  private readonly readout = element('p', { className: 'readout' }, '');
  /** As they lie in the page. */
  readonly elements = [
    element('p', { className: 'quiet' }, 'Each square is a head: a row is a token, a column what it looks at.'),
    this.heads,
    element('div', { className: 'two' }, this.matrix, element('div', {}, this.words, this.readout)),
  ];
  private seen!: Inside;
  private layer = 0;
  private head = -1; // all, their mean
  private token = 0;

  constructor() {
    this.words.setAttribute('role', 'listbox');
    this.words.setAttribute('aria-label', 'Tokens: choose one to see what it looks at');
    this.words.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = step === undefined ? undefined : this.words.children[this.token + step];
      if (!next) return;
      event.preventDefault();
      (next as HTMLElement).focus();
    };
    this.matrix.onpointermove = (event) => {
      const [x, y] = this.matrix.cell(event);
      if (x > y) return;
      this.showToken(y);
      const { tokens } = this.seen;
      this.readout.textContent = `${named(tokens[y])} looks at ${named(tokens[x])}: ${percent(this.weightOf(y, x))}`;
    };
  }

  /** Takes what a layer shows; of another text, it is read from its last token on. */
  take(seen: Inside, layer: number, anotherText: boolean): void {
    this.seen = seen;
    this.layer = layer;
    if (!anotherText) return;
    this.token = seen.tokens.length - 1;
    this.words.replaceChildren(...seen.tokens.map((name, i) => this.word(name, i)));
  }

  draw(): void {
    const { heads } = this.seen;
    this.head = Math.min(this.head, heads - 1);
    const made = Array.from({ length: heads + 1 }, (_, i) => this.thumbnail(i - 1));
    this.heads.replaceChildren(element('legend', { className: 'hidden' }, 'Head'), ...made);
    this.showHead(this.head);
  }

  private thumbnail(of: number): HTMLElement {
    const input = element('input', { type: 'radio', name: 'head', checked: of === this.head, onchange: () => this.showHead(of) });
    const canvas = heat('thumbnail');
    this.drawHead(canvas, of);
    canvas.setAttribute('aria-hidden', 'true');
    canvas.removeAttribute('role');
    return element('label', {}, input, canvas, element('span', {}, of < 0 ? 'mean' : String(of)));
  }

  private showHead(chosen: number): void {
    this.head = chosen;
    this.drawHead(this.matrix, chosen);
    const { length } = this.seen.tokens;
    const who = chosen < 0 ? 'the mean of all heads' : `head ${chosen}`;
    this.matrix.setAttribute(
      'aria-label',
      `Attention of ${who} in layer ${this.layer}, ${length} by ${counted(length, 'token')}`,
    );
    this.showToken(this.token);
  }

  private drawHead(canvas: Heat, of: number): void {
    const { length } = this.seen.tokens;
    drawHeat(canvas, length, length, (x, y) => (x <= y ? Math.sqrt(this.weightOf(y, x, of)) : undefined));
  }

  private showToken(chosen: number): void {
    this.token = chosen;
    const { tokens } = this.seen;
    for (const [i, span] of [...this.words.children].entries()) {
      const share = i <= chosen ? this.weightOf(chosen, i) : 0;
      span.className = share >= 0.5 ? 'look4' : share >= 0.2 ? 'look3' : share >= 0.05 ? 'look2' : share >= 0.02 ? 'look1' : '';
      span.setAttribute('aria-selected', String(i === chosen));
      (span as HTMLElement).tabIndex = i === chosen ? 0 : -1;
    }
    const best = tokens
      .slice(0, chosen + 1)
      .map((name, i) => ({ name, share: this.weightOf(chosen, i) }))
      .sort((a, b) => b.share - a.share)
      .slice(0, 4);
    const shares = best.map(({ name, share }) => `${named(name)} ${percent(share)}`);
    this.readout.textContent = `${named(tokens[chosen])} looks at ${shares.join(', ')}`;
  }

  private word(name: string, index: number): HTMLElement {
    const span = element('span', { tabIndex: -1 }, name.replaceAll('\n', '⏎\n'));
    span.setAttribute('role', 'option');
    span.setAttribute('aria-label', named(name));
    span.onpointerenter = () => this.showToken(index);
    span.onfocus = () => this.showToken(index);
    span.onclick = () => span.focus();
    return span;
  }

  private weightOf(row: number, column: number, of = this.head): number {
    const { attention, heads, tokens } = this.seen;
    const at = (head: number): number => attention[(head * tokens.length + row) * tokens.length + column];
    if (of >= 0) return at(of);
    let sum = 0;
    for (let head = 0; head < heads; head++) sum += at(head);
    return sum / heads;
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.095 ? 1 : 0)}%`;
}
