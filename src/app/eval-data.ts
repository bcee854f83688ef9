// Datasets from a folder: DIR/<dataset_path>/<dataset_name>/<split>.<ending>, rows in the Hugging Face schema as JSON lines, a
// JSON array or CSV, each also gzipped. Only the splits that the asked tasks use are read. No download and no conversion.

import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { InputError, messageOf } from '../errors.js';
import { type Dataset, type Datasets, datasetKey, datasetLabel, evaluatedSplit, poolSplit } from '../eval/dataset.js';
import { type Doc, leafTasks, type Task, type TaskGroup } from '../eval/task.js';

const ENDINGS = ['.jsonl', '.jsonl.gz', '.json', '.json.gz', '.csv', '.csv.gz'] as const;

/**
 * Reads what the tasks need. A missing few-shot pool is no error here (the harness says so when examples are asked for).
 * Throws `InputError` when the evaluated split of a task is not in the folder or a file is not what its name says.
 */
export async function loadDatasets(folder: string, tasks: readonly (Task | TaskGroup)[]): Promise<Datasets> {
  const datasets: Record<string, Record<string, readonly Doc[]>> = {};
  for (const task of leafTasks(tasks)) {
    const key = datasetKey(task);
    datasets[key] ??= {};
    for (const split of new Set([evaluatedSplit(task), poolSplit(task)])) {
      if (datasets[key][split]) continue;
      const docs = await loadSplit(folder, task, split);
      if (docs) datasets[key][split] = docs;
      else if (split === evaluatedSplit(task)) {
        throw new InputError(
          `task ${task.task}: ${join(folder, datasetLabel(task))} has no ${split}.jsonl (nor ${ENDINGS.slice(1).join(', ')})`,
        );
      }
    }
  }
  return datasets satisfies Record<string, Dataset>;
}

async function loadSplit(folder: string, task: Task, split: string): Promise<Doc[] | undefined> {
  for (const ending of ENDINGS) {
    const file = join(folder, task.dataset_path, task.dataset_name ?? '', split + ending);
    const found = await access(file).then(
      () => true,
      () => false,
    );
    if (found) return parseRows(await readPlain(file), file);
  }
  return undefined;
}

/** A text file, gunzipped where its name ends in .gz. */
export async function readPlain(file: string): Promise<string> {
  const bytes = await readFile(file);
  if (!file.endsWith('.gz')) return bytes.toString('utf8');
  try {
    return (await promisify(gunzip)(bytes)).toString('utf8');
  } catch (error) {
    throw new InputError(`${file}: not a gzip file: ${messageOf(error)}`);
  }
}

/** Rows of a file's text by its ending. Throws `InputError` that names the line. */
export function parseRows(text: string, file: string): Doc[] {
  const name = file.replace(/\.gz$/, '');
  if (name.endsWith('.csv')) return parseCsv(text, file);
  if (name.endsWith('.json')) {
    const rows = parseJson(text, file);
    if (!Array.isArray(rows)) throw new InputError(`${file}: expected a JSON array of objects`);
    return rows.map((row, i) => asDoc(row, `${file}, row ${i}`));
  }
  return text.split('\n').flatMap((line, i) => {
    const where = `${file}, line ${i + 1}`;
    return line.trim() === '' ? [] : [asDoc(parseJson(line, where), where)];
  });
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InputError(`${where}: not JSON: ${messageOf(error)}`);
  }
}

function asDoc(value: unknown, where: string): Doc {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new InputError(`${where}: expected a JSON object`);
  return value as Doc;
}

/** RFC 4180 with a header line; all values are texts, except that whole numbers become numbers as `datasets` reads them. */
function parseCsv(text: string, file: string): Doc[] {
  const rows: string[][] = [[]];
  let at = text.startsWith('\ufeff') ? 1 : 0;
  while (at < text.length) {
    let cell = '';
    if (text[at] === '"') {
      const start = at++;
      for (; ; at++) {
        if (at >= text.length) throw new InputError(`${file}: the quote at character ${start} is not closed`);
        if (text[at] !== '"') cell += text[at];
        else if (text[at + 1] === '"') cell += text[at++];
        else break;
      }
      at++;
    } else {
      const start = at;
      while (at < text.length && !',\r\n'.includes(text[at])) at++;
      cell = text.slice(start, at);
    }
    rows.at(-1)!.push(cell);
    if (text[at] === ',') {
      at++;
      if (at === text.length || text[at] === '\n' || text[at] === '\r') rows.at(-1)!.push('');
    }
    if (text[at] === '\r') at++;
    if (text[at] === '\n') {
      at++;
      rows.push([]);
    }
  }
  const [header, ...body] = rows.filter((row) => row.length > 1 || (row.length === 1 && row[0] !== ''));
  if (!header) throw new InputError(`${file}: there is no header line`);
  return body.map((row, i) => {
    if (row.length !== header.length) {
      throw new InputError(`${file}: row ${i + 1} has ${row.length} cells, but the header has ${header.length}`);
    }
    return Object.fromEntries(header.map((name, j) => [name, /^-?\d{1,15}$/.test(row[j]) ? Number(row[j]) : row[j]]));
  });
}
