// Conversations and settings, kept in this browser and nowhere else. A browser that keeps nothing (private, full) is no fault: they last
// as long as the page then.

/** A token with how likely it was (natural logarithm). */
export interface Likelihood {
  readonly text: string;
  readonly logprob: number;
}

/** A token of an answer, and the likeliest at its place. */
export interface AnswerToken extends Likelihood {
  /** Where the model is in this page. */
  readonly id?: number;
  readonly top: readonly Likelihood[];
}

export interface Turn {
  readonly role: 'user' | 'assistant';
  content: string;
  /**
   * Of an answer: what it is made of (of a finished one as JSON, since a browser takes tenths of a second to keep a hundred thousand small
   * objects), by which model, and whether it was stopped or cut before its end.
   */
  tokens?: AnswerToken[] | string;
  model?: string;
  cut?: boolean;
  /** What there is to say of an answer: its speed, or what went wrong. */
  note?: string;
  failed?: boolean;
}

export function tokensOf({ tokens = [] }: Turn): AnswerToken[] {
  return typeof tokens === 'string' ? (JSON.parse(tokens) as AnswerToken[]) : tokens;
}

export interface Conversation {
  id: string;
  title: string;
  changed: number;
  turns: Turn[];
}

export interface Settings {
  model: string;
  system: string;
  temperature: number;
  top_p: number;
  top_k: number;
  min_p: number;
  repetition_penalty: number;
  max_tokens: number;
  /** Empty: a random one each time. */
  seed: string;
  key: string;
  /** Show answers token by token. */
  tokens: boolean;
}

/** As `openelm chat` has them. */
export const defaults: Readonly<Settings> = {
  ...{ model: '', system: '', temperature: 0.7, top_p: 0.9, top_k: 0, min_p: 0, repetition_penalty: 1, max_tokens: 512 },
  ...{ seed: '', key: '', tokens: false },
};

/** Conversations are in a database, as they may be large; settings, which are needed at once, beside it. */
const settingsKey = 'openelm.settings';
const conversations = 'conversations';

export class Store {
  private readonly kept = new Map<string, Conversation>();
  private database = openDatabase();
  private readonly tabs = typeof BroadcastChannel === 'function' ? new BroadcastChannel('openelm conversations') : undefined;
  /** Told when what was saved is not kept; `newer`: since what is kept is a newer page's, in another tab. */
  onLost: (newer: boolean) => void = () => {};
  /** Told of a conversation that another tab saved, or removed. */
  onChange: (id: string, saved: Conversation | undefined) => void = () => {};

  constructor() {
    if (!this.tabs) return;
    this.tabs.onmessage = ({ data: { id, saved } }: MessageEvent<{ id: string; saved?: Conversation }>) => {
      if (saved) this.kept.set(id, saved);
      else this.kept.delete(id);
      this.onChange(id, saved);
    };
  }

  /** Reads what is kept; what was saved in the meantime stays. */
  async load(): Promise<void> {
    const database = await this.opened();
    const all = database?.transaction(conversations).objectStore(conversations).getAll();
    for (const found of all ? await answerOf<unknown[]>(all).catch(() => []) : []) {
      if (isConversation(found) && !this.kept.has(found.id)) this.kept.set(found.id, found);
    }
  }

  /** Undefined, and told of, where there is none. */
  private async opened(): Promise<IDBDatabase | undefined> {
    try {
      return await this.database;
    } catch (error) {
      this.onLost(error instanceof DOMException && error.name === 'VersionError');
      return undefined;
    }
  }

  /** The newest first. */
  all(): Conversation[] {
    return [...this.kept.values()].sort((a, b) => b.changed - a.changed);
  }

  get(id: string): Conversation | undefined {
    return this.kept.get(id);
  }

  create(): Conversation {
    return { id: newId(), title: 'New conversation', changed: Date.now(), turns: [] };
  }

  /** `unfinished`: other tabs are not told yet. */
  save(conversation: Conversation, unfinished = false): void {
    conversation.changed = Date.now();
    this.kept.set(conversation.id, conversation);
    this.write((store) => store.put(conversation));
    if (!unfinished) this.tabs?.postMessage({ id: conversation.id, saved: conversation });
  }

  remove(id: string): void {
    this.kept.delete(id);
    this.write((store) => store.delete(id));
    this.tabs?.postMessage({ id });
  }

  /** From here on it is another than that which it was. */
  part(conversation: Conversation): void {
    conversation.id = newId();
    this.kept.set(conversation.id, conversation);
  }

  settings(): Settings {
    let found: unknown;
    try {
      found = JSON.parse(localStorage.getItem(settingsKey) ?? 'null');
    } catch {}
    const known = Object.entries(isRecord(found) ? found : {}).filter(
      ([key, value]) => typeof value === typeof defaults[key as keyof Settings],
    );
    return { ...defaults, ...Object.fromEntries(known) };
  }

  saveSettings(settings: Settings): void {
    try {
      localStorage.setItem(settingsKey, JSON.stringify(settings));
    } catch {}
  }

  private write(change: (store: IDBObjectStore) => IDBRequest): void {
    const written = async (): Promise<void> => {
      const database = await this.database;
      const transaction = database.transaction(conversations, 'readwrite');
      change(transaction.objectStore(conversations));
      transaction.commit(); // at once: a page that goes has no time for the answer
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error);
      });
    };
    const again = async (): Promise<void> => {
      this.database = openDatabase(); // what a site keeps may be taken away while its page is open
      if (await this.opened()) await written();
    };
    void written()
      .catch(again)
      .catch(() => this.onLost(false));
  }
}

/** Unlike crypto.randomUUID on pages that are not https too. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Rejects where this browser keeps nothing, or what a newer version of this page keeps otherwise. */
async function openDatabase(): Promise<IDBDatabase> {
  const request = indexedDB.open('openelm', 1);
  request.onupgradeneeded = () => request.result.createObjectStore(conversations, { keyPath: 'id' });
  const database = await answerOf(request);
  database.onversionchange = () => database.close(); // a newer page waits for it
  return database;
}

function answerOf<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isConversation(value: unknown): value is Conversation {
  return (
    isRecord(value) &&
    typeof value.id === 'string' &&
    typeof value.title === 'string' &&
    Array.isArray(value.turns) &&
    value.turns.every((turn) => isRecord(turn) && typeof turn.content === 'string')
  );
}

/** A conversation to be read elsewhere. */
export function toMarkdown({ title, turns }: Conversation): string {
  const speaker = { user: 'You', assistant: 'Model' };
  return `# ${title}\n\n${turns.map(({ role, content }) => `**${speaker[role]}:** ${content}\n`).join('\n')}`;
}
