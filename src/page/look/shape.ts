// A model's shape as a picture: a row a layer with its heads, the width of its feed-forward network and its parameters, with the numbers
// in a table behind; and its bytes at each precision. Redrawn when there is more or less room.

import type { ModelShape } from '../../browser.js';
import { element, facts } from '../elements.js';
import { counted, whole } from '../format.js';
import { svg } from '../svg.js';

export interface ShapeView {
  readonly element: HTMLElement;
  show(shape: ModelShape): void;
}

export function shapeView(): ShapeView {
  const about = element('dl', { className: 'facts' });
  const picture = element('div', { className: 'picture' });
  const bytes = element('div', { className: 'bytes' });
  const table = element('table', {});
  const behind = element(
    'details',
    {},
    element('summary', {}, 'The layers as a table'),
    element('div', { className: 'scroll', tabIndex: 0 }, table),
  );
  let shape: ModelShape | undefined;
  let width = 0;
  const draw = (): void => {
    if (!shape || width === 0) return;
    const drawn = drawing(shape, width / scale());
    drawn.setAttribute('width', String(width));
    picture.replaceChildren(drawn);
  };
  new ResizeObserver(([{ contentRect }]) => {
    if (Math.round(contentRect.width) === width) return;
    width = Math.round(contentRect.width);
    draw();
  }).observe(picture);
  return {
    element: element('div', { className: 'shape' }, about, picture, behind, element('h3', {}, 'In memory'), bytes),
    show(next) {
      shape = next;
      about.replaceChildren(...factsOf(next));
      table.replaceChildren(...rowsOf(next));
      bytes.replaceChildren(...bytesOf(next));
      picture.style.minHeight = `${heightOf(next) * scale()}px`; // its place is there before it is drawn
      draw();
    },
  };
}

export function millions(value: number): string {
  return value >= 1e9
    ? `${(value / 1e9).toFixed(2)}B`
    : value >= 1e5
      ? `${(value / 1e6).toFixed(1)}M`
      : `${(value / 1e3).toFixed(0)}k`;
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function factsOf({ parameters, layers, modelDim, headDim, vocabSize, context, embeddingParameters }: ModelShape): HTMLElement[] {
  return facts([
    ['parameters', millions(parameters)],
    ['layers', String(layers.length)],
    ['width', whole(modelDim)],
    ['width of a head', String(headDim)],
    ['vocabulary', whole(vocabSize)],
    ['embedding', `${Math.round((100 * embeddingParameters) / parameters)}%`],
    ['context', whole(context)],
  ]);
}

/** Large screens have larger type (page.css): the picture is drawn as for a small one, and scaled. */
function scale(): number {
  return Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
}

const top = 40;
const rowHeightOf = ({ layers }: ModelShape): number => (layers.length > 30 ? 14 : 18);

function heightOf(shape: ModelShape): number {
  return top + shape.layers.length * rowHeightOf(shape) + 4;
}

function drawing(shape: ModelShape, width: number): SVGSVGElement {
  const { layers } = shape;
  const gutter = 26;
  const [rowHeight, height] = [rowHeightOf(shape), heightOf(shape)];
  // What does not fit side by side, on a phone with large type, stands one below the other.
  const columns = width < 270 ? 1 : 3;
  const room = (width - gutter) / columns;
  const placeOf = (column: number): readonly [x: number, y: number] => [
    gutter + (column % columns) * room,
    Math.floor(column / columns) * height,
  ];
  const labels = room > 150 ? 62 : 44;
  const bar = room - labels - 8;
  const most = (of: (layer: ModelShape['layers'][number]) => number): number => Math.max(...layers.map(of));
  const [heads, ffn, all] = [
    most(({ queryHeads }) => queryHeads),
    most(({ ffnDim }) => ffnDim),
    most(({ attentionParameters, ffnParameters }) => attentionParameters + ffnParameters),
  ];
  const wide = room > 190;
  const titles = [
    [
      'heads',
      [
        ['query', 'query', 'soft'],
        ['key and value', 'kv', 'strong'],
      ],
    ],
    [wide ? 'feed-forward width' : 'ffn width', []],
    [
      'parameters',
      [
        ['attention', 'attn', 'strong'],
        ['feed-forward', 'ffn', 'soft'],
      ],
    ],
  ] as const;
  const parts: SVGElement[] = titles.flatMap(([title, keys], i) => {
    const [x, y] = placeOf(i);
    let at = x;
    const legend = keys.flatMap(([name, short, kind]) => {
      const text = wide ? name : short;
      const found = [
        svg('rect', { x: at, y: y + 20, width: 8, height: 8, rx: 2, class: kind }),
        svg('text', { x: at + 11, y: y + 28, class: 'small' }, text),
      ];
      at += 18 + text.length * 6;
      return found;
    });
    return [svg('text', { x, y: y + 12, class: 'title' }, title), ...legend];
  });
  for (const [index, layer] of layers.entries()) {
    const row = top + (layers.length - 1 - index) * rowHeight;
    const h = rowHeight - 4;
    const { queryHeads, kvHeads, ffnDim, attentionParameters, ffnParameters } = layer;
    const box = (column: number, from: number, to: number, of: number, kind: string): SVGElement => {
      const [left, above] = placeOf(column);
      const [x, end] = [from, to].map((value) => left + (bar * value) / of);
      return svg('rect', { x, y: above + row, width: Math.max(1, end - x), height: h, rx: 2, class: kind });
    };
    const base = row + h - (h - 9) / 2;
    const label = (column: number, value: number, of: number, text: string): SVGElement => {
      const [x, above] = placeOf(column);
      return svg('text', { x: x + (bar * value) / of + 5, y: above + base, class: 'small' }, text);
    };
    const unit = bar / heads;
    const squares = (number: number, kind: string): SVGElement[] =>
      unit >= 5
        ? Array.from({ length: number }, (_, k) =>
            svg('rect', { x: gutter + k * unit, y: row, width: unit - 1, height: h, rx: 1.5, class: kind }),
          )
        : [box(0, 0, number, heads, kind)];
    parts.push(
      ...Array.from({ length: 3 / columns }, (_, block) =>
        svg('text', { x: gutter - 8, y: block * height + base, class: 'small end' }, String(index)),
      ),
      ...squares(queryHeads, 'soft'),
      ...squares(kvHeads, 'strong'),
      label(0, queryHeads, heads, `${queryHeads} / ${kvHeads}`),
      box(1, 0, ffnDim, ffn, 'soft'),
      label(1, ffnDim, ffn, whole(ffnDim)),
      box(2, 0, attentionParameters, all, 'strong'),
      box(2, attentionParameters, attentionParameters + ffnParameters, all, 'soft'),
      label(2, attentionParameters + ffnParameters, all, millions(attentionParameters + ffnParameters)),
    );
  }
  const [first, last] = [layers[0], layers.at(-1)!];
  const what = `${counted(layers.length, 'layer')}: from ${counted(first.queryHeads, 'query head')} and a feed-forward width of ${first.ffnDim} in the first to ${last.queryHeads} and ${last.ffnDim} in the last`;
  return svg('svg', { viewBox: `0 0 ${width} ${(height * 3) / columns}`, role: 'img', 'aria-label': what }, ...parts);
}

function rowsOf({ layers }: ModelShape): HTMLElement[] {
  const names = [
    'Layer',
    'Query heads',
    'Key and value heads',
    'Feed-forward width',
    'Attention parameters',
    'Feed-forward parameters',
  ];
  const head = element('tr', {}, ...names.map((name) => element('th', { scope: 'col' }, name)));
  const rows = layers.map(({ queryHeads, kvHeads, ffnDim, attentionParameters, ffnParameters }, i) =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, String(i)),
      ...[queryHeads, kvHeads, ffnDim, attentionParameters, ffnParameters].map((value) => element('td', {}, whole(value))),
    ),
  );
  return [element('thead', {}, head), element('tbody', {}, ...rows)];
}

function bytesOf({ bytes, cacheBytesPerToken, context }: ModelShape): HTMLElement[] {
  const line = (name: string, value: number): HTMLElement => {
    const bar = element('i', {});
    bar.style.width = `${(100 * value) / bytes.f32}%`;
    return element(
      'div',
      { className: 'line' },
      element('span', {}, name),
      element('span', { className: 'bar-place' }, bar),
      element('span', {}, size(value)),
    );
  };
  const lines = Object.entries(bytes).map(([name, value]) => line(name, value));
  const cache = `Keys and values take ${size(cacheBytesPerToken * context)} beside them for ${counted(context, 'token', whole)}, in f16.`;
  return [...lines, element('p', { className: 'quiet' }, cache)];
}
