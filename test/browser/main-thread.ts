// How long a page is held up: the longest task of its main thread while something is done, by the thread's own time, which does not
// count what else the machine was busy with.

import type { Page } from 'playwright-core';

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** Microseconds of the thread's own time. */
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

/** Milliseconds of the longest task, and what the work gave. */
export async function heldUp<T>(page: Page, work: () => Promise<T>): Promise<[longest: number, result: T]> {
  const protocol = await page.context().newCDPSession(page);
  const events: TraceEvent[] = [];
  protocol.on('Tracing.dataCollected', ({ value }) => void events.push(...(value as unknown as TraceEvent[])));
  await protocol.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel'] } });
  const result = await work();
  const complete = new Promise((resolve) => protocol.once('Tracing.tracingComplete', resolve));
  await protocol.send('Tracing.end');
  await complete;
  await protocol.detach();
  const thread = ({ pid, tid }: TraceEvent): string => `${pid} ${tid}`;
  const mains = new Set(events.filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain').map(thread));
  const tasks = events.filter((event) => /RunTask$/.test(event.name) && mains.has(thread(event)));
  if (tasks.length === 0) throw new Error('the trace has no tasks of a main thread');
  return [Math.max(...tasks.map(({ tdur = 0 }) => tdur)) / 1000, result];
}
