// One corpus as a stream of token sequences: its files in CoreNet's order, epoch after epoch, read and processed some blocks
// ahead, in the same order whatever does the processing. Its state says exactly which sequence comes next.

import { counted, InputError, messageOf } from '../errors.js';
import { limitBadRows, TooManyBadRows } from './bad-rows.js';
import type { ProcessedBlock, TextProcessor } from './process.js';
import { TOO_FEW_CHARACTERS } from './process.js';
import { type CorpusFile, type CorpusFiles, type Document, readDocuments, START } from './readers.js';
import type { Sequence } from './rows.js';
import { documentsOf, type ShardOptions, shardedFiles } from './sharding.js';

export interface SourceOptions {
  readonly corpora: CorpusFiles;
  readonly processor: TextProcessor;
  readonly shard: ShardOptions;
  /** Passes over the files; Infinity for training. */
  readonly epochs: number;
  /** Goes on with the next file when one cannot be read; otherwise that throws. */
  readonly skipBadFiles: boolean;
  readonly onBadFile?: (reason: string) => void;
  /** Rows that hold no document and are passed over in an epoch at most; one more throws. Default 0. */
  readonly skipBadRows?: number;
  readonly onBadRow?: (reason: string) => void;
  /** Hears of each sequence: its tokens before any cut, and whether a filter dropped it. */
  readonly onSequence?: (tokens: number, dropped?: 'characters' | 'tokens') => void;
}

/** Where the next sequence is: the epoch, the file's place in it, the document and the sequence within it. */
export interface SourceState {
  readonly epoch: number;
  readonly file: number;
  readonly row: number;
  readonly offset: number;
  readonly sequence: number;
}

/** What was read so far. */
export interface Counts {
  documents: number;
  /** Rows that held none and were passed over. */
  badRows: number;
  /** UTF-16 units of text. */
  characters: number;
  sequences: number;
  tooFewCharacters: number;
  tooFewTokens: number;
  kept: number;
  /** Of the kept sequences. */
  tokens: number;
}

export const noCounts = (): Counts => ({
  documents: 0,
  badRows: 0,
  characters: 0,
  sequences: 0,
  tooFewCharacters: 0,
  tooFewTokens: 0,
  kept: 0,
  tokens: 0,
});

// A block is processed at once: large enough to be worth a message to another thread, small enough to stay in cache.
const BLOCK_UNITS = 1 << 18;
const BLOCK_DOCUMENTS = 1024;

interface Located {
  readonly document: Document;
  readonly epoch: number;
  readonly file: number;
}

interface Processed extends Located {
  readonly lengths: Int32Array;
  readonly tokens: Int32Array;
}

export class SequenceSource {
  private readonly from: SourceState;
  private readonly iterator: AsyncGenerator<Processed>;
  private current: Processed | undefined;
  private index = 0; // of the next sequence in `current`
  private used = 0; // tokens of `current` before it
  private keptInEpoch = 0;
  private wholeEpoch: boolean;

  constructor(
    private readonly files: readonly CorpusFile[],
    private readonly options: SourceOptions,
    private readonly counts: Counts,
    state?: SourceState,
  ) {
    this.from = state ?? { epoch: 0, file: 0, sequence: 0, ...START };
    this.wholeEpoch = !state;
    this.iterator = this.processed();
  }

  /** The next sequence that passes the filters, or undefined after the last epoch. Throws `InputError` when an epoch has none. */
  async next(): Promise<Sequence | undefined> {
    for (;;) {
      const { current } = this;
      if (current && this.index < current.lengths.length) {
        const sequence = this.take(current);
        if (sequence) return sequence;
        continue;
      }
      const { value, done } = await this.iterator.next();
      if (done) return undefined;
      this.enter(value);
    }
  }

  state(): SourceState {
    const { current } = this;
    if (!current) return this.from;
    const { document, epoch, file } = current;
    if (this.index < current.lengths.length) return { epoch, file, ...document.at, sequence: this.index };
    return { epoch, file, ...document.next, sequence: 0 };
  }

  async close(): Promise<void> {
    await this.iterator.return(undefined);
  }

  private enter(next: Processed): void {
    const last = this.current;
    if (last && last.epoch !== next.epoch) {
      if (this.wholeEpoch && this.keptInEpoch === 0) throw this.nothingKept();
      this.wholeEpoch = true;
      this.keptInEpoch = 0;
    }
    this.current = next;
    this.index = 0;
    this.used = 0;
    const skipped = last ? 0 : this.from.sequence;
    if (skipped === 0) {
      this.counts.documents++;
      this.counts.characters += next.document.text.length;
    }
    while (this.index < skipped) this.used += Math.max(0, next.lengths[this.index++]);
  }

  private take({ document, lengths, tokens }: Processed): Sequence | undefined {
    const { counts } = this;
    const length = lengths[this.index++];
    counts.sequences++;
    if (length === TOO_FEW_CHARACTERS) {
      counts.tooFewCharacters++;
      this.options.onSequence?.(0, 'characters');
      return undefined;
    }
    if (length < 0) {
      counts.tooFewTokens++;
      this.options.onSequence?.(-2 - length, 'tokens');
      return undefined;
    }
    counts.kept++;
    counts.tokens += length;
    this.keptInEpoch++;
    this.options.onSequence?.(length);
    const own = tokens.subarray(this.used, this.used + length);
    this.used += length;
    return { tokens: own, document: `${document.file}:${document.row}` };
  }

  private nothingKept(): InputError {
    const { documents, tooFewCharacters, tooFewTokens } = this.counts;
    return new InputError(
      `no text passes the filters: of ${counted(documents, 'document')}, ${counted(tooFewCharacters, 'sequence')} fell below min_characters_per_text and ${tooFewTokens} below min_tokens_per_text; lower them`,
    );
  }

  private async *documents(): AsyncGenerator<Located> {
    const { corpora, shard, epochs, skipBadFiles, onBadFile, skipBadRows = 0 } = this.options;
    const { from } = this;
    const turns = documentsOf(this.files.length, shard);
    const order = shardedFiles(this.files, turns ? { ...shard, scaledRank: 0, scaledWorldSize: 1 } : shard);
    for (let epoch = 0; epoch < epochs; epoch++) {
      const files = order.next().value;
      if (epoch < from.epoch) continue;
      const first = epoch === from.epoch ? from.file : 0;
      let found = first > 0 || (epoch === from.epoch && from.row > 0);
      let reason = '';
      let badRows = 0;
      const onBadRow = limitBadRows(skipBadRows, ({ message }) => {
        badRows++;
        reason = message;
        this.counts.badRows++;
        this.options.onBadRow?.(reason);
      });
      for (let file = first; file < files.length; file++) {
        const position = epoch === from.epoch && file === from.file ? from : START;
        try {
          const start = { row: position.row, offset: position.offset };
          for await (const document of readDocuments(corpora, files[file], start, onBadRow)) {
            found = true;
            if (turns && document.at.row % turns.of !== turns.turn) continue;
            yield { document, epoch, file };
          }
        } catch (error) {
          if (!skipBadFiles || !(error instanceof InputError) || error instanceof TooManyBadRows) throw error;
          reason = messageOf(error);
          onBadFile?.(reason);
        }
      }
      if (!found) {
        throw new InputError(
          reason === ''
            ? `${files[0].path}: no documents in it${files.length > 1 ? ' and the files after it' : ''}`
            : `no ${badRows > 0 ? 'document' : 'corpus file'} can be read; the last: ${reason}`,
        );
      }
    }
  }

  private async *processed(): AsyncGenerator<Processed> {
    const { processor } = this.options;
    const documents = this.documents();
    const queue: { located: Located[]; done: Promise<ProcessedBlock> }[] = [];
    let ended = false;
    try {
      for (;;) {
        while (!ended && queue.length < processor.depth) {
          const located = await block(documents);
          ended = located.length === 0;
          if (ended) break;
          const done = processor.process(located.map(({ document }) => document.text));
          done.catch(() => {}); // heard when its turn comes
          queue.push({ located, done });
        }
        const next = queue.shift();
        if (!next) return;
        yield* spread(next.located, await next.done);
      }
    } finally {
      await documents.return(undefined);
    }
  }
}

async function block(documents: AsyncGenerator<Located>): Promise<Located[]> {
  const located: Located[] = [];
  let units = 0;
  while (units < BLOCK_UNITS && located.length < BLOCK_DOCUMENTS) {
    const { value, done } = await documents.next();
    if (done) break;
    located.push(value);
    units += value.document.text.length;
  }
  return located;
}

function* spread(located: readonly Located[], { tokens, lengths, counts }: ProcessedBlock): Generator<Processed> {
  let sequence = 0;
  let token = 0;
  for (let i = 0; i < located.length; i++) {
    const own = lengths.subarray(sequence, sequence + counts[i]);
    let kept = 0;
    for (const length of own) kept += Math.max(0, length);
    yield { ...located[i], lengths: own, tokens: tokens.subarray(token, token + kept) };
    sequence += counts[i];
    token += kept;
  }
}
