// How much memory this process may still take, and the most it has taken. Numbers from the system, not an accountant.

import { freemem } from 'node:os';

/** Bytes that can be allocated without swapping, as far as the system says (a container's limit included). */
export function availableMemory(): number {
  return process.availableMemory?.() || freemem();
}

/** The most resident bytes this process has had (VmHWM), mapped pages included. */
export function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}
