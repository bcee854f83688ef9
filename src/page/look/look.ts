// The Look inside tab: how layer-wise scaling shares out a model's parameters (shape.ts), and what happens in the loaded one over a
// text (inside.ts).

import type { ModelShape } from '../../browser.js';
import { element } from '../elements.js';
import { current, loadedId, tools } from '../engine.js';
import { insideOf } from './inside.js';
import { shapeView } from './shape.js';

export async function open(place: HTMLElement): Promise<void> {
  const { shapeOf, sizes } = await tools();
  const view = shapeView();
  const choice = element('fieldset', { className: 'segments' }, element('legend', { className: 'hidden' }, 'Model'));
  const own = segment('the loaded model');
  const labels = sizes.map((name) => segment(name.replace('OpenELM-', '').replace('_', '.'), () => view.show(shapeOf(name))));
  choice.append(...labels.map(({ label }) => label), own.label);
  labels[0].input.checked = true;
  view.show(shapeOf(sizes[0]));
  own.label.hidden = true;

  let id: string | undefined;
  const showLoaded = async (): Promise<void> => {
    const model = await current()?.catch(() => undefined);
    const now = loadedId();
    if (!model || now === undefined || now === id) return;
    id = now;
    const shape: ModelShape = shapeOf(model.config);
    own.input.onchange = () => view.show(shape);
    own.label.hidden = false;
    own.name.textContent = now;
    if (own.input.checked) view.show(shape);
  };
  place.addEventListener('show', () => void showLoaded());
  void showLoaded();

  const scaling = element(
    'section',
    {},
    element('h2', {}, 'Layer-wise scaling'),
    element(
      'p',
      { className: 'quiet' },
      'OpenELM does not make all layers alike: those near the output have more heads and wider feed-forward networks. Each row is a layer, the first at the bottom.',
    ),
    choice,
    view.element,
  );
  const inside = insideOf(place);
  place.append(element('div', { className: 'column' }, element('h1', {}, 'Look inside'), scaling, inside));
}

function segment(text: string, chosen: () => void = () => undefined) {
  const input = element('input', { type: 'radio', name: 'shape', onchange: chosen });
  const name = element('span', {}, text);
  return { input, name, label: element('label', {}, input, name) };
}
