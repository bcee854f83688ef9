// What happens in the loaded model over a text: which tokens each head looks at in a layer, and how long hidden states are from layer to
// layer. Computed in the worker, when it is asked for; the pictures are attention.ts and lengths.ts.

import type { Inside } from '../../browser.js';
import { element, reasonOf } from '../elements.js';
import { anyModel } from '../engine.js';
import { counted } from '../format.js';
import { Store } from '../store.js';
import { AttentionView } from './attention.js';
import { LengthsView } from './lengths.js';

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
  const attention = new AttentionView();
  const lengths = new LengthsView();
  const result = element(
    'div',
    { className: 'result', hidden: true },
    element('h3', {}, 'Attention'),
    element('div', { className: 'row layer' }, element('label', { htmlFor: 'look-layer' }, 'Layer'), layer, layerName),
    ...attention.elements,
    element('h3', {}, 'Hidden states'),
    ...lengths.elements,
  );

  let ids: number[] = [];
  let seen: Inside | undefined;
  let running: AbortController | undefined;

  const draw = (): void => {
    if (!seen) return;
    attention.draw();
    lengths.draw(seen);
  };

  const compute = async (anotherText: boolean): Promise<void> => {
    running?.abort();
    const controller = new AbortController();
    running = controller;
    status.textContent = 'Computing…';
    try {
      const model = await anyModel();
      const last = model.config.layers.length - 1;
      layer.max = String(last);
      if (Number(layer.value) > last) layer.value = String(last);
      layerName.textContent = `${layer.value} of 0 to ${last}`;
      if (anotherText) ids = await model.encode(text.value);
      const at = Number(layer.value);
      const found = await model.inside(ids.slice(0, mostTokens), at, controller.signal);
      if (running !== controller) return;
      seen = found;
      status.textContent =
        ids.length > mostTokens
          ? `The first ${mostTokens} of ${counted(ids.length, 'token')}.`
          : `${counted(found.tokens.length, 'token')}.`;
      attention.take(found, at, anotherText);
      result.hidden = false;
      draw();
    } catch (error) {
      if (!controller.signal.aborted) status.textContent = reasonOf(error);
    }
  };

  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
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
