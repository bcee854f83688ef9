// How long the hidden states of a text are from layer to layer: a picture, what it says at the pointer, and a table.

import type { Inside } from '../../browser.js';
import { element } from '../elements.js';
import { counted } from '../format.js';
import { drawHeat, heat } from './heat.js';
import { named } from './names.js';

export class LengthsView {
  private readonly picture = heat('norms');
  private readonly readout = element('p', { className: 'readout' }, '');
  private readonly table = element('table', {});
  /** As they lie in the page. */
  readonly elements = [
    element(
      'p',
      { className: 'quiet' },
      'How long each token’s vector is, from the embedding at the bottom to what the output layer gets at the top.',
    ),
    this.picture,
    this.readout,
    element(
      'details',
      {},
      element('summary', {}, 'Lengths as a table'),
      element('div', { className: 'scroll', tabIndex: 0 }, this.table),
    ),
  ];

  draw({ norms, tokens }: Inside): void {
    const { picture, readout } = this;
    const rows = norms.length / tokens.length;
    const logs = Array.from(norms, Math.log);
    const [least, most] = [Math.min(...logs), Math.max(...logs)];
    const rowOf = (y: number): number => rows - 1 - y;
    drawHeat(picture, tokens.length, rows, (x, y) => (logs[rowOf(y) * tokens.length + x] - least) / (most - least || 1));
    picture.setAttribute(
      'aria-label',
      `Lengths of hidden states, ${counted(rows, 'layer')} by ${counted(tokens.length, 'token')}`,
    );
    picture.onpointermove = (event) => {
      const [x, y] = picture.cell(event);
      const length = norms[rowOf(y) * tokens.length + x];
      readout.textContent = `${named(tokens[x])}, ${placeOf(rowOf(y), rows)}: ${length.toFixed(2)}`;
    };
    readout.textContent = `From ${Math.exp(least).toFixed(2)} to ${Math.exp(most).toFixed(1)}; point at a place to see its length.`;
    const body = Array.from({ length: rows }, (_, row) => {
      const own = norms.subarray(row * tokens.length, (row + 1) * tokens.length);
      const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
      const cells = [Math.min(...own), mean, Math.max(...own)].map((value) => element('td', {}, value.toFixed(2)));
      return element('tr', {}, element('th', { scope: 'row' }, placeOf(row, rows)), ...cells);
    });
    const names = ['', 'Least', 'Mean', 'Most'].map((name) =>
      element(name === '' ? 'td' : 'th', { scope: 'col' } as object, name),
    );
    this.table.replaceChildren(element('thead', {}, element('tr', {}, ...names)), element('tbody', {}, ...body));
  }
}

/** Where in the model a row of hidden states is. */
function placeOf(row: number, rows: number): string {
  return row === 0 ? 'embedding' : row === rows - 1 ? 'output' : `after layer ${row - 1}`;
}
