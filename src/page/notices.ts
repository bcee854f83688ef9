// What the user should know of this browser, above the question: a sentence for each thing, until it is so no more.

import { element } from './elements.js';

const told = new Map<string, string>();
const place = element('p', { className: 'notices', hidden: true });
place.setAttribute('role', 'status');
document.querySelector('#composer')?.before(place);

/** `message`: a clause; undefined: there is nothing of `what` to say any more. */
export function tell(what: string, message: string | undefined): void {
  if (message === undefined) told.delete(what);
  else told.set(what, message);
  place.textContent = [...told.values()].join('; ');
  place.hidden = told.size === 0;
}
