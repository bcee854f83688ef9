// Examples that fit in memory (conversations, pairs) as training's endless stream of batches: shuffled anew in every epoch, batch by
// batch, from any place on. What an example is does not matter here; only how many rows of a step it takes.

import { counted, InputError } from '../errors.js';
import { PythonRandom } from '../python-random.js';
import { type CorpusFiles, type FileRow, readRows } from './readers.js';

/** What was read of some files. */
export interface LoadedExamples<Example> {
  readonly examples: readonly Example[];
  readonly rows: number;
  /** Rows that gave no example, by reason. */
  readonly dropped: ReadonlyMap<string, number>;
}

/**
 * Reads all rows of files into examples; `make` says why there is none for a row; `onBadRow`
 * decides on a row that cannot be read, or that `make` throws for. Throws `InputError` when a file cannot be read, what
 * `make` throws, and when nothing is left.
 */
export async function loadExamples<Example extends object>(
  corpora: CorpusFiles,
  files: readonly string[],
  make: (row: FileRow) => Promise<Example | string>,
  options: { readonly limit?: number; onRow?(rows: number): void; onBadRow?(error: InputError): void } = {},
): Promise<LoadedExamples<Example>> {
  const examples: Example[] = [];
  const dropped = new Map<string, number>();
  let rows = 0;
  let unreadable = 0;
  const drop = (reason: string): void => void dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  const onBadRow =
    options.onBadRow &&
    ((error: InputError): void => {
      options.onBadRow!(error);
      unreadable++;
      drop('passed over');
    });
  for (const file of files) {
    for await (const row of readRows(corpora, file, onBadRow)) {
      if (rows === options.limit) break;
      rows++;
      options.onRow?.(rows);
      const found = await make(row).catch((error: unknown) => {
        if (!(error instanceof InputError) || !options.onBadRow) throw error;
        options.onBadRow(error);
        return 'passed over';
      });
      if (typeof found === 'string') drop(found);
      else examples.push(found);
    }
  }
  if (examples.length === 0) {
    const reasons = [...dropped].map(([reason, count]) => `${count}: ${reason}`).join('; ');
    throw new InputError(
      `${files.join(', ')}: nothing to learn from in ${counted(rows + unreadable, 'row')}${reasons ? ` (${reasons})` : ''}`,
    );
  }
  return { examples, rows: rows + unreadable, dropped };
}

/** How examples are put into batches, and in which order. */
export interface ExampleSourceOptions<Example> {
  /** Examples of a batch at most. */
  readonly batchSize: number;
  /** Rows of a batch at most, and those that an example takes; every example must fit. */
  readonly maxRows: number;
  rowsOf(example: Example): number;
  readonly shuffle: boolean;
  readonly seed: number;
  /** Takes this process's share of each batch, one of `size`; default: all of it. */
  readonly share?: { readonly rank: number; readonly size: number };
}

/** Where the next batch begins. */
export interface ExampleSourceState {
  readonly epoch: number;
  readonly next: number;
}

/** Batches of whole examples: as many in turn as fit. An epoch's last batch may be smaller. */
export class ExampleSource<Example extends { readonly document: string }, Batch> {
  private epoch: number;
  private at: number;
  private order: readonly number[];

  constructor(
    private readonly examples: readonly Example[],
    private readonly options: ExampleSourceOptions<Example>,
    private readonly collate: (examples: readonly Example[]) => Batch,
    state?: unknown,
  ) {
    const { epoch, next } = (state as ExampleSourceState | undefined) ?? { epoch: 0, next: 0 };
    this.epoch = epoch;
    this.at = next;
    this.order = orderOf(examples.length, options, epoch);
  }

  async next(): Promise<{ batch: Batch; documents: readonly string[]; tokens: number }> {
    if (this.at >= this.order.length) {
      this.epoch++;
      this.at = 0;
      this.order = orderOf(this.examples.length, this.options, this.epoch);
    }
    const end = batchEnd(this.examples, this.order, this.at, this.options);
    const { rank, size } = this.options.share ?? { rank: 0, size: 1 };
    const taken = sharesOf(this.order.slice(this.at, end), size)[rank].map((i) => this.examples[i]);
    this.at = end;
    const tokens = taken.reduce((sum, example) => sum + this.options.rowsOf(example), 0);
    return { batch: this.collate(taken), documents: taken.map(({ document }) => document), tokens };
  }

  state(): ExampleSourceState {
    return { epoch: this.epoch, next: this.at };
  }
}

/** Items in turn among `size` processes, as evenly as can be. */
function sharesOf<Item>(items: readonly Item[], size: number): Item[][] {
  const edge = (i: number): number => Math.floor((i * items.length) / size);
  return Array.from({ length: size }, (_, i) => items.slice(edge(i), edge(i + 1)));
}

function orderOf(count: number, { shuffle, seed }: { shuffle: boolean; seed: number }, epoch: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  if (shuffle) new PythonRandom(seed + epoch).shuffle(order);
  return order;
}

function batchEnd<Example>(
  examples: readonly Example[],
  order: readonly number[],
  from: number,
  { batchSize, maxRows, rowsOf }: ExampleSourceOptions<Example>,
): number {
  let rows = 0;
  let end = from;
  while (end < order.length && end - from < batchSize) {
    rows += rowsOf(examples[order[end]]);
    if (rows > maxRows && end > from) break;
    end++;
  }
  return end;
}

/** What a run over all examples for some epochs comes to. */
export interface BatchPlan {
  readonly batches: number;
  /** Of the largest batch, or share of one: examples in it, and rows. */
  readonly mostExamples: number;
  readonly mostRows: number;
}

/** Counts the batches of the first epochs, as the source makes them; of as many epochs as `batches` take, if that is given. */
export function planBatches<Example>(
  examples: readonly Example[],
  options: ExampleSourceOptions<Example>,
  { epochs, batches }: { readonly epochs: number; readonly batches?: number },
): BatchPlan {
  const plan = { batches: 0, mostExamples: 0, mostRows: 0 };
  const goesOn = (epoch: number): boolean => (batches === undefined ? epoch < epochs : plan.batches < batches);
  for (let epoch = 0; examples.length > 0 && goesOn(epoch); epoch++) {
    const order = orderOf(examples.length, options, epoch);
    for (let at = 0; at < order.length; plan.batches++) {
      const end = batchEnd(examples, order, at, options);
      for (const share of sharesOf(order.slice(at, end), options.share?.size ?? 1)) {
        const rows = share.reduce((sum, i) => sum + options.rowsOf(examples[i]), 0);
        plan.mostExamples = Math.max(plan.mostExamples, share.length);
        plan.mostRows = Math.max(plan.mostRows, rows);
      }
      at = end;
    }
  }
  return plan;
}

/** The batches of one pass in the order of the files, for evaluation. */
export function* batchesInOrder<Example, Batch>(
  examples: readonly Example[],
  options: Omit<ExampleSourceOptions<Example>, 'shuffle' | 'seed'>,
  collate: (examples: readonly Example[]) => Batch,
): Generator<Batch> {
  const order = examples.map((_, i) => i);
  for (let at = 0; at < order.length; ) {
    const end = batchEnd(examples, order, at, { ...options, shuffle: false, seed: 0 });
    yield collate(examples.slice(at, end));
    at = end;
  }
}
