// The Train tab.

import { element } from '../elements.js';

export function open(place: HTMLElement): void {
  place.append(element('div', { className: 'column' }, element('h1', {}, 'Train')));
}
