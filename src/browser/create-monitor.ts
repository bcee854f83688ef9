// What tells of a download while a session of the Prompt API is made: the `CreateMonitor` that pages hear `downloadprogress` events from.

import type { LoadProgress } from './session.js';
import { addEventHandlers, asInterface } from './web-idl.js';

/** Tells of a download: `downloadprogress` events, whose `loaded` goes from 0 to 1. */
export interface CreateMonitor extends EventTarget {
  ondownloadprogress: ((event: ProgressEvent) => unknown) | null;
  addEventListener(
    type: 'downloadprogress',
    listener: ((event: ProgressEvent) => unknown) | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener(...listener: Parameters<EventTarget['addEventListener']>): void;
}

/** Between two events of a download. */
const progressMs = 50;
const progressSteps = 0x10000;

/** What pages are given: nothing of theirs can be told by it. */
class Target extends EventTarget {
  constructor(key: unknown) {
    if (key !== made) throw new TypeError('Illegal constructor: monitors are made by LanguageModel.create()');
    super();
  }
}
const made = Symbol('made by a monitor');
addEventHandlers(Target.prototype, 'downloadprogress');
asInterface(Target, 'CreateMonitor');

export class Monitor {
  readonly target = new Target(made) as unknown as CreateMonitor;
  private last = -1;
  private at = 0;

  /** `loaded`: from 0 to 1. */
  fire(loaded: number): void {
    const rounded = Math.floor(loaded * progressSteps) / progressSteps;
    const now = performance.now();
    if (rounded <= this.last || (rounded > 0 && rounded < 1 && now - this.at < progressMs)) return;
    [this.last, this.at] = [rounded, now];
    this.target.dispatchEvent(progressEvent(rounded));
  }

  hear({ phase, bytes, total }: LoadProgress): void {
    if (phase === 'load') this.fire(1);
    else if (bytes < total) this.fire(bytes / total); // files become known one by one: the end is when loading begins
  }
}

function progressEvent(loaded: number): Event {
  const about = { loaded, total: 1, lengthComputable: true };
  if (typeof ProgressEvent === 'function') return new ProgressEvent('downloadprogress', about);
  return Object.assign(new Event('downloadprogress'), about);
}
