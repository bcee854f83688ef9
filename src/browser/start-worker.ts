// Starts the worker: the file beside this one, wherever a bundler put it, or one that the page names; from another origin than the page's
// (a CDN's) too, which browsers do not start themselves. What it is asked is browser.ts's.

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
  if (url.origin === location.origin || url.protocol === 'blob:') return given === undefined ? own() : new Worker(url, options);
  // A worker's script must come from the page's origin; what it loads need not.
  const loads =
    options?.type === 'module' ? `import ${JSON.stringify(url.href)};` : `importScripts(${JSON.stringify(url.href)});`;
  const trampoline = URL.createObjectURL(new Blob([loads], { type: 'text/javascript' }));
  return new Worker(trampoline, options);
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
