// What a thread of the WASM backend runs, as text: in Node's workers and in browsers' (from a Blob, so that neither a bundler nor
// another origin stands between). It waits for its start, then runs one entry and never returns to its event loop. Files are Node's.

import type { ThreadStart } from './wasm.js';

/** What it is sent. */
export type { ThreadStart };

/** What it sends: a task that is finished; before its start, in browsers, that it runs. */
export interface ThreadMessage {
  readonly finished: number;
}

export const threadSource = `
const node = typeof require === 'function';
const port = node ? require('node:worker_threads').parentPort : self;
const fs = node ? require('node:fs') : undefined;
const run = ({ module, memory, entry, stack }) => {
  const bytes = (at, count) => new Uint8Array(memory.buffer, at >>> 0, count); // addresses come as signed numbers
  const failing = (action) => {
    if (!fs) return -38; // ENOSYS
    try {
      return action();
    } catch (error) {
      return typeof error.errno === 'number' && error.errno < 0 ? error.errno : -5; // EIO
    }
  };
  const open = (at) => {
    const rest = bytes(at);
    return fs.openSync(new TextDecoder().decode(rest.slice(0, rest.indexOf(0))), 'r');
  };
  const host = {
    finished: (task) => port.postMessage({ finished: task }),
    start_thread: () => 0,
    may_wait: () => 1,
    now: () => performance.now(),
    open_file: (path) => failing(() => open(path)),
    read_at: (file, to, count, offset) => failing(() => fs.readSync(file, bytes(to, count), 0, count, offset)),
    close_file: (file) => failing(() => fs.closeSync(file)),
  };
  const { exports } = new WebAssembly.Instance(module, { env: { memory }, host });
  exports.__stack_pointer.value = stack;
  exports.thread_run(entry);
};
if (node) port.once('message', run);
else {
  self.onmessage = (event) => run(event.data);
  self.postMessage('runs');
}
`;
