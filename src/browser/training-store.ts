// What has to be kept of a training so that it goes on after a reload: the job (options, tokenizer, text), written once, and checkpoints
// in two slots by turns. A checkpoint's record is written last, so one that was cut short is none, and the one before it counts. What a
// checkpoint holds is train/checkpoint.ts's; where the files lie, io/browser/place.ts's.

import { InputError } from '../errors.js';
import { filesInMemory } from '../io/browser/blob-files.js';
import { blobSource } from '../io/browser/blob-source.js';
import { keptPlaces, removePlaces } from '../io/browser/kept-places.js';
import { openPlace } from '../io/browser/open-place.js';
import { type Place, readJson } from '../io/browser/place.js';
import type { NamedBytes } from '../io/bytes.js';
import { isObject } from '../io/json.js';
import type { WriteFile } from '../model/write.js';
import { checkpointFiles, type OpenFile, readRecord, type TrainingRecord } from '../train/checkpoint.js';
import type { NamedBlob } from './model-files.js';
import type { TrainOptions } from './training-options.js';

/** What a training was begun with. */
export interface TrainingJob {
  readonly name: string;
  readonly options: Omit<TrainOptions, 'text' | 'tokenizer'>;
  /** Milliseconds since 1970. */
  readonly begun: number;
}

/** What happened by step, for curves. */
export interface TrainingHistory {
  /** Of each step, from the first. */
  readonly losses: number[];
  readonly validations: (readonly [step: number, loss: number])[];
  readonly samples: (readonly [step: number, text: string])[];
}

export interface StoredCheckpoint {
  /** Put before names of its files. */
  readonly slot: string;
  readonly record: TrainingRecord;
  readonly open: OpenFile;
  /** When it was written, in milliseconds since 1970. */
  readonly written: number;
}

const root = 'openelm-trainings';
/** Another version of the library keeps its trainings under another; the first had none. */
const jobFormat = 'openelm-browser-training-1';
const names = { job: 'job.json', text: 'text.txt', tokenizer: 'tokenizer.model', history: 'history.json' } as const;
const slots = ['0-', '1-'] as const;
/** A model as it is loaded, of what a slot has. */
const modelFiles = [checkpointFiles.config, checkpointFiles.weights, names.tokenizer] as const;

/** What the lock is called that whoever trains it has. */
export const trainingLock = (name: string): string => `openelm training ${name}`;

export class TrainingStore {
  private constructor(private readonly place: Pick<Place, 'read'> & Partial<Place>) {}

  /** In what this browser keeps, or in memory where it keeps nothing: `notKept` is told why. */
  static async open(name: string, notKept: (reason: string) => void): Promise<TrainingStore> {
    return new TrainingStore(await openPlace(root, name, notKept));
  }

  /** In memory: empty, or with the files of one that could not be kept. */
  static async inMemory(files: readonly NamedBlob[] = []): Promise<TrainingStore> {
    const place = filesInMemory();
    for (const { name, blob } of files) await fill(place, name, blob);
    return new TrainingStore(place);
  }

  /** Those that are kept, to be read; of a name, or all. */
  static async *kept(name?: string): AsyncGenerator<TrainingStore> {
    for await (const place of keptPlaces(root, name)) yield new TrainingStore(place);
  }

  static remove(name: string): Promise<void> {
    return removePlaces(root, name);
  }

  /** Whether it survives a reload. */
  get isKept(): boolean {
    return this.place.kept === true;
  }

  /** Undefined where none was begun. Throws `InputError` on one that this version did not write. */
  async job(): Promise<TrainingJob | undefined> {
    const found = await this.begun();
    if (found === undefined) return undefined;
    const { format, ...job } = found;
    if (format !== jobFormat)
      throw new InputError(
        `the training ${job.name} was begun by another version of this page: load the page again, or train under another name`,
      );
    if (!isObject(job.options)) throw new InputError(`${names.job}: not the job of a training that this version began`);
    return job as unknown as TrainingJob;
  }

  /** What one is called that another version of this library began, which only that can go on with. */
  async foreignName(): Promise<string | undefined> {
    const found = await this.begun();
    return found && found.format !== jobFormat ? found.name : undefined;
  }

  private async begun(): Promise<{ readonly name: string; readonly format: unknown; readonly options?: unknown } | undefined> {
    const found = await readJson(this.place, names.job);
    if (found === undefined) return undefined;
    if (!isObject(found) || typeof found.name !== 'string') throw new InputError(`${names.job}: not the job of a training`);
    return { format: jobFormat, ...found, name: found.name };
  }

  /** The text, and the tokenizer that was learned from it or given. */
  async material(): Promise<{ text: string; tokenizer: Uint8Array }> {
    const [text, tokenizer] = await Promise.all([this.place.read(names.text), this.place.read(names.tokenizer)]);
    if (!text || !tokenizer)
      throw new InputError(`${text ? names.tokenizer : names.text} is missing: this training cannot go on`);
    return { text: await text.text(), tokenizer: new Uint8Array(await tokenizer.arrayBuffer()) };
  }

  /** Begins anew: what was there counts no more. Throws what the browser throws when it has no room. */
  async begin(job: TrainingJob, text: string | Blob, tokenizer: Uint8Array): Promise<void> {
    const place = this.place as Place;
    for (const name of [names.job, ...slots.map((slot) => slot + checkpointFiles.record)]) await place.write(name, '');
    await fill(place, names.text, typeof text === 'string' ? new Blob([text]) : text);
    await fill(place, names.tokenizer, new Blob([tokenizer as BlobPart]));
    await place.write(names.job, JSON.stringify({ format: jobFormat, ...job }));
  }

  /** The newest checkpoint that is whole. */
  async newest(): Promise<StoredCheckpoint | undefined> {
    const found = await Promise.all(slots.map((slot) => this.checkpoint(slot)));
    return found.reduce((best, other) => (other && (!best || other.record.step > best.record.step) ? other : best), undefined);
  }

  /** Of the newest checkpoint. */
  async history(): Promise<TrainingHistory> {
    const source = await (await this.newest())?.open(names.history);
    const found = source && parsed(new TextDecoder().decode(await source.read(0, source.size)));
    return isObject(found) && Array.isArray(found.losses)
      ? (found as unknown as TrainingHistory)
      : { losses: [], validations: [], samples: [] };
  }

  /** What stands beside the weights in a checkpoint. */
  static beside(tokenizer: Uint8Array, history: TrainingHistory): NamedBytes[] {
    return [
      { name: names.tokenizer, bytes: tokenizer },
      { name: names.history, bytes: new TextEncoder().encode(JSON.stringify(history)) },
    ];
  }

  /** Writes a checkpoint beside the newest. Throws what `write` throws, and what the browser throws when it has no room. */
  async save(write: (file: WriteFile) => Promise<void>): Promise<void> {
    const place = this.place as Place;
    const steps = await Promise.all(slots.map(async (slot) => (await this.checkpoint(slot))?.record.step ?? -1));
    const slot = slots[steps[0] > steps[1] ? 1 : 0];
    await place.write(slot + checkpointFiles.record, '');
    await write(async (name, content) => {
      const appender = await place.append(slot + name);
      await appender.clear();
      try {
        await content({ write: async (chunk) => appender.write(chunk) });
      } catch (error) {
        await appender.clear(); // what is half a file only takes room
        throw error;
      } finally {
        await appender.close();
      }
    });
  }

  /** The files of the model as the newest checkpoint has it; undefined where there is none. */
  async model(): Promise<NamedBlob[] | undefined> {
    const newest = await this.newest();
    return newest && this.files(modelFiles.map((name) => [name, newest.slot + name]));
  }

  /** All that is needed to go on elsewhere (`inMemory`). */
  async everything(): Promise<NamedBlob[]> {
    const newest = await this.newest();
    const inSlot = newest ? [...modelFiles, checkpointFiles.state, names.history, checkpointFiles.record] : [];
    const all = [names.job, names.text, names.tokenizer, ...inSlot.map((name) => newest!.slot + name)];
    return this.files(all.map((name) => [name, name]));
  }

  private async files(wanted: readonly (readonly [name: string, from: string])[]): Promise<NamedBlob[]> {
    const files: NamedBlob[] = [];
    for (const [name, from] of wanted) {
      const blob = await this.place.read(from);
      if (blob) files.push({ name, blob });
    }
    return files;
  }

  private async checkpoint(slot: string): Promise<StoredCheckpoint | undefined> {
    const open: OpenFile = async (name) => {
      const blob = await this.place.read(slot + name);
      if (!blob) throw new InputError(`${name} is missing`);
      return blobSource(name, blob);
    };
    const blob = await this.place.read(slot + checkpointFiles.record);
    if (!blob || blob.size === 0) return undefined;
    try {
      const record = await readRecord(open);
      for (const [name, bytes] of Object.entries(record.files)) if ((await open(name)).size !== bytes) return undefined;
      const written = (blob as Partial<File>).lastModified ?? Date.now();
      return { slot, record, open, written };
    } catch (error) {
      if (error instanceof InputError) return undefined; // cut short
      throw error;
    }
  }
}

async function fill(place: Place, name: string, blob: Blob): Promise<void> {
  const appender = await place.append(name);
  try {
    await appender.clear();
    const pieceBytes = 4 << 20;
    for (let at = 0; at < blob.size; at += pieceBytes)
      await appender.write(new Uint8Array(await blob.slice(at, at + pieceBytes).arrayBuffer()));
  } finally {
    await appender.close();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
