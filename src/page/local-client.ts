// What client.ts is to the page of `openelm serve`, for that of `openelm web`: the model runs in this very page (openelm/browser), in a
// worker, and nothing is asked of a server but files. It is served in client.ts's place, so it has the same functions; what is being
// loaded and what computes it shows above the question itself.

import type { BrowserModel } from '../browser.js';
import type { Speed } from './client.js';
import type { Settings, Turn } from './store.js';

interface Offered {
  readonly id: string;
  /** The folder's address, and the names of what is in it. */
  readonly address: string;
  readonly files: readonly string[];
}

let offered: Promise<Offered[]> | undefined;
let loaded: { id: string; model: Promise<BrowserModel> } | undefined;
const line = document.createElement('p');
line.className = 'computes';
line.setAttribute('role', 'status');
document.querySelector('#composer')?.before(line);

/** The models that the server has; the first begins to load. */
export async function models(_key: string): Promise<string[]> {
  offered ??= fetch('/models.json').then((response) => response.json() as Promise<Offered[]>);
  const list = await offered;
  if (!loaded && list.length > 0) void modelOf(list[0].id).catch(() => undefined);
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

/** One model at a time: another takes its place. */
async function modelOf(id: string): Promise<BrowserModel> {
  if (loaded?.id === id) return loaded.model;
  const before = loaded;
  const starting = { id, model: open(id, before?.model) };
  loaded = starting;
  starting.model.catch(() => {
    if (loaded === starting) loaded = undefined;
  });
  return starting.model;
}

async function open(id: string, before: Promise<BrowserModel> | undefined): Promise<BrowserModel> {
  await before?.then((model) => model.dispose()).catch(() => undefined);
  const found = (await offered)?.find((model) => model.id === id);
  if (!found) throw new Error(`there is no model ${id}`);
  const bundle = '/openelm/bundle/browser.js';
  const { load } = (await import(bundle)) as typeof import('../browser.js');
  const model = await load(found.address, {
    files: found.files,
    wasm: '/openelm/wasm/',
    onProgress: ({ phase, bytes, total }) => {
      line.textContent = `${phase === 'download' ? 'Downloading' : 'Loading'} ${(bytes / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
    },
    onNotice: (message) => {
      line.title = message;
    },
  });
  line.textContent = `${model.backend.description}, ${model.weights.dtype}`;
  return model;
}
