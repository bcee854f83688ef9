// The thread that a reward module runs in, so that one which never comes back stops neither Ctrl-C nor the clock; reward.ts starts it.
// Nothing else imports it.

import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../errors.js';
import type { RewardAnswer, RewardCall } from './reward.js';

const tell = (answer: RewardAnswer): void => parentPort!.postMessage(answer);

/** Whatever a function gives: what cannot go to another thread goes as text. */
function give(id: number, value: unknown): void {
  try {
    tell({ id, value });
  } catch {
    tell({ id, value: String(value) });
  }
}

try {
  const { reward: score } = (await import(pathToFileURL(workerData as string).href)) as Record<string, unknown>;
  if (typeof score === 'function') {
    parentPort!.on('message', async ({ id, input }: RewardCall) => {
      tell({ id, begun: true });
      try {
        give(id, await score(input));
      } catch (error) {
        tell({ id, error: messageOf(error) });
      }
    });
  }
  tell({ ready: typeof score === 'function' });
} catch (error) {
  tell({ failed: messageOf(error) });
}
