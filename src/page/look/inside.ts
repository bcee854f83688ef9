// What happens in the loaded model over a text: which tokens each head looks at in a layer, and how long hidden states are from layer to
// layer. Computed in the worker; here are the pictures, and the same in words and tables.

import type { Inside } from '../../browser.js';
import { element, reasonOf } from '../elements.js';
import { current, modelOf, offered } from '../engine.js';
import { Store } from '../store.js';
import { drawHeat, heat } from './heat.js';

const sample = 'Once upon a time there was a little bear who lost his red shoe. He asked the fox, but the fox had not seen it.';
/** More cannot be told apart in a picture. */
const mostTokens = 96;

export function insideOf(tab: HTMLElement): HTMLElement {
  const text = element('textarea', { id: 'look-text', rows: 3, value: sample });
  const look = element('button', { type: 'submit', className: 'main' }, 'Look');
  const status = element('p', { className: 'quiet' }, '');
  status.setAttribute('role', 'status');
  const layer = element('input', { type: 'range', id: 'look-layer', min: '0', max: '0', value: '0' });
  const layerName = element('output', {}, '0');
  const heads = element('fieldset', { className: 'heads' });
  const matrix = heat('matrix');
  const readout = element('p', { className: 'readout' }, '');
  const words = element('div', { className: 'tokens looked' });
  words.setAttribute('role', 'listbox');
  words.setAttribute('aria-label', 'Tokens: choose one to see what it looks at');
  const norms = heat('norms');
  const normsReadout = element('p', { className: 'readout' }, '');
  const normsTable = element('table', {});
  const result = element(
    'div',
    { className: 'result', hidden: true },
    element('h3', {}, 'Attention'),
    element('div', { className: 'row layer' }, element('label', { htmlFor: 'look-layer' }, 'Layer'), layer, layerName),
    element('p', { className: 'quiet' }, 'Each square is a head: a row is a token, a column what it looks at.'),
    heads,
    element('div', { className: 'two' }, matrix, element('div', {}, words, readout)),
    element('h3', {}, 'Hidden states'),
    element(
      'p',
      { className: 'quiet' },
      'How long each token’s vector is, from the embedding at the bottom to what the output layer gets at the top.',
    ),
    norms,
    normsReadout,
    element(
      'details',
      {},
      element('summary', {}, 'Lengths as a table'),
      element('div', { className: 'scroll', tabIndex: 0 }, normsTable),
    ),
  );

  let ids: number[] = [];
  let seen: Inside | undefined;
  let head = -1; // all, their mean
  let token = 0;
  let running: AbortController | undefined;

  const weightOf = (row: number, column: number, of = head): number => {
    const { attention, heads: all, tokens } = seen!;
    const at = (h: number): number => attention[(h * tokens.length + row) * tokens.length + column];
    if (of >= 0) return at(of);
    let sum = 0;
    for (let h = 0; h < all; h++) sum += at(h);
    return sum / all;
  };

  const showToken = (chosen: number): void => {
    token = chosen;
    const { tokens } = seen!;
    for (const [i, span] of [...words.children].entries()) {
      const share = i <= token ? weightOf(token, i) : 0;
      span.className = share >= 0.5 ? 'look4' : share >= 0.2 ? 'look3' : share >= 0.05 ? 'look2' : share >= 0.02 ? 'look1' : '';
      span.setAttribute('aria-selected', String(i === token));
      (span as HTMLElement).tabIndex = i === token ? 0 : -1;
    }
    const best = tokens
      .slice(0, token + 1)
      .map((name, i) => ({ name, share: weightOf(token, i) }))
      .sort((a, b) => b.share - a.share)
      .slice(0, 4);
    readout.textContent = `${named(tokens[token])} looks at ${best.map(({ name, share }) => `${named(name)} ${percent(share)}`).join(', ')}`;
  };

  const showHead = (chosen: number): void => {
    head = chosen;
    const { length } = seen!.tokens;
    drawHeat(matrix, length, length, (x, y) => (x <= y ? Math.sqrt(weightOf(y, x)) : undefined));
    const who = head < 0 ? 'the mean of all heads' : `head ${head}`;
    matrix.setAttribute('aria-label', `Attention of ${who} in layer ${layer.value}, ${length} by ${length} tokens`);
    showToken(token);
  };

  const showHeads = (): void => {
    const { heads: all, tokens } = seen!;
    const one = (of: number): HTMLElement => {
      const input = element('input', { type: 'radio', name: 'head', checked: of === head, onchange: () => showHead(of) });
      const canvas = heat('thumbnail');
      drawHeat(canvas, tokens.length, tokens.length, (x, y) => (x <= y ? Math.sqrt(weightOf(y, x, of)) : undefined));
      canvas.setAttribute('aria-hidden', 'true');
      canvas.removeAttribute('role');
      return element('label', {}, input, canvas, element('span', {}, of < 0 ? 'mean' : String(of)));
    };
    head = Math.min(head, all - 1);
    const made = Array.from({ length: all + 1 }, (_, i) => one(i - 1));
    heads.replaceChildren(element('legend', { className: 'hidden' }, 'Head'), ...made);
  };

  const showNorms = (): void => {
    const { norms: lengths, tokens } = seen!;
    const rows = lengths.length / tokens.length;
    const logs = Array.from(lengths, Math.log);
    const [least, most] = [Math.min(...logs), Math.max(...logs)];
    const rowOf = (y: number): number => rows - 1 - y;
    drawHeat(norms, tokens.length, rows, (x, y) => (logs[rowOf(y) * tokens.length + x] - least) / (most - least || 1));
    norms.setAttribute('aria-label', `Lengths of hidden states, ${rows} layers by ${tokens.length} tokens`);
    const nameOf = (row: number): string => (row === 0 ? 'embedding' : row === rows - 1 ? 'output' : `after layer ${row - 1}`);
    norms.onpointermove = (event) => {
      const [x, y] = norms.cell(event);
      normsReadout.textContent = `${named(tokens[x])}, ${nameOf(rowOf(y))}: ${lengths[rowOf(y) * tokens.length + x].toFixed(2)}`;
    };
    normsReadout.textContent = `From ${Math.exp(least).toFixed(2)} to ${Math.exp(most).toFixed(1)}; point at a place to see its length.`;
    const body = Array.from({ length: rows }, (_, row) => {
      const own = lengths.subarray(row * tokens.length, (row + 1) * tokens.length);
      const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
      const cells = [Math.min(...own), mean, Math.max(...own)].map((value) => element('td', {}, value.toFixed(2)));
      return element('tr', {}, element('th', { scope: 'row' }, nameOf(row)), ...cells);
    });
    const names = ['', 'Least', 'Mean', 'Most'].map((name) =>
      element(name === '' ? 'td' : 'th', { scope: 'col' } as object, name),
    );
    normsTable.replaceChildren(element('thead', {}, element('tr', {}, ...names)), element('tbody', {}, ...body));
  };

  const compute = async (again: boolean): Promise<void> => {
    running?.abort();
    const controller = new AbortController();
    running = controller;
    status.textContent = 'Computing…';
    try {
      const model = await (current() ?? modelOf((await offered())[0].id));
      const last = model.config.layers.length - 1;
      layer.max = String(last);
      if (Number(layer.value) > last) layer.value = String(last);
      layerName.textContent = `${layer.value} of 0 to ${last}`;
      if (again) ids = await model.encode(text.value);
      const found = await model.inside(ids.slice(0, mostTokens), Number(layer.value), controller.signal);
      if (running !== controller) return;
      seen = found;
      if (again) token = found.tokens.length - 1;
      status.textContent =
        ids.length > mostTokens ? `The first ${mostTokens} of ${ids.length} tokens.` : `${found.tokens.length} tokens.`;
      if (again) words.replaceChildren(...found.tokens.map((name, i) => word(name, i)));
      result.hidden = false;
      showHeads();
      showHead(head);
      showNorms();
    } catch (error) {
      if (!controller.signal.aborted) status.textContent = reasonOf(error);
    }
  };

  const word = (name: string, index: number): HTMLElement => {
    const span = element('span', { tabIndex: -1 }, name.replaceAll('\n', '⏎\n'));
    span.setAttribute('role', 'option');
    span.setAttribute('aria-label', named(name));
    span.onpointerenter = () => showToken(index);
    span.onfocus = () => showToken(index);
    span.onclick = () => span.focus();
    return span;
  };
  words.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = step === undefined ? undefined : words.children[token + step];
    if (!next) return;
    event.preventDefault();
    (next as HTMLElement).focus();
  };
  matrix.onpointermove = (event) => {
    const [x, y] = matrix.cell(event);
    if (x > y) return;
    showToken(y);
    const { tokens } = seen!;
    readout.textContent = `${named(tokens[y])} looks at ${named(tokens[x])}: ${percent(weightOf(y, x))}`;
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    if (!seen) return;
    showHeads();
    showHead(head);
    showNorms();
  });

  let waiting: ReturnType<typeof setTimeout> | undefined;
  layer.oninput = () => {
    layerName.textContent = `${layer.value} of 0 to ${layer.max}`;
    clearTimeout(waiting);
    waiting = setTimeout(() => void compute(false), 80);
  };
  tab.addEventListener('leave', () => running?.abort());
  const form = element(
    'form',
    { onsubmit: (event) => event.preventDefault() },
    element('label', { htmlFor: 'look-text' }, 'Text'),
    text,
    element('div', { className: 'row' }, look, status),
  );
  form.addEventListener('submit', () => void compute(true));
  void lastAnswer().then((found) => {
    if (found && text.value === sample) text.value = found;
  });
  return element('section', {}, element('h2', {}, 'Inside of a text'), form, result);
}

/** Of the newest conversation. */
async function lastAnswer(): Promise<string | undefined> {
  const store = new Store();
  await store.load();
  return store.all()[0]?.turns.findLast(({ role }) => role === 'assistant')?.content;
}

function named(token: string): string {
  return token.trim() === '' ? (token.includes('\n') ? 'line break' : 'space') : `“${token.trim()}”`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.095 ? 1 : 0)}%`;
}
