// The models of a server: each is loaded when it is first asked for, and the one that was used longest ago is put away when the next
// does not fit beside those that are there. An adapter is a model of its own name on its base. How one is loaded is the caller's.

import { counted, InputError, shown } from '../errors.js';
import type { TextModel } from '../infer/text.js';
import { ApiError } from './errors.js';

/** A model that can be loaded. */
export interface ModelSource {
  /** As clients name it. */
  readonly id: string;
  /** What it will take with its cache; estimated before it is loaded. */
  readonly bytes: number;
  /** Answers that it will compute at once, as far as is known before it is loaded. */
  readonly slots?: number;
  /** Names of the adapters around it; a client asks for `id:adapter`. */
  readonly adapters?: readonly string[];
  /** Seconds since 1970, of its files. */
  readonly created?: number;
  /** What there is to tell of it, for `/api/show` and the page. */
  readonly details?: ModelDetails;
  open(): Promise<OpenModel>;
}

/** What clients are told of a model. */
export interface ModelDetails {
  readonly parameters: number;
  readonly dtype: string;
  readonly context: number;
  readonly template?: string;
  /** Its configuration's numbers by GGUF's names, as Ollama shows them. */
  readonly info?: Readonly<Record<string, unknown>>;
}

/** A model that is loaded. */
export interface OpenModel {
  readonly model: TextModel;
  /** Answers that are computed at once. */
  readonly slots: number;
  close(): Promise<void>;
}

/** A model in use: it stays until it is released. */
export interface Lease extends OpenModel {
  readonly id: string;
  readonly adapter: string | null;
  readonly gate: Gate;
  release(): void;
}

interface Entry {
  readonly source: ModelSource;
  readonly gate: Gate;
  opening?: Promise<OpenModel>;
  loaded: boolean;
  users: number;
  lastUsed: number;
}

/** How many answers a model may have under way or waiting. */
class Gate {
  private inside = 0;
  /** Milliseconds that an answer took of late. */
  private mean = 1000;

  constructor(
    /** How many run at once; estimated until the model is loaded. */
    public slots: number,
    private readonly queue: number,
  ) {}

  get running(): number {
    return Math.min(this.inside, this.slots);
  }

  get waiting(): number {
    return Math.max(0, this.inside - this.slots);
  }

  /** Answers that may be under way or wait. */
  get room(): number {
    return this.slots + this.queue;
  }

  /** Throws `ApiError` 429 when there is no room, 400 when there can never be. Returns what gives the places back. */
  enter(count: number): () => void {
    const { room } = this;
    if (count > room) throw new ApiError(400, `${counted(count, 'answer')} in one request are too many here: at most ${room}`);
    if (this.inside + count > room) {
      throw busy(this.running, this.waiting, (this.mean * (this.waiting + count)) / this.slots / 1000);
    }
    this.inside += count;
    const began = performance.now();
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.inside -= count;
      this.mean += 0.1 * (performance.now() - began - this.mean);
    };
  }
}

/** No room: how many are answered and wait, and when another try makes sense. */
export function busy(running: number, waiting: number, seconds: number): ApiError {
  return new ApiError(429, `${counted(running, 'answer')} under way, ${waiting} waiting: try again later`, {
    ...{ code: 'rate_limit_exceeded', retryAfter: Math.min(60, seconds) },
  });
}

interface ModelsOptions {
  /** Bytes that loaded models may take together; default no limit. */
  readonly memory?: number;
  /** Answers that may wait for each model. */
  readonly queue: number;
}

export class Models {
  private readonly entries: ReadonlyMap<string, Entry>;
  private clock = 0;
  private closed = false;
  /** Loading and putting away take turns, so that memory is counted once. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    sources: readonly ModelSource[],
    private readonly options: ModelsOptions,
  ) {
    const entry = (source: ModelSource): Entry => ({
      ...{ source, gate: new Gate(source.slots ?? 1, options.queue), loaded: false, users: 0, lastUsed: 0 },
    });
    const twice = sources.find(({ id }, i) => sources.findIndex((other) => other.id === id) < i);
    if (twice) throw new InputError(`two models are called ${twice.id}: give one another name (name=MODEL)`);
    this.entries = new Map(sources.map((source) => [source.id, entry(source)]));
  }

  /** Models and their adapters, by the names that clients use. */
  list(): { readonly id: string; readonly source: ModelSource; readonly adapter: string | null; readonly loaded: boolean }[] {
    return [...this.entries.values()].flatMap(({ source, loaded }) => [
      { id: source.id, source, adapter: null, loaded },
      ...(source.adapters ?? []).map((adapter) => ({ id: `${source.id}:${adapter}`, source, adapter, loaded })),
    ]);
  }

  /** Answers that all models together may have under way or waiting. */
  get room(): number {
    return [...this.entries.values()].reduce((sum, { gate }) => sum + gate.room, 0);
  }

  /** Loaded models' bytes, and what each has to do. */
  state(): { readonly id: string; readonly bytes: number; readonly running: number; readonly waiting: number }[] {
    return [...this.entries.values()]
      .filter(({ loaded }) => loaded)
      .map(({ source, gate }) => ({ id: source.id, bytes: source.bytes, running: gate.running, waiting: gate.waiting }));
  }

  /**
   * The model of a name (none: the first), loaded if it is not. Throws `ApiError`: 404 for a name that is not served, 503 when the
   * models that are in use leave no memory for it; and what loading throws.
   */
  async lease(name: string | undefined): Promise<Lease> {
    const found = name === undefined ? this.list()[0] : this.get(name);
    const entry = this.entries.get(found.source.id)!;
    entry.users++;
    entry.lastUsed = ++this.clock;
    const release = (): void => {
      entry.users--;
      entry.lastUsed = ++this.clock;
    };
    try {
      const open = await (entry.opening ?? this.open(entry));
      return { ...open, id: found.id, adapter: found.adapter, gate: entry.gate, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** By its name, or as Ollama's clients write it, with `:latest`. Throws `ApiError` 404. */
  get(name: string): ReturnType<Models['list']>[number] {
    const all = this.list();
    const found = all.find(({ id }) => id === name) ?? all.find(({ id }) => `${id}:latest` === name);
    if (found) return found;
    const names = all.map(({ id }) => id).join(', ');
    throw new ApiError(404, `there is no model ${shown(name)} here; there is ${names}`, {
      ...{ code: 'model_not_found', param: 'model' },
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.turn;
    await Promise.all([...this.entries.values()].map((entry) => this.putAway(entry)));
  }

  private open(entry: Entry): Promise<OpenModel> {
    const opening = this.turn.then(async () => {
      if (this.closed) throw new ApiError(503, 'the server is stopping');
      await this.makeRoom(entry.source);
      const open = await entry.source.open();
      entry.gate.slots = open.slots;
      entry.loaded = true;
      return open;
    });
    entry.opening = opening;
    this.turn = opening.catch(() => {
      entry.opening = undefined; // the next request tries again
    });
    return opening;
  }

  private async makeRoom(source: ModelSource): Promise<void> {
    const { memory = Number.POSITIVE_INFINITY } = this.options;
    if (source.bytes > memory)
      throw new ApiError(
        503,
        `${source.id} takes ${counted(source.bytes, 'byte')} with its cache, and this server may take ${memory}`,
      );
    const loaded = [...this.entries.values()].filter((entry) => entry.loaded).sort((a, b) => a.lastUsed - b.lastUsed);
    let taken = loaded.reduce((sum, entry) => sum + entry.source.bytes, source.bytes);
    for (const entry of loaded) {
      if (taken <= memory) return;
      if (entry.users > 0) continue;
      await this.putAway(entry);
      taken -= entry.source.bytes;
    }
    if (taken <= memory) return;
    throw new ApiError(503, `there is no memory for ${source.id} while other models are in use: try again later`, {
      retryAfter: 5,
    });
  }

  private async putAway(entry: Entry): Promise<void> {
    const { opening } = entry;
    entry.opening = undefined;
    entry.loaded = false;
    const open = await opening?.catch(() => undefined);
    await open?.close();
  }
}
