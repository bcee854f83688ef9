// What client.ts is to the page of `openelm serve`, for that of `openelm web`: the model runs in this very page (engine.ts), and nothing
// is asked of a server but files. It is served in client.ts's place, so it has the same functions.

import type { BrowserModel } from '../browser.js';
import type { Speed } from './client.js';
import { continues, current, isLoaded, modelOf, offered, showComputing, waits } from './engine.js';
import { keepPage } from './offline.js';
import { startOpening } from './open-model.js';
import { type AnswerToken, type Settings, type Turn, tokensOf } from './store.js';
import { startTabs } from './tabs.js';

export const computesHere: boolean = true;
let begun = (): void => {};
void keepPage(
  new Promise<void>((resolve) => {
    begun = resolve;
  }),
);

/** The models that there are; the wanted one, or the first, begins to load. */
export async function models(_key: string, wanted: string): Promise<string[]> {
  const names = await offered()
    .then((list) => list.map(({ id }) => id))
    .catch((error: unknown) => {
      waits();
      throw error;
    });
  if (!current() && names.length > 0) prepare(names.includes(wanted) ? wanted : names[0]);
  else {
    begun();
    waits();
  }
  return names;
}

/** Its tabs, and models from elsewhere. */
export function start(): void {
  startTabs();
  startOpening();
}

/** The model that will be asked next begins to load. */
export function prepare(model: string): void {
  void modelOf(model).then(begun, begun); // the line above the question tells
}

/** As client.ts's; when the last turn is an answer it goes on. */
export async function answer(
  turns: readonly Turn[],
  settings: Settings,
  signal: AbortSignal,
  onText: (text: string, tokens: readonly AnswerToken[]) => void,
): Promise<Speed & { dropped: number; reason?: string }> {
  const { seed, temperature, top_p: topP, top_k: topK, min_p: minP, repetition_penalty: repetitionPenalty } = settings;
  const model = await unlessAborted(modelOf(settings.model), signal);
  const began = performance.now();
  const begun = turns.at(-1)?.role === 'assistant' ? tokensOf(turns.at(-1)!).map(({ id }) => id!) : [];
  const said = begun.length > 0 ? turns.slice(0, -1) : turns;
  const { ids, dropped } = await promptOf(model, settings, said, begun);
  const sampling = { temperature, topP, topK, minP, repetitionPenalty, ...(seed === '' ? {} : { seed: Number(seed) }) };
  const asked = { maxTokens: settings.max_tokens, topLogprobs: 5, continuation: begun.length > 0 };
  const pieces = model.generate(ids, { ...sampling, ...asked, signal });
  let first: number | undefined;
  for (;;) {
    const next = await pieces.next().catch((error: unknown) => {
      throw isLoaded(model) ? error : new Error('another model took its place in the middle of this answer: ask again');
    });
    if (next.done) {
      const { generatedTokens: tokens, generateMs } = next.value.timings;
      signal.throwIfAborted();
      showComputing(model); // another one where a GPU was lost
      const tokensPerSecond = tokens > 1 && generateMs > 0 ? (1000 * (tokens - 1)) / generateMs : undefined;
      const firstTokenMs = first === undefined ? undefined : first - began;
      return { dropped, tokens, tokensPerSecond, firstTokenMs, reason: next.value.finishReason };
    }
    first ??= performance.now();
    const tokens = next.value.logprobs ?? [];
    onText(
      next.value.text,
      tokens.map(({ id, token, logprob, top }) => ({
        ...{ id, text: token, logprob },
        top: top.map((other) => ({ text: other.token, logprob: other.logprob })),
      })),
    );
  }
}

/** Rejects with the signal's reason when it aborts: what is waited for goes on. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    work.then(resolve, reject);
  });
}

/** Ids that leave room for an answer: the oldest turns make it, or the text's beginning where a model goes on with a text. */
async function promptOf(
  model: BrowserModel,
  { system, model: id }: Settings,
  said: readonly Turn[],
  begun: readonly number[],
): Promise<{ ids: readonly number[]; dropped: number }> {
  const most = model.config.maxContextLength - Math.min(64, model.config.maxContextLength / 4);
  if (await continues(id)) {
    const [first, ...rest] = await model.encode(said.map(({ content }) => content).join(' '));
    return { ids: [first, ...[...rest, ...begun].slice(1 - most)], dropped: 0 };
  }
  for (let dropped = 0; ; dropped += 2) {
    const messages = [
      ...(system.trim() === '' ? [] : [{ role: 'system', content: system } as const]),
      ...said.slice(dropped).map(({ role, content }) => ({ role, content })),
    ];
    const ids = [...(await model.encode(messages)), ...begun];
    if (ids.length <= most || said.length - dropped <= 2) return { ids, dropped };
  }
}
