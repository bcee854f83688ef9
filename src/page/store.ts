// Conversations and settings, kept in this browser and nowhere else. A browser that keeps nothing (private, full) is no fault: they last
// as long as the page then.

export interface Turn {
  readonly role: 'user' | 'assistant';
  content: string;
  /** What there is to say of an answer: its speed, or what went wrong. */
  note?: string;
  failed?: boolean;
}

export interface Conversation {
  readonly id: string;
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
}

/** As `openelm chat` has them. */
export const defaults: Readonly<Settings> = {
  ...{ model: '', system: '', temperature: 0.7, top_p: 0.9, top_k: 0, min_p: 0, repetition_penalty: 1, max_tokens: 512 },
  ...{ seed: '', key: '' },
};

const prefix = 'openelm.';

export class Store {
  private readonly kept = new Map<string, Conversation>();

  constructor() {
    for (const [key, value] of entries()) {
      const found = key.startsWith(`${prefix}conversation.`) ? parsed(value) : undefined;
      if (isConversation(found)) this.kept.set(found.id, found);
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
    return { id: crypto.randomUUID(), title: 'New conversation', changed: Date.now(), turns: [] };
  }

  save(conversation: Conversation): void {
    conversation.changed = Date.now();
    this.kept.set(conversation.id, conversation);
    write(`conversation.${conversation.id}`, conversation);
  }

  remove(id: string): void {
    this.kept.delete(id);
    try {
      localStorage.removeItem(`${prefix}conversation.${id}`);
    } catch {}
  }

  settings(): Settings {
    const found = parsed(entries().find(([key]) => key === `${prefix}settings`)?.[1]);
    const known = Object.entries(isRecord(found) ? found : {}).filter(
      ([key, value]) => typeof value === typeof defaults[key as keyof Settings],
    );
    return { ...defaults, ...Object.fromEntries(known) };
  }

  saveSettings(settings: Settings): void {
    write('settings', settings);
  }
}

function entries(): [string, string][] {
  try {
    return Object.entries(localStorage);
  } catch {
    return [];
  }
}

function write(key: string, value: unknown): void {
  try {
    localStorage.setItem(prefix + key, JSON.stringify(value));
  } catch {}
}

function parsed(value: string | undefined): unknown {
  try {
    return value === undefined ? undefined : JSON.parse(value);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isConversation(value: unknown): value is Conversation {
  return isRecord(value) && typeof value.id === 'string' && typeof value.title === 'string' && Array.isArray(value.turns);
}

/** A conversation to be read elsewhere. */
export function toMarkdown({ title, turns }: Conversation): string {
  const speaker = { user: 'You', assistant: 'Model' };
  return `# ${title}\n\n${turns.map(({ role, content }) => `**${speaker[role]}:** ${content}\n`).join('\n')}`;
}
