// Calls across a port: by name, with events on the way and an abort signal, errors as what they were. Both ends, of a page and its
// worker or of two threads in Node; what is called is session.ts's.

import { InputError, inputErrorOf, messageOf, partsOf, type SentenceParts } from '../errors.js';

/** Of MessagePort, Worker and a worker's global scope, what is needed. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

type Request =
  | { readonly id: number; readonly call: string; readonly argument: unknown }
  | { readonly id: number; readonly abort: true };

type Answer =
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: { readonly kind: 'abort' | 'defect'; readonly message: string } }
  | { readonly id: number; readonly error: { readonly kind: 'input'; readonly parts: SentenceParts } };

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: unknown) => void;
}

/** The end that asks. */
export class Caller {
  private last = 0;
  private lost: Error | undefined;
  private readonly waiting = new Map<number, { settle(answer: Answer): void; fail(error: Error): void }>();

  constructor(private readonly port: Port) {
    port.onmessage = ({ data }: MessageEvent<Answer>) => this.waiting.get(data.id)?.settle(data);
  }

  /** Rejects with `InputError`, with the signal's reason, or with what went wrong on the other end. */
  async call<T>(name: string, argument: unknown, { signal, onEvent }: CallOptions = {}): Promise<T> {
    signal?.throwIfAborted();
    if (this.lost) throw this.lost;
    this.last += 1;
    const id = this.last;
    const abort = (): void => this.port.postMessage({ id, abort: true } satisfies Request, []);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await new Promise<T>((resolve, reject) => {
        const settle = (answer: Answer): void => {
          if ('event' in answer) onEvent?.(answer.event);
          else if ('value' in answer) resolve(answer.value as T);
          else if (answer.error.kind === 'abort' && signal?.aborted) reject(signal.reason);
          else reject(answer.error.kind === 'input' ? inputErrorOf(answer.error.parts) : new Error(answer.error.message));
        };
        this.waiting.set(id, { settle, fail: reject });
        this.send({ id, call: name, argument });
      });
    } finally {
      this.waiting.delete(id);
      signal?.removeEventListener('abort', abort);
    }
  }

  private send(request: Request): void {
    try {
      this.port.postMessage(request, []);
    } catch (error) {
      // A function where data should be, mostly.
      throw new InputError(`what was given cannot be sent to the worker: ${messageOf(error)}`);
    }
  }

  get isLost(): boolean {
    return this.lost !== undefined;
  }

  /** Nothing more comes from the other end. */
  lose(error: Error): void {
    this.lost ??= error;
    for (const { fail } of this.waiting.values()) fail(error);
    this.waiting.clear();
  }
}

export interface CallContext {
  readonly signal: AbortSignal;
  emit(event: unknown): void;
}
export type Handlers = Readonly<Record<string, (argument: never, context: CallContext) => Promise<unknown>>>;

/** Of code that is imported when it is wanted each engine says in other words that it did not come. */
function sentenceOf(error: unknown): string {
  const message = messageOf(error);
  return error instanceof TypeError && /dynamically imported module|importing a module script/i.test(message)
    ? 'a part of the code cannot be fetched, as the network, or the server that it comes from, is away: try again when it is back'
    : message;
}

/** The end that answers. */
export function answer(port: Port, handlers: Handlers): void {
  const running = new Map<number, AbortController>();
  port.onmessage = async ({ data }: MessageEvent<Request>) => {
    const { id } = data;
    if ('abort' in data) {
      running.get(id)?.abort();
      return;
    }
    const controller = new AbortController();
    const { signal } = controller;
    running.set(id, controller);
    const send = (message: Answer): void => port.postMessage(message, []);
    try {
      const value = await handlers[data.call](data.argument as never, { signal, emit: (event) => send({ id, event }) });
      send({ id, value });
    } catch (error) {
      if (error instanceof InputError) send({ id, error: { kind: 'input', parts: partsOf(error) } });
      else send({ id, error: { kind: signal.aborted ? 'abort' : 'defect', message: sentenceOf(error) } });
    } finally {
      running.delete(id);
    }
  };
}
