// The datasets that tasks need: from a folder, DIR/<dataset_path>/<dataset_name>/<split>.<ending>, rows in the Hugging Face
// schema as JSON lines, a JSON array, CSV or TSV (each also as .gz and .zst) or Parquet; or from the hub as Parquet; and from the files that a
// task names itself. Only the splits that the asked tasks use are read. No conversion.

import { join } from 'node:path';
import { InputError } from '../../errors.js';
import {
  type Dataset,
  type Datasets,
  datasetKey,
  datasetLabel,
  evaluatedSplit,
  namesFiles,
  poolSplit,
} from '../../eval/dataset.js';
import { type Doc, leafTasks, type Task, type TaskGroup } from '../../eval/task.js';
import { floatOf } from '../../python-float.js';
import { readCsv } from '../csv.js';
import { decodeUtf8, isOneValue, parsePythonJson } from '../json.js';
import { readParquet } from '../parquet.js';
import { corpusBytes } from './corpora.js';
import { entriesOf, openFile } from './files.js';
import type { DownloadOptions } from './hub.js';

const endings = [
  ...['.jsonl', '.json', '.ndjson', '.csv', '.tsv'].flatMap((kind) => [kind, `${kind}.gz`, `${kind}.zst`]),
  '.parquet',
];

/** Which tasks are given examples, and so need their few-shot pool; all of them unless told otherwise. */
type WantsPool = (task: Task) => boolean;

/**
 * Reads what the tasks need from a folder. A missing few-shot pool is no error here (the harness says so when examples are asked for).
 * Throws `InputError` when the evaluated split of a task is not in the folder or a file is not what its name says.
 */
export async function loadDatasets(
  folder: string,
  tasks: readonly (Task | TaskGroup)[],
  wantsPool: WantsPool = () => true,
): Promise<Datasets> {
  const datasets: Record<string, Record<string, readonly Doc[]>> = {};
  for (const [task, splits] of splitsOf(tasks, wantsPool)) {
    const key = datasetKey(task);
    datasets[key] ??= {};
    for (const split of splits) {
      if (datasets[key][split]) continue;
      const docs = namesFiles(task)
        ? await ownSplit(task, split)
        : await loadSplit(join(folder, task.dataset_path, task.dataset_name ?? ''), split);
      if (docs) datasets[key][split] = docs;
      else if (split === evaluatedSplit(task)) {
        const others = 'nor .json, .ndjson, .csv or .tsv, each also with .gz or .zst behind, nor .parquet';
        throw new InputError(`task ${task.task}: ${join(folder, datasetLabel(task))} has no ${split}.jsonl (${others})`);
      }
    }
  }
  return datasets satisfies Record<string, Dataset>;
}

/** Each task with the splits it reads. */
function splitsOf(tasks: readonly (Task | TaskGroup)[], wantsPool: WantsPool): [Task, string[]][] {
  return leafTasks(tasks).map((task) => {
    const pool = wantsPool(task) ? poolSplit(task) : undefined;
    const splits = [evaluatedSplit(task), ...(pool === undefined ? [] : [pool])];
    return [task, [...new Set(splits)]];
  });
}

/** The rows of the files that a task names for a split; undefined where it names none, which an evaluated split must have. */
async function ownSplit(task: Task, split: string): Promise<Doc[] | undefined> {
  const files = task.dataset_kwargs!.data_files;
  const names = Object.hasOwn(files, split) ? files[split] : undefined;
  if (names === undefined) {
    if (split !== evaluatedSplit(task)) return undefined;
    throw new InputError(
      `task ${task.task}: dataset_kwargs.data_files has no split "${split}" (it has ${Object.keys(files).join(', ')})`,
    );
  }
  try {
    if (task.dataset_path === 'parquet') return await loadParquet(names);
    const read = task.dataset_path === 'csv' ? parseCsv : parseJson;
    const parts = await Promise.all(names.map(async (name) => read(await readPlain(name), name)));
    return parts.flat();
  } catch (error) {
    throw error instanceof InputError ? new InputError(`task ${task.task}: ${error.message}`) : error;
  }
}

/** Undefined when there is no file of the split. Parquet may also be in the parts that the hub's repositories have. */
async function loadSplit(folder: string, split: string): Promise<Doc[] | undefined> {
  const names = await entriesOf(folder);
  const whole = endings.map((ending) => split + ending).find((name) => names.includes(name));
  const place = (name: string) => join(folder, name);
  if (whole !== undefined) {
    return whole.endsWith('.parquet') ? loadParquet([place(whole)]) : parseRows(await readPlain(place(whole)), place(whole));
  }
  const parts = names
    .filter((name) => name.startsWith(split) && /^-\d/.test(name.slice(split.length)) && partName.test(name))
    .sort();
  if (parts.length === 0) return undefined;
  const count = Number(partName.exec(parts[0])![1]);
  if (parts.length !== count) throw new InputError(`${folder}: ${split} is in ${count} parts, but ${parts.length} are there`);
  return loadParquet(parts.map(place));
}

const partName = /-\d{5}-of-(\d{5})\.parquet$/;

async function loadParquet(files: readonly string[]): Promise<Doc[]> {
  const parts: Doc[][] = [];
  for (const file of files) {
    const source = await openFile(file);
    parts.push(await readParquet(source).finally(() => source.close()));
  }
  return parts.flat();
}

/**
 * Reads what the tasks need from the hub, downloading what is not in its cache. Throws `InputError` when that fails (`loadDatasets`
 * reads a folder instead); rethrows the signal's reason.
 */
export async function downloadDatasets(
  tasks: readonly (Task | TaskGroup)[],
  options: DownloadOptions = {},
  wantsPool: WantsPool = () => true,
): Promise<Datasets> {
  const { downloadDataset } = await import('./hub-datasets.js');
  const byRepository = new Map<string, Map<string, { config?: string; splits: Set<string>; task: Task }>>();
  const own = leafTasks(tasks).filter(namesFiles);
  const datasets: Record<string, Dataset> = { ...(await loadDatasets('', own, wantsPool)) };
  for (const [task, splits] of splitsOf(tasks, wantsPool)) {
    if (namesFiles(task)) continue;
    const configs = byRepository.get(task.dataset_path) ?? new Map();
    byRepository.set(task.dataset_path, configs);
    const wanted = configs.get(datasetKey(task)) ?? { config: task.dataset_name, splits: new Set(), task };
    configs.set(datasetKey(task), wanted);
    for (const split of splits) wanted.splits.add(split);
  }
  for (const [repository, configs] of byRepository) {
    const wanted = [...configs.values()].map(({ config, splits }) => ({ config, splits: [...splits] }));
    const found = await downloadDataset(repository, wanted, options).catch((error: unknown) => {
      if (!(error instanceof InputError)) throw error;
      const task = [...configs.values()][0].task.task;
      throw new InputError(`task ${task}: dataset ${repository}: ${error.message}`);
    });
    for (const [i, key] of [...configs.keys()].entries()) {
      const splits = await Promise.all(
        [...found[i]].map(async ([split, files]): Promise<[string, Doc[]]> => [split, await loadParquet(files)]),
      );
      datasets[key] = Object.fromEntries(splits);
    }
  }
  return datasets;
}

/** V8 makes no longer text of one piece. */
const maxTextBytes = (1 << 29) - 24;

/** A text file as corpora are read: decompressed where its name ends in .gz or .zst, a byte order mark dropped. */
export async function readPlain(file: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of corpusBytes(file)) {
    bytes += chunk.length;
    if (bytes > maxTextBytes) throw new InputError(`${file}: more than ${maxTextBytes} bytes of text; write it as Parquet`);
    chunks.push(chunk);
  }
  return decodeUtf8(Buffer.concat(chunks), file).replace(/^\ufeff/, '');
}

/** Rows of a file's text by its ending. Throws `InputError` that names the line. */
export function parseRows(text: string, file: string): Doc[] {
  return /\.[ct]sv$/.test(file.replace(/\.(gz|zst)$/, '')) ? parseCsv(text, file) : parseJson(text, file);
}

/** JSON lines, or a list. */
function parseJson(text: string, file: string): Doc[] {
  if (isOneValue(text)) {
    const value = parsePythonJson(text, file);
    return (Array.isArray(value) ? value : [value]).map((row, i) => asDoc(row, `${file}, row ${i}`));
  }
  return text.split('\n').flatMap((line, i) => {
    const where = `${file}, line ${i + 1}`;
    return line.trim() === '' ? [] : [asDoc(parsePythonJson(line, where), where)];
  });
}

function asDoc(value: unknown, where: string): Doc {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new InputError(`${where}: expected a JSON object`);
  return value as Doc;
}

/** Columns of numbers, booleans or texts as `datasets` reads them. */
function parseCsv(text: string, file: string): Doc[] {
  const { names, rows: body } = readCsv(text, file);
  const columns = names.map((_, j) => typedColumn(body.map(({ cells }) => cells[j])));
  return body.map((_, i) => Object.fromEntries(names.map((name, j) => [name, columns[j][i]])));
}

// What pandas takes for no value, and for values that are no texts: a column is of one kind.
const noValue = new Set(
  ',#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null'.split(','),
);
const kinds: readonly (readonly [is: (cell: string) => boolean, read: (cell: string) => unknown])[] = [
  [
    (cell) => /^\s*[-+]?\d+\s*$/.test(cell) && BigInt.asIntN(64, BigInt(cell)) === BigInt(cell),
    (cell) => (Number.isSafeInteger(Number(cell)) ? Number(cell) + 0 : BigInt(cell)),
  ],
  [
    (cell) => /^\s*[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf|infinity)\s*$/i.test(cell),
    (cell) => floatOf(Number(cell.trim().replace(/inf(?:inity)?$/i, 'Infinity'))),
  ],
  [(cell) => /^(?:true|false)$/i.test(cell), (cell) => cell.toLowerCase() === 'true'],
];

/** The cells of a column as `datasets` has them, which reads by pandas; a whole number beside a missing one is a float there. */
function typedColumn(cells: readonly string[]): unknown[] {
  const given = cells.filter((cell) => !noValue.has(cell));
  const first = given.length < cells.length ? 1 : 0;
  const kind = kinds.slice(first).find(([is]) => given.every(is));
  return cells.map((cell) => (noValue.has(cell) ? null : kind ? kind[1](cell) : cell));
}
