// What client.ts is to the page of `openelm serve`, for that of `openelm web`: the model runs in this very page (engine.ts), and nothing
// is asked of a server but files. It is served in client.ts's place, so it has the same functions.

import type { Speed } from './client.js';
import { current, modelOf, offered } from './engine.js';
import { keepPage } from './offline.js';
import type { Settings, Turn } from './store.js';

export const computesHere: boolean = true;
void keepPage();

/** The models that there are; the first begins to load. */
export async function models(_key: string): Promise<string[]> {
  const list = await offered();
  if (!current() && list.length > 0) void modelOf(list[0].id).catch(() => undefined);
  return list.map(({ id }) => id);
}

/** As client.ts's. */
export async function answer(
  turns: readonly Turn[],
  settings: Settings,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<Speed & { dropped: number; reason?: string }> {
  const { system, seed, temperature, top_p: topP, top_k: topK, min_p: minP, repetition_penalty: repetitionPenalty } = settings;
  const model = await modelOf(settings.model);
  const began = performance.now();
  let dropped = 0;
  const messages = () => [
    ...(system.trim() === '' ? [] : [{ role: 'system', content: system } as const]),
    ...turns.slice(dropped).map(({ role, content }) => ({ role, content })),
  ];
  // Room for an answer: the oldest turns make it.
  const most = model.config.maxContextLength - Math.min(64, model.config.maxContextLength / 4);
  while (turns.length - dropped > 2 && (await model.encode(messages())).length > most) dropped += 2;
  const sampling = { temperature, topP, topK, minP, repetitionPenalty, ...(seed === '' ? {} : { seed: Number(seed) }) };
  const pieces = model.chat(messages(), { ...sampling, maxTokens: settings.max_tokens, signal });
  let first: number | undefined;
  for (;;) {
    const next = await pieces.next();
    if (next.done) {
      const { generatedTokens: tokens, generateMs } = next.value.timings;
      signal.throwIfAborted();
      const tokensPerSecond = tokens > 1 && generateMs > 0 ? (1000 * (tokens - 1)) / generateMs : undefined;
      const firstTokenMs = first === undefined ? undefined : first - began;
      return { dropped, tokens, tokensPerSecond, firstTokenMs, reason: next.value.finishReason };
    }
    if (next.value.text === '') continue;
    first ??= performance.now();
    onText(next.value.text);
  }
}
