// What a training needs to be told: the text, the size, how long. Answers with options for `train`; nothing is trained here.

import type { TrainOptions } from '../../browser.js';
import { button, element, reasonOf } from '../elements.js';
import { engine } from '../engine.js';
import { bytes, duration, short, whole } from '../format.js';
import {
  knownSpeed,
  type Size,
  settingsOf,
  sizes,
  stepChoices,
  type TextFacts,
  tokensOf,
  usualSize,
  usualSteps,
} from './sizes.js';

export interface Setup {
  readonly element: HTMLElement;
  /** Takes files as the text: one behind another. */
  take(files: readonly File[]): Promise<void>;
}

interface Material {
  readonly name: string;
  readonly text: Blob;
  readonly facts: TextFacts;
  readonly beginning: string;
  /** What samples begin with. */
  readonly prompt: string;
}

type Begin = (name: string, options: TrainOptions) => void;

/** Looked at to know what a text is like. */
const looked = 200_000;
const between = '\n<|endoftext|>\n';

export function setup(begin: Begin): Setup {
  let material: Material | undefined;
  const pasted = element('textarea', { rows: 7, placeholder: 'Paste or write a text here, or drop files anywhere on this page' });
  pasted.setAttribute('aria-label', 'The text to learn from');
  const chosen = element('div', { className: 'chosen', hidden: true });
  const picker = element('input', { type: 'file', multiple: true, accept: '.txt,.md,.csv,.json,.html,text/*', hidden: true });
  const hint = element('p', { className: 'quiet' });
  const warning = element('p', { className: 'error', hidden: true });
  warning.setAttribute('role', 'alert');

  const size = range('Size', sizes.length - 1, usualSize);
  const length = range('Steps', stepChoices.length - 1, usualSteps);
  const drawing = element('div', { className: 'layers' });
  const figures = element('dl', { className: 'figures' });
  const start = button('Start training', () => void go());
  start.className = 'main';
  const fields = advanced(() => void show());

  const choose = button('Choose files…', () => picker.click());
  const sample = button('Take the sample', () => void takeSample());
  picker.onchange = () => {
    void take([...(picker.files ?? [])]);
    picker.value = '';
  };
  let waiting: ReturnType<typeof setTimeout> | undefined;
  pasted.oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => void showPasted(), 200);
  };
  size.input.oninput = () => void show();
  length.input.oninput = () => void show();

  async function showPasted(): Promise<void> {
    const { value } = pasted;
    material = value.trim() === '' ? undefined : await materialOf('My text', new Blob([value]));
    await show();
  }

  async function takeSample(): Promise<void> {
    const response = await fetch(new URL('tales.txt', import.meta.url));
    await use({ ...(await materialOf('Household Tales', await response.blob())), prompt: 'There was once' });
  }

  async function take(files: readonly File[]): Promise<void> {
    if (files.length === 0) return;
    const parts = files.flatMap((file, i) => (i === 0 ? [file] : [between, file]));
    const name = files[0].name.replace(/\.\w+$/, '') + (files.length > 1 ? ` and ${files.length - 1} more` : '');
    await use(await materialOf(name, new Blob(parts)));
  }

  async function use(next: Material): Promise<void> {
    warning.hidden = true;
    if (/[\0\uFFFD]/.test(next.beginning)) return warn(`${next.name} is no text in UTF-8: choose a plain text file`);
    if (next.beginning.trim() === '') return warn(`${next.name} is empty: choose another text`);
    material = next;
    pasted.hidden = true;
    const other = button('Another text', () => {
      material = undefined;
      chosen.hidden = true;
      pasted.hidden = false;
      void showPasted();
      pasted.focus();
    });
    chosen.replaceChildren(
      element('div', { className: 'row' }, element('strong', {}, next.name), element('span', { className: 'gap' }), other),
      element('p', { className: 'beginning' }, next.beginning.slice(0, 600)),
    );
    chosen.hidden = false;
    await show();
  }

  function warn(message: string): void {
    warning.textContent = message;
    warning.hidden = false;
  }

  /** What the dials stand for, with this text. */
  async function show(): Promise<void> {
    const { options, chosenSize, steps } = settings();
    hint.textContent = material
      ? `${bytes(material.facts.bytes)}, about ${short(tokensOf(material.facts))} tokens.`
      : 'A few pages show that it works; a book learns to write like it.';
    fields.placeholders({ ...options, prompt: material?.prompt });
    size.say(`${chosenSize.layers} layers, ${chosenSize.width} wide`);
    length.say(`${whole(steps)} steps`);
    try {
      const { config, parameters, bytes: memory, flopsPerToken } = await (await engine()).estimateTraining(options);
      const seconds = (steps * options.batch * options.length * flopsPerToken) / knownSpeed();
      figures.replaceChildren(
        ...figure('Parameters', short(parameters)),
        ...figure('Vocabulary', whole(options.vocabSize)),
        ...figure('Memory', bytes(memory)),
        ...figure('Time', `about ${duration(seconds)}`),
      );
      const widths = config.layers.map(({ qkvDim, ffnDim }) => qkvDim + ffnDim);
      const widest = Math.max(...widths);
      const bars = widths.map((width) => {
        const bar = element('span');
        bar.style.width = `${(100 * width) / widest}%`;
        return bar;
      });
      drawing.replaceChildren(...bars);
      warning.hidden = true;
    } catch (error) {
      warn(reasonOf(error));
    }
    start.disabled = material === undefined;
  }

  function settings() {
    const chosenSize: Size = sizes[Number(size.input.value)];
    const steps = stepChoices[Number(length.input.value)];
    const facts = material?.facts ?? { bytes: 1e6, characters: 60 };
    const options = { ...settingsOf(chosenSize, facts), ...fields.values() };
    return { options, chosenSize, steps };
  }

  async function go(): Promise<void> {
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

  const text = element('section', { className: 'card' });
  text.append(
    element('h2', {}, 'Text'),
    pasted,
    chosen,
    element('div', { className: 'row' }, choose, sample, picker),
    hint,
    warning,
  );
  const shape = element('section', { className: 'card' });
  shape.append(element('h2', {}, 'Model'), drawing, size.element, length.element, figures, fields.element, start);
  void show();
  return { element: element('div', { className: 'setup' }, text, shape), take };
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

function figure(name: string, value: string): HTMLElement[] {
  return [element('dt', {}, name), element('dd', {}, value)];
}

const fieldNames = {
  vocabSize: 'Vocabulary',
  batch: 'Windows in a step',
  length: 'Tokens of a window',
  learningRate: 'Learning rate',
  seed: 'Seed',
  prompt: 'Samples begin with',
} as const;
type Fields = { -readonly [Name in keyof typeof fieldNames]?: Name extends 'prompt' ? string : number };

/** What the dials would choose, to be chosen otherwise. */
function advanced(changed: () => void) {
  const inputs = Object.entries(fieldNames).map(([name, label]) => {
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
