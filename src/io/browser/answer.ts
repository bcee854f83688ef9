// What a server's answer to a request for a file, or for its rest, says: which bytes come, of which version of it, whether it is a page in
// its place, when to ask again. Pages of other origins are told little of it (CORS). What is done about it is download.ts's.

import { counted } from '../../errors.js';

/** What comes. */
export interface Coming {
  /** The first byte's place in the file. */
  readonly from: number;
  /** Bytes of the whole file, where that is certain. */
  readonly total?: number;
  /** The same where it is not: the length of what may be compressed. */
  readonly likely?: number;
  /** Another one, another file; undefined where the server tells of none. */
  readonly version?: string;
  /** It may be a page that says that there is no such file. */
  readonly mayBePage: boolean;
}

/** The headers that pages of other origins see unless a server says more. */
const usual = /^(cache-control|content-(language|length|type)|expires|last-modified|pragma)$/;

/** `asked`: the byte from which on it was asked for. */
export function comingOf({ status, headers, type }: Response, asked: number): Coming {
  const version = versionOf(headers);
  const mayBePage = /^text\/html/.test(headers.get('content-type') ?? '');
  const length = headers.get('content-length');
  const lengths = length === null ? undefined : Number(length);
  if (status === 206) {
    const range = headers.get('content-range');
    const [, from, total] = /^bytes ([0-9]+)-[0-9]+\/([0-9]+)$/.exec(range ?? '') ?? [];
    if (from !== undefined) return { from: Number(from), total: Number(total), version, mayBePage };
    if (range === null && type === 'cors')
      return { from: asked, total: lengths === undefined ? undefined : asked + lengths, version, mayBePage }; // ranges come uncompressed
    return { from: Number.NaN, version, mayBePage };
  }
  if (headers.get('content-encoding')) return { from: 0, version, mayBePage };
  const isHidden = type === 'cors' && [...headers.keys()].every((name) => usual.test(name));
  return { from: 0, [isHidden ? 'likely' : 'total']: lengths, version, mayBePage };
}

/** Of the file that an answer is of. */
export function versionOf(headers: Headers): string | undefined {
  return headers.get('etag') ?? headers.get('last-modified') ?? undefined;
}

/** Whether bytes are the beginning of a page. */
export function isPage(bytes: Uint8Array): boolean {
  return /^\s*<(!doctype|html)/i.test(new TextDecoder().decode(bytes.subarray(0, 200)));
}

/** Milliseconds after which the server wants to be asked again: Retry-After is a number of seconds or a date. */
export function retryAfter(headers: Headers): number {
  const value = headers.get('retry-after') ?? '';
  const wait = /^[0-9]+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return wait > 0 ? wait : 0;
}

/** A signal that aborts as another does, and when something that is waited for takes too long. */
export class Watch {
  private readonly controller = new AbortController();
  private readonly follow = (): void => this.controller.abort(this.outer?.reason);
  private timer?: ReturnType<typeof setTimeout>;

  constructor(
    private readonly milliseconds: number,
    private readonly outer: AbortSignal | undefined,
  ) {
    if (outer?.aborted) this.follow();
    outer?.addEventListener('abort', this.follow, { once: true });
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Rejects with the work's error, which is that nothing came where it took too long. */
  async over<T>(work: Promise<T>): Promise<T> {
    const late = new Error(`nothing came for ${counted(Math.ceil(this.milliseconds / 1000), 'second')}`);
    this.timer = setTimeout(() => this.controller.abort(late), this.milliseconds);
    try {
      return await work;
    } finally {
      clearTimeout(this.timer);
    }
  }

  /** Lets go of the other signal. */
  end(): void {
    this.outer?.removeEventListener('abort', this.follow);
  }
}
