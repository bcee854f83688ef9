// The settings of what computes, which pretrain and tune share, and its opening for a run.

import { z } from 'zod';
import { backendNames, noticeOf, openBackend } from '../backend-choice.js';
import { InputError } from '../errors.js';
import { checkMemory } from '../io/node/memory.js';
import type { Backend } from '../tensor/backend.js';
import { formatBytes } from './progress.js';
import type { Ranks } from './ranks.js';
import { type Terminal, tell } from './terminal.js';

export const backendSettings = {
  backend: z.enum(backendNames).default('auto'),
  gpu: z
    .union([z.enum(['high-performance', 'low-power']), z.number().int().min(0)], {
      error: "expected 'high-performance', 'low-power' or the number of a GPU",
    })
    .optional()
    .describe('With backend webgpu; numbers are those of openelm info. Default: high-performance.'),
  threads: z.number().int().min(1).optional().describe('Default: one a core.'),
};

type BackendSettings = z.output<z.ZodObject<typeof backendSettings>>;

/** What `backendSettings` say; a run may go on with others of them. */
export const freeBackendSettings = Object.keys(backendSettings);

/** Opens it, and says what the user should know of the choice. */
export async function openForTraining(terminal: Terminal, settings: BackendSettings): Promise<Backend> {
  const chosen = await openBackend(settings.backend, settings);
  const notice = noticeOf(settings.backend, settings, chosen);
  if (notice !== undefined) tell(terminal, notice);
  return chosen.backend;
}

/**
 * Throws `InputError` unless the bytes that training keeps fit where it is computed: in this machine's memory, for all processes here, and
 * in WebAssembly's. How much a GPU has WebGPU does not tell, and it need not lie here: what is too much is found out.
 */
export function checkRoom(
  { name, limits }: Pick<Backend, 'name' | 'limits'>,
  needed: number,
  ranks: Pick<Ranks, 'here' | 'each'>,
  { what, advice }: { readonly what: string; readonly advice: string },
): void {
  if (name === 'webgpu') return;
  const say = (available: number, where: string): string =>
    `not enough memory: ${what} take ${formatBytes(needed)}${ranks.each()}, and ${formatBytes(available)} ${where}; ${advice}`;
  const { memoryBytes = Number.POSITIVE_INFINITY } = limits;
  if (needed > memoryBytes) throw new InputError(say(memoryBytes, 'are all that WebAssembly has'));
  checkMemory(needed * ranks.here, (available) => say(available, 'are free'));
}
