// The server as the page sees it: its models, and an answer piece by piece with its speed.

import { fetched, isPage, jsonOf } from './fetched.js';
import type { AnswerToken, Settings, Turn } from './store.js';

/** Whether models run in this page: what needs one here is not offered where a server has it. */
export const computesHere: boolean = false;

export interface Speed {
  readonly tokens: number;
  readonly tokensPerSecond?: number;
  readonly firstTokenMs?: number;
}

/** `wanted` is the one that will be asked. */
export async function models(key: string, _wanted: string): Promise<string[]> {
  const response = await fetched('/v1/models', { headers: headersOf(key) });
  if (!response.ok) throw new Error(await reasonOf(response));
  const { data } = await jsonOf<{ data: { id: string }[] }>(response);
  return data.map(({ id }) => id);
}

/** What this page has besides the chat: nothing. */
export function start(): void {}

/** The model that will be asked next: a server looks after its own. */
export function prepare(_model: string): void {}

/**
 * Asks for the next turn and hands over its text as it comes. When the conversation has outgrown the context its oldest turns are left
 * out; `dropped` says how many. Throws `Error` with one sentence.
 */
export async function answer(
  turns: readonly Turn[],
  settings: Settings,
  signal: AbortSignal,
  onText: (text: string, tokens: readonly AnswerToken[]) => void,
): Promise<Speed & { dropped: number; reason?: string }> {
  for (let dropped = 0; ; dropped += 2) {
    const began = performance.now();
    const response = await ask(turns.slice(dropped), settings, signal);
    if (response.status === 400 && turns.length - dropped > 2 && (await codeOf(response.clone())) === 'context_length_exceeded')
      continue;
    if (!response.ok) throw new Error(await reasonOf(response));
    if (isPage(response)) throw new Error('the server sends a page in place of an answer: load the page again');
    return { dropped, ...(await read(response, began, signal, onText)) };
  }
}

function ask(turns: readonly Turn[], settings: Settings, signal: AbortSignal): Promise<Response> {
  const { key, system, model, seed, tokens: _view, ...sampling } = settings;
  const messages = [
    ...(system.trim() === '' ? [] : [{ role: 'system', content: system }]),
    ...turns.map(({ role, content }) => ({ role, content })),
  ];
  const body = {
    ...{ model, messages, stream: true, stream_options: { include_usage: true }, ...sampling },
    ...{ logprobs: true, top_logprobs: 5 },
    ...(seed === '' ? {} : { seed: Number(seed) }),
  };
  return fetched('/v1/chat/completions', { method: 'POST', headers: headersOf(key), body: JSON.stringify(body), signal });
}

interface Logprob {
  readonly token: string;
  readonly logprob: number;
}

interface Chunk {
  readonly error?: { readonly message: string };
  readonly choices?: readonly {
    readonly delta: { readonly content?: string };
    readonly logprobs: { readonly content: readonly (Logprob & { readonly top_logprobs: readonly Logprob[] })[] } | null;
    readonly finish_reason: string | null;
  }[];
  readonly usage?: { readonly completion_tokens: number } | null;
}

async function read(
  response: Response,
  began: number,
  signal: AbortSignal,
  onText: (text: string, tokens: readonly AnswerToken[]) => void,
): Promise<Speed & { reason?: string }> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, tokens, reason]: [string, number, string | undefined] = ['', 0, undefined];
  let first: number | undefined;
  let last = began;
  for (;;) {
    const { value, done } = await reader.read().catch((error: unknown) => {
      throw signal.aborted ? error : new Error('the connection broke in the middle of the answer: ask again');
    });
    if (done) break;
    const lines = (rest + value).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
      const chunk = JSON.parse(line.slice(6)) as Chunk;
      if (chunk.error) throw new Error(chunk.error.message);
      tokens = chunk.usage?.completion_tokens ?? tokens;
      const choice = chunk.choices?.[0];
      reason = choice?.finish_reason ?? reason;
      if (!choice?.logprobs && !choice?.delta.content) continue;
      last = performance.now();
      first ??= last;
      const likelihood = ({ token: text, logprob }: Logprob) => ({ text, logprob });
      const told = choice.logprobs?.content ?? [];
      onText(
        choice.delta.content ?? '',
        told.map((token) => ({ ...likelihood(token), top: token.top_logprobs.map(likelihood) })),
      );
    }
  }
  if (first === undefined) return { tokens, reason };
  const rate = last > first && tokens > 1 ? (1000 * (tokens - 1)) / (last - first) : undefined;
  return { tokens, reason, firstTokenMs: first - began, tokensPerSecond: rate };
}

function headersOf(key: string): Record<string, string> {
  return { 'content-type': 'application/json', ...(key === '' ? {} : { authorization: `Bearer ${key}` }) };
}

async function reasonOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return (JSON.parse(text) as Chunk).error!.message;
  } catch {
    return `the server answers with status ${response.status}: try again in a moment`;
  }
}

async function codeOf(response: Response): Promise<unknown> {
  try {
    return ((await response.json()) as { error: { code: unknown } }).error.code;
  } catch {
    return undefined;
  }
}
