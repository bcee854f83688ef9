// The page's parts by the address's hash: #chat, which is there from the beginning, and tabs whose modules are run and whose styles are
// fetched when they are first opened. Where in a tab one is may stand behind a slash (#look/attention): that is the tab's own.

import { at, element, reasonOf } from './elements.js';

/** What a tab's module exports. */
export interface Tab {
  /** Fills the tab's place, once. The place hears `show` and `leave` whenever the tab is come to and gone from. */
  open(place: HTMLElement): void | Promise<void>;
}

const modules: Readonly<Record<string, () => Promise<Tab>>> = {
  train: () => import('./train/train.js'),
  look: () => import('./look/look.js'),
  bench: () => import('./bench/bench.js'),
};
const names = ['chat', ...Object.keys(modules)];
const opened = new Map<string, Promise<void>>();
let shown = 'chat';

/** From now on shows what the address says. */
export function startTabs(): void {
  const bar = at('tabs');
  bar.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined || !(document.activeElement instanceof HTMLAnchorElement)) return;
    const links = [...bar.querySelectorAll('a')];
    links.at((links.indexOf(document.activeElement) + step) % links.length)?.focus();
  };
  addEventListener('hashchange', route);
  route();
}

/** Other hashes (a skip link's) leave the page as it is. */
function route(): void {
  const name = location.hash === '' ? 'chat' : location.hash.slice(1).split('/')[0];
  if (names.includes(name) && name !== shown) show(name);
}

function show(name: string): void {
  at(shown).dispatchEvent(new Event('leave'));
  const hides = at(shown).contains(document.activeElement);
  for (const other of names) at(other).hidden = other !== name;
  for (const link of at('tabs').querySelectorAll('a')) {
    if (link.hash === `#${name}`) {
      link.setAttribute('aria-current', 'page');
      link.scrollIntoView({ block: 'nearest', inline: 'nearest' }); // large type on a phone
    } else link.removeAttribute('aria-current');
  }
  shown = name;
  const label = at('tabs').querySelector(`[href="#${name}"]`)!.textContent;
  document.title = name === 'chat' ? 'openelm' : `${label} · openelm`;
  const skip = document.querySelector<HTMLAnchorElement>('.skip')!;
  skip.hash = name === 'chat' ? '#question' : `#${name}`;
  skip.textContent = name === 'chat' ? 'Skip to the question' : `Skip to ${label}`;
  if (name !== 'chat' && !opened.has(name)) opened.set(name, open(name));
  at(name).dispatchEvent(new Event('show'));
  if (hides) at(name === 'chat' ? 'question' : name).focus(); // what was pressed is gone
}

async function open(name: string): Promise<void> {
  const place = at(name);
  try {
    const [module] = await Promise.all([modules[name](), style(name)]);
    await module.open(place);
  } catch (error) {
    opened.delete(name);
    const reason = element(
      'p',
      { className: 'empty error' },
      `${at('tabs').querySelector(`[href="#${name}"]`)!.textContent} cannot be opened: ${reasonOf(error)}`,
    );
    reason.setAttribute('role', 'alert');
    place.replaceChildren(reason);
  }
}

/** Its style, there before anything is drawn. */
function style(name: string): Promise<void> {
  const link = element('link', { rel: 'stylesheet', href: `page/${name}/${name}.css` });
  return new Promise((resolve, reject) => {
    link.onload = () => resolve();
    link.onerror = () => reject(new Error('its style cannot be fetched: load the page again'));
    document.head.append(link);
  });
}
