// Starts the worker: the file beside this one, wherever a bundler put it, or one that the page names; from another origin than the page's
// (a CDN's) too, which browsers do not start themselves. What it is asked is browser.ts's.

import { workerAt, workerOf } from '../io/worker-script.js';

type WorkerArguments = ConstructorParameters<typeof Worker>;

const settings: WorkerOptions = { type: 'module', name: 'openelm' };

/** Written as bundlers know it: they see the file and put its new address, and what kind of script they made, in its place. */
function own(): Worker {
  return new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'openelm' });
}

/** `given` is an address in the page. */
export function startWorker(given?: string | URL): Worker {
  const [script, options] = given === undefined ? argumentsOf(own) : [given, settings];
  const url = new URL(script, document.baseURI);
  // A sandboxed frame has another origin than its address.
  if (url.origin === origin || url.protocol === 'blob:') return workerAt(url, options);
  // A worker's script must come from the page's origin; what it loads need not.
  const isModule = options?.type === 'module';
  const address = JSON.stringify(url.href);
  if (isModule && origin === 'null') return workerOf(importing(address), { name: settings.name }).worker;
  return workerOf(isModule ? `import ${address};` : `importScripts(${address});`, options).worker;
}

/** Of sandboxed frames Chromium starts no module (an own origin has no other scripts); what is said before the module listens waits for it. */
function importing(address: string): string {
  return `
const early = [];
onmessage = (event) => early.push(event);
import(${address}).then(
  () => early.forEach((event) => onmessage(event)),
  (error) => setTimeout(() => { throw error; }),
);`;
}

/** What a function gives the Worker that it makes: only so is the address known that a bundler chose. */
function argumentsOf(make: () => unknown): WorkerArguments {
  const { Worker: real } = globalThis;
  let told: WorkerArguments | undefined;
  class Recorder {
    constructor(...given: WorkerArguments) {
      told = given;
    }
  }
  globalThis.Worker = Recorder as unknown as typeof Worker;
  try {
    make();
  } finally {
    globalThis.Worker = real;
  }
  return told!;
}
