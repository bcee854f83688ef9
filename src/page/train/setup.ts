// What a training needs to be told: the text (text-card.ts), the size, how long. Answers with options for `train`; nothing is trained here.

import { estimateTraining, type TrainOptions } from '../../browser.js';
import { button, element, facts, reasonOf } from '../elements.js';
import { bytes, counted, duration, short, whole } from '../format.js';
import { trainingFields } from '../words.js';
import { knownSpeed, type Size, settingsOf, sizes, stepChoices, tokensOf, usualSize, usualSteps } from './sizes.js';
import { textCard } from './text-card.js';

export interface Setup {
  readonly element: HTMLElement;
  /** Takes files as the text: one behind another. */
  take(files: readonly File[]): Promise<void>;
}

type Begin = (name: string, options: TrainOptions) => void;

export function setup(begin: Begin): Setup {
  const text = textCard(() => show());
  const size = range('Size', sizes.length - 1, usualSize);
  const length = range('Steps', stepChoices.length - 1, usualSteps);
  const drawing = element('div', { className: 'layers' });
  const figures = element('dl', { className: 'figures' });
  const start = button('Start training', go);
  start.className = 'main';
  const wrong = element('p', { className: 'error', hidden: true });
  wrong.setAttribute('role', 'alert');
  const fields = advanced(() => void show());
  size.input.oninput = () => void show();
  length.input.oninput = () => void show();

  /** What the dials stand for, with this text. */
  async function show(): Promise<void> {
    const { material } = text;
    const { options, chosenSize, steps } = settings();
    text.hint(
      material
        ? `${bytes(material.facts.bytes)}, about ${counted(tokensOf(material.facts), 'token', short)}.`
        : 'A few pages show that it works; a book learns to write like it.',
    );
    fields.placeholders({ ...options, prompt: material?.prompt });
    size.say(`${counted(chosenSize.layers, 'layer')}, ${chosenSize.width} wide`);
    length.say(counted(steps, 'step', whole));
    try {
      const { config, parameters, bytes: memory, flopsPerToken } = await estimateTraining(options);
      const seconds = (steps * options.batch * options.length * flopsPerToken) / knownSpeed();
      const taken = facts([
        ['Parameters', short(parameters)],
        ['Vocabulary', whole(options.vocabSize)],
        ['Memory', bytes(memory)],
        ['Time', `about ${duration(seconds)}`],
      ]);
      figures.replaceChildren(...taken);
      drawing.replaceChildren(...bars(config.layers.map(({ qkvDim, ffnDim }) => qkvDim + ffnDim)));
      wrong.hidden = true;
      start.disabled = text.material === undefined;
    } catch (error) {
      wrong.textContent = reasonOf(error);
      wrong.hidden = false;
      start.disabled = true;
    }
  }

  function settings() {
    const chosenSize: Size = sizes[Number(size.input.value)];
    const steps = stepChoices[Number(length.input.value)];
    const facts = text.material?.facts ?? { bytes: 1e6, characters: 60 };
    const options = { ...settingsOf(chosenSize, facts), ...fields.values() };
    return { options, chosenSize, steps };
  }

  function go(): void {
    const { material } = text;
    if (!material) return;
    const { options, steps } = settings();
    const { seed = 0, prompt = material.prompt, ...others } = options;
    const every = Math.max(10, Math.round(steps / 20 / 10) * 10);
    begin(material.name, {
      ...others,
      text: material.text,
      ...{ steps, seed, samples: { every, prompt, maxTokens: 60 }, validation: { every, share: 0.03 } },
    });
  }

  const shape = element('section', { className: 'card' });
  shape.append(element('h2', {}, 'Model'), drawing, size.element, length.element, figures, fields.element, wrong, start);
  void show();
  return { element: element('div', { className: 'setup' }, text.element, shape), take: text.take };
}

/** A bar a layer, as wide as it is beside the widest. */
function bars(widths: readonly number[]): HTMLElement[] {
  const widest = Math.max(...widths);
  return widths.map((width) => {
    const bar = element('span');
    bar.style.width = `${(100 * width) / widest}%`;
    return bar;
  });
}

function range(label: string, max: number, value: number) {
  const id = `dial-${label.toLowerCase()}`;
  const input = element('input', { id, type: 'range', min: '0', max: String(max), step: '1', value: String(value) });
  const output = element('span', { className: 'quiet' });
  const dial = element('div', { className: 'dial' }, element('label', { htmlFor: id }, label), output, input);
  const say = (words: string): void => {
    output.textContent = words;
    input.setAttribute('aria-valuetext', words);
  };
  return { input, say, element: dial };
}

type Fields = { -readonly [Name in keyof typeof trainingFields]?: Name extends 'prompt' ? string : number };

/** What the dials would choose, to be chosen otherwise. */
function advanced(changed: () => void) {
  const inputs = Object.entries(trainingFields).map(([name, label]) => {
    const type = name === 'prompt' ? 'text' : 'number';
    const input = element('input', { type, name, min: '0', step: name === 'learningRate' ? 'any' : '1', oninput: changed });
    return { name: name as keyof Fields, input, element: element('label', {}, label, input) };
  });
  const grid = element('div', { className: 'grid' }, ...inputs.map((field) => field.element));
  return {
    element: element('details', {}, element('summary', {}, 'More settings'), grid),
    /** Those that were filled in. */
    values(): Fields {
      const filled = inputs.filter(({ input }) => input.value !== '');
      return Object.fromEntries(filled.map(({ name, input }) => [name, name === 'prompt' ? input.value : Number(input.value)]));
    },
    placeholders(usual: object): void {
      for (const { name, input } of inputs)
        input.placeholder = String((usual as Record<string, unknown>)[name] ?? (name === 'seed' ? 0 : 'the first words'));
    },
  };
}
