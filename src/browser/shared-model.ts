// One model for all sessions of a LanguageModel: opened for the first one, put away some seconds after the last one has gone. An opening
// that nobody waits for any more is broken off; what was downloaded by then is kept.

import type { PromptModel } from './conversation.js';
import type { LoadProgress } from './session.js';
import { until } from './session-life.js';

export interface OpenedModel extends PromptModel {
  /** Tokens of a sequence. */
  readonly contextWindow: number;
}

/** What sessions need of the outside. */
export interface ModelProvider {
  /** BCP 47 tags. */
  readonly languages: readonly string[];
  /** Why no model can run here, if none can. */
  readonly missing?: string;
  open(options: { signal: AbortSignal; onProgress: (progress: LoadProgress) => void }): Promise<OpenedModel>;
  /** Whether opening it downloads nothing. */
  isHere(): Promise<boolean>;
}

interface Opening {
  readonly model: Promise<OpenedModel>;
  readonly controller: AbortController;
  readonly listeners: Set<(progress: LoadProgress) => void>;
  done: boolean;
}

/** Between one session and the next a model stays so long. */
const lingerMs = 10_000;

export class SharedModel {
  private opening?: Opening;
  private users = 0;
  private timer?: ReturnType<typeof setTimeout>;

  constructor(private readonly provider: ModelProvider) {}

  async availability(): Promise<'available' | 'downloading' | 'downloadable'> {
    if (this.opening?.done || (await this.provider.isHere())) return 'available';
    return this.opening ? 'downloading' : 'downloadable';
  }

  /** The model, for one session that must `release` it once. Rejects as `open` does, or with the signal's reason. */
  async take(signal: AbortSignal | undefined, onProgress: (progress: LoadProgress) => void): Promise<OpenedModel> {
    signal?.throwIfAborted();
    clearTimeout(this.timer);
    this.users++;
    this.opening ??= this.open();
    const { opening } = this;
    opening.listeners.add(onProgress);
    try {
      return await until(signal, opening.model);
    } catch (error) {
      this.release();
      throw error;
    } finally {
      opening.listeners.delete(onProgress);
    }
  }

  release(): void {
    this.users--;
    const { opening } = this;
    if (this.users > 0 || !opening) return;
    if (!opening.done) {
      this.opening = undefined;
      opening.controller.abort();
      return;
    }
    this.timer = setTimeout(() => {
      this.opening = undefined;
      void opening.model.then((model) => model.dispose()).catch(() => {});
    }, lingerMs);
  }

  private open(): Opening {
    const controller = new AbortController();
    const listeners: Opening['listeners'] = new Set();
    const onProgress = (progress: LoadProgress): void => {
      for (const listener of listeners) listener(progress);
    };
    const opening: Opening = {
      model: this.provider.open({ signal: controller.signal, onProgress }),
      controller,
      listeners,
      done: false,
    };
    opening.model.then(
      (model) => {
        opening.done = true;
        if (this.opening !== opening) void model.dispose(); // it was opened all the same
      },
      () => {
        if (this.opening === opening) this.opening = undefined;
      },
    );
    return opening;
  }
}
