// What tells of a download while a session of the Prompt API is made: the `CreateMonitor` that pages hear `downloadprogress` events from.

import { addEventHandlers } from './event-handlers.js';
import type { LoadProgress } from './session.js';

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

export class Monitor extends EventTarget {
  private last = -1;
  private at = 0;

  /** `loaded`: from 0 to 1. */
  fire(loaded: number): void {
    const rounded = Math.floor(loaded * progressSteps) / progressSteps;
    const now = performance.now();
    if (rounded <= this.last || (rounded > 0 && rounded < 1 && now - this.at < progressMs)) return;
    [this.last, this.at] = [rounded, now];
    this.dispatchEvent(progressEvent(rounded));
  }

  hear({ phase, bytes, total }: LoadProgress): void {
    if (phase === 'load') this.fire(1);
    else if (bytes < total) this.fire(bytes / total); // files become known one by one: the end is when loading begins
  }
}
addEventHandlers(Monitor.prototype, 'downloadprogress');
Object.defineProperty(Monitor.prototype, Symbol.toStringTag, { value: 'CreateMonitor', configurable: true });

function progressEvent(loaded: number): Event {
  const about = { loaded, total: 1, lengthComputable: true };
  if (typeof ProgressEvent === 'function') return new ProgressEvent('downloadprogress', about);
  return Object.assign(new Event('downloadprogress'), about);
}
