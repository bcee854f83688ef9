// The Bench tab: the loaded model's speed on this device by the paper's protocol and llama-bench's, a row a run, to be copied as Markdown.
// It is measured where it is computed (infer/measure.ts); here are the buttons and the table.

import type { BrowserModel } from '../../browser.js';
import { copyButton, element, facts, reasonOf } from '../elements.js';
import { anyModel, current, loadedId, tools } from '../engine.js';
import { counted } from '../format.js';
import { browserName, deviceName } from './device.js';

type Speeds = Awaited<ReturnType<Awaited<ReturnType<typeof tools>>['measureSpeed']>>;

interface Run {
  readonly model: string;
  readonly dtype: string;
  readonly megabytes: number;
  readonly backend: string;
  readonly speeds: Speeds;
}

export function open(place: HTMLElement): void {
  const rounds = element(
    'select',
    { id: 'bench-rounds' },
    ...['1', '3', '5'].map((n) => element('option', { value: n, selected: n === '3' }, n)),
  );
  const start = element('button', { type: 'button', className: 'main' }, 'Measure');
  const stop = element('button', { type: 'button', hidden: true }, 'Cancel');
  const progress = element('progress', { max: 1, value: 0 });
  progress.setAttribute('aria-label', 'Measurements that are done');
  const status = element('p', { className: 'quiet' }, 'A minute or less for small models.');
  status.setAttribute('role', 'status');
  const table = element('table', {});
  const copy = copyButton('Copy as Markdown', () => markdown(runs));
  const results = element('section', { hidden: true }, element('div', { className: 'scroll', tabIndex: 0 }, table), copy);
  const what = element('dl', { className: 'facts' });
  const runs: Run[] = [];
  let running: AbortController | undefined;
  const say = (text: string): void => {
    status.textContent = text;
  };

  const describe = async (): Promise<void> => {
    const model = await current()?.catch(() => undefined);
    const known = facts([
      ['browser', browserName()],
      ['device', deviceName()],
      ['cores', String(navigator.hardwareConcurrency)],
      ['model', model ? `${loadedId()}, ${model.weights.dtype}` : 'loaded with the first run'],
      ...(model ? [['computed by', model.backend.description] as const] : []),
    ]);
    what.replaceChildren(...known);
  };

  const measure = async (): Promise<void> => {
    const controller = new AbortController();
    running = controller;
    const pressed = document.activeElement === start;
    start.hidden = true;
    stop.hidden = false;
    if (pressed) stop.focus();
    progress.value = 0;
    say('Loading…');
    try {
      const model = await anyModel();
      const name = loadedId() ?? '';
      void describe();
      const speeds = await speedsOf(model, Number(rounds.value), controller.signal, (done, total, next) => {
        progress.value = done / total;
        say(`Measuring ${next}: ${done} of ${total} done.`);
      });
      progress.value = 1;
      runs.push({
        model: name,
        ...model.weights,
        megabytes: model.weights.bytes / 1e6,
        backend: model.backend.description,
        speeds,
      });
      table.replaceChildren(...rowsOf(runs));
      results.hidden = false;
      say('Measured. Speeds are medians, in tokens a second.');
    } catch (error) {
      progress.value = 0;
      say(controller.signal.aborted ? 'Cancelled.' : reasonOf(error));
    } finally {
      start.hidden = false;
      if (document.activeElement === stop) start.focus();
      stop.hidden = true;
      running = undefined;
    }
  };
  start.onclick = () => void measure();
  stop.onclick = () => running?.abort();
  place.addEventListener('show', () => void describe());
  void describe();

  const protocol =
    'How fast the loaded model answers here. The paper’s protocol: a prompt of 39 tokens and 985 generated, alone, after a warm-up; llama-bench’s: a prompt of 512 (pp512), and 128 generated (tg128). Other tabs and a battery slow it down.';
  place.append(
    element(
      'div',
      { className: 'column' },
      element('h1', {}, 'Bench'),
      element('p', { className: 'quiet about' }, protocol),
      what,
      element('div', { className: 'row' }, element('label', { htmlFor: 'bench-rounds' }, 'Rounds'), rounds, start, stop),
      progress,
      status,
      results,
    ),
  );
}

async function speedsOf(
  model: BrowserModel,
  rounds: number,
  signal: AbortSignal,
  onProgress: (done: number, total: number, next: string) => void,
): Promise<Speeds> {
  const { measureSpeed } = await tools();
  const { vocabSize, maxContextLength: context } = model.config;
  return measureSpeed(
    { vocabSize, context, complete: (prompt, options) => model.complete(prompt, options) },
    { rounds, signal, onProgress },
  );
}

const speed = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(value < 100 ? 1 : 0));

function cellsOf({ model, dtype, megabytes, backend, speeds }: Run): string[] {
  const { prompt, generation, total, firstTokenMs, pp512, tg128 } = speeds;
  return [
    ...[
      model,
      dtype,
      speed(prompt),
      speed(generation),
      speed(total),
      `${firstTokenMs.toFixed(0)} ms`,
      speed(pp512),
      speed(tg128),
    ],
    ...[`${megabytes.toFixed(megabytes < 100 ? 1 : 0)} MB`, backend],
  ];
}

function namesOf([{ speeds }]: readonly Run[]): string[] {
  const { promptTokens, generatedTokens } = speeds;
  const paper = [`prompt ${promptTokens}`, `generation ${generatedTokens}`, 'total', 'first token'];
  return ['model', 'dtype', ...paper, 'pp512', 'tg128', 'weights', 'computed by'];
}

function rowsOf(runs: readonly Run[]): HTMLElement[] {
  const head = element('tr', {}, ...namesOf(runs).map((name) => element('th', { scope: 'col' }, name)));
  const rows = runs.map((run) => element('tr', {}, ...cellsOf(run).map((cell) => element('td', {}, cell))));
  return [element('thead', {}, head), element('tbody', {}, ...rows)];
}

function markdown(runs: readonly Run[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const names = namesOf(runs);
  const where = `openelm in ${browserName()} on ${deviceName()}, ${counted(navigator.hardwareConcurrency, 'core')}; tokens a second, medians`;
  const rule = names.map((_, i) => (i < 2 || i === names.length - 1 ? '---' : '---:'));
  return [where, '', line(names), line(rule), ...runs.map((run) => line(cellsOf(run))), ''].join('\n');
}
