// A training as one looks at it: where it stands, its curve, what it writes. It shows and asks; who trains is train.ts.

import type { KeptTraining, StepReport } from '../../browser.js';
import { button, element } from '../elements.js';
import { duration, short, whole } from '../format.js';
import { curve } from './curve.js';

/** What can be done with a training. */
export interface Actions {
  pause(): void;
  proceed(): void;
  chat(): void;
  archive(): void;
  /** Left out where the browser has no folders. */
  folder?(): void;
  remove(): void;
  /** Back to what is kept, and to another. */
  leave(): void;
}

export type State = 'preparing' | 'training' | 'stopping' | 'paused' | 'finished';

type History = KeptTraining['history'];

/** Samples that are shown. */
const mostSamples = 12;

export class RunView {
  readonly element: HTMLElement;
  private readonly title = element('h2', { tabIndex: -1 });
  private readonly about = element('p', { className: 'quiet' });
  private readonly status = element('p', { className: 'status' });
  private readonly notice = element('p', { className: 'notice', hidden: true });
  private readonly bar = element('progress', { max: 1, value: 0 });
  private readonly figures: Readonly<Record<'loss' | 'held' | 'speed' | 'left', HTMLElement>>;
  private readonly buttons = element('div', { className: 'row' });
  private readonly curve = curve();
  private readonly samples = element('ol', { className: 'samples' });
  private history: History = { losses: [], validations: [], samples: [] };
  private steps = 1;
  private speeds: number[] = [];
  private drawing = false;
  private report: StepReport | undefined;

  constructor(private readonly actions: Actions) {
    this.status.setAttribute('role', 'status');
    this.bar.setAttribute('aria-label', 'Steps done');
    const figure = (): HTMLElement => element('dd', {}, '–');
    this.figures = { loss: figure(), held: figure(), speed: figure(), left: figure() };
    const { loss, held, speed, left } = this.figures;
    const named = (name: string, value: HTMLElement) => element('div', {}, element('dt', {}, name), value);
    const list = element(
      'dl',
      { className: 'big' },
      named('Loss', loss),
      named('Loss on held-back text', held),
      named('Tokens per second', speed),
      named('Time left', left),
    );
    const legend = element(
      'p',
      { className: 'lines quiet' },
      element('span', { className: 'key loss' }),
      'loss of each step',
      element('span', { className: 'key held' }),
      'loss on text held back',
    );
    const head = element('div', { className: 'head' }, element('div', {}, this.title, this.about), this.buttons);
    this.element = element(
      'section',
      { className: 'run', hidden: true },
      element('div', { className: 'card' }, head, this.bar, this.status, this.notice, list, this.curve.element, legend),
      element('div', { className: 'card written' }, element('h2', {}, 'What it writes'), this.samples),
    );
  }

  /** Another training, as it stands. */
  open(name: string, about: string, steps: number, history: History): void {
    this.title.textContent = name;
    this.steps = steps;
    // A copy: what comes is put behind.
    this.history = {
      losses: [...history.losses],
      validations: [...history.validations],
      samples: [...history.samples],
    };
    this.speeds = [];
    this.report = undefined;
    this.notice.hidden = true;
    this.describe(about);
    this.samples.replaceChildren(...history.samples.slice(-mostSamples).reverse().map(sampleItem));
    this.element.hidden = false;
    this.draw();
    this.title.focus();
  }

  describe(about: string): void {
    this.about.textContent = about;
  }

  say(words: string): void {
    this.status.textContent = words;
  }

  show(state: State, words: string): void {
    const { actions } = this;
    this.say(words);
    this.element.dataset.state = state;
    const act = (label: string, action: () => void, main = false): HTMLButtonElement => {
      const made = button(label, action);
      if (main) made.className = 'main';
      return made;
    };
    const { folder } = actions;
    const rest = [
      act('Chat with it', actions.chat, state === 'finished'),
      act('Download', actions.archive),
      ...(folder ? [act('Save as folder…', folder)] : []),
      act('Delete', actions.remove),
      act('Back', actions.leave),
    ];
    const pause = act('Pause', actions.pause, true);
    pause.disabled = state === 'stopping';
    const own = {
      preparing: [act('Cancel', actions.pause)],
      training: [pause],
      stopping: [pause],
      paused: [act('Continue', actions.proceed, true), ...rest],
      finished: rest,
    }[state];
    const focused = this.buttons.contains(document.activeElement);
    this.buttons.replaceChildren(...own);
    if (focused) (own.find(({ disabled }) => !disabled) ?? this.title).focus();
    if (state !== 'training') this.figures.left.textContent = '–';
  }

  notify(message: string): void {
    this.notice.textContent = message;
    this.notice.hidden = false;
  }

  onStep(report: StepReport): void {
    this.report = report;
    this.history.losses[report.step - 1] = report.means.loss;
    this.speeds.push(report.tokensPerSecond);
    if (this.speeds.length > 10) this.speeds.shift();
    this.drawSoon();
  }

  onValidation({ step, loss }: { step: number; loss: number }): void {
    this.history.validations.push([step, loss]);
    this.drawSoon();
  }

  onSample({ step, text }: { step: number; text: string }): void {
    this.history.samples.push([step, text]);
    this.samples.prepend(sampleItem([step, text]));
    while (this.samples.childElementCount > mostSamples) this.samples.lastElementChild!.remove();
  }

  /** Tokens a second of late. */
  get speed(): number {
    return this.speeds.length === 0 ? 0 : this.speeds.length / this.speeds.reduce((sum, speed) => sum + 1 / speed, 0);
  }

  /** A few times a second, however quick the steps are. */
  private drawSoon(): void {
    if (this.drawing) return;
    this.drawing = true;
    setTimeout(() => {
      this.drawing = false;
      this.draw();
    }, 200);
  }

  private draw(): void {
    const { figures, history, report } = this;
    const last = history.losses.slice(-10);
    const step = history.losses.length;
    const state = this.element.dataset.state;
    this.bar.max = this.steps;
    this.bar.value = step;
    if (state === 'training') this.status.textContent = `Step ${whole(step)} of ${whole(this.steps)}`;
    figures.loss.textContent = last.length === 0 ? '–' : (last.reduce((sum, loss) => sum + loss, 0) / last.length).toFixed(2);
    figures.held.textContent = history.validations.at(-1)?.[1].toFixed(2) ?? '–';
    figures.speed.textContent = this.speed > 0 ? short(this.speed) : '–';
    if (state === 'training' && report) figures.left.textContent = duration(report.secondsLeft);
    this.curve.draw(history, this.steps);
  }
}

function sampleItem([step, text]: readonly [number, string]): HTMLElement {
  return element('li', {}, element('span', { className: 'quiet' }, `step ${whole(step)}`), element('p', {}, text));
}
