// How much memory this process may still take, and the most it has taken. Numbers from the system, not an accountant.

import { freemem } from 'node:os';
import { InputError, type Sentence } from '../../errors.js';

/** Bytes that can be allocated without swapping, as far as the system says (a container's limit included). */
export function availableMemory(): number {
  return process.availableMemory?.() || freemem();
}

/** The most resident bytes this process has had (VmHWM), mapped pages included. */
export function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Throws an `InputError` with what `sentence` says of the bytes there are, unless that many can be allocated. */
export function checkMemory(needed: number, sentence: (available: number) => Sentence): void {
  const available = availableMemory();
  if (needed > available) throw new InputError(sentence(available));
}
