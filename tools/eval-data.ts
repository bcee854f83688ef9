// Converts evaluation data as public repositories hold it to the Hugging Face schema that tasks read:
//   npx tsx tools/eval-data.ts SOURCE OUTPUT [--llm-adapters FOLDER] [--substitute-pools]
// SOURCE has files such as arc_challenge.test.jsonl, mmlu.test.jsonl.gz, truthfulqa.mc_task.json; OUTPUT gets
// <dataset_path>/<dataset_name>/<split>.jsonl. What is missing is reported; a missing few-shot pool is replaced by another
// split only with --substitute-pools, and a split that only stands in for another is named. No data is part of this project.

import { access, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { counted, InputError, messageOf } from '../src/errors.js';
import { datasetLabel, evaluatedSplit, poolSplit } from '../src/eval/dataset.js';
import { type Doc, leafTasks } from '../src/eval/task.js';
import { builtinTasks } from '../src/eval/tasks/index.js';
import { parseRows, readPlain } from '../src/io/node/datasets.js';
import { pythonRepr } from '../src/python/text.js';

/** One file of the source and where its rows go. */
interface Conversion {
  readonly file: string;
  /** `<dataset_path>/<dataset_name>/<split>` of a row. */
  readonly target: (row: Doc) => string;
  readonly convert?: (row: Doc) => Doc;
  /** Said when it is used: what is not as in the original. */
  readonly note?: string;
}

const strings = (value: unknown) => (value as unknown[]).map(String);
const letters = (count: number) => Array.from({ length: count }, (_, i) => String.fromCharCode(65 + i));

/** `query` "Question: …\nAnswer:", `choices`, `gold` back to question, lettered choices and key. */
function fromQuery(column: string): (row: Doc) => Doc {
  return ({ id, query, choices, gold }) => {
    const question = String(query).match(/^Question: ([\s\S]*)\nAnswer:$/)?.[1];
    if (question === undefined) throw new InputError(`document ${id}: query is not "Question: ...\\nAnswer:"`);
    const text = strings(choices);
    const label = letters(text.length);
    return { id, [column]: question, choices: { text, label }, answerKey: label[Number(gold)] };
  };
}

/** A context that is already joined has no second part; what joining adds, a blank, is stripped again. */
function hellaswagRow(index: unknown, query: unknown, endings: unknown, label: unknown): Doc {
  const [, activity, context] = String(query).match(/^([\s\S]*?): ([\s\S]*)$/) ?? [];
  if (context === undefined) throw new InputError(`document ${index}: query has no "activity: context"`);
  // The capital that the task gives to the second part's first letter is put in where a new sentence starts in lower case.
  const at = context.match(/^([\s\S]*[.!?]["')]*) ([a-z][^.!?]*)$/);
  const [first, second] = at ? [at[1], at[2]] : [context, ''];
  return {
    ind: index,
    activity_label: activity,
    ctx_a: first,
    ctx_b: second,
    ctx: context,
    endings,
    source_id: '',
    split: 'val',
    split_type: '',
    label: String(label),
  };
}

/** `{answer: 0 or 1}` to the hub's two lists. */
function listed(targets: unknown): Doc {
  const entries = Object.entries(targets as Record<string, number>);
  return { choices: entries.map(([choice]) => choice), labels: entries.map(([, label]) => label) };
}

const boolqRow = ({ question, passage, answer, ...rest }: Doc): Doc => ({
  question,
  passage,
  idx: rest.idx ?? 0,
  label: answer ? 1 : 0,
});

const conversions: readonly Conversion[] = [
  { file: 'arc_challenge.test.jsonl', target: () => 'allenai/ai2_arc/ARC-Challenge/test', convert: fromQuery('question') },
  { file: 'arc_challenge.validation.jsonl', target: () => 'allenai/ai2_arc/ARC-Challenge/validation' },
  { file: 'arc_easy.test.jsonl', target: () => 'allenai/ai2_arc/ARC-Easy/test', convert: fromQuery('question') },
  { file: 'arc_easy.validation.jsonl', target: () => 'allenai/ai2_arc/ARC-Easy/validation' },
  { file: 'openbookqa.test.jsonl', target: () => 'allenai/openbookqa/main/test', convert: fromQuery('question_stem') },
  { file: 'openbookqa.validation.jsonl', target: () => 'allenai/openbookqa/main/validation' },
  { file: 'boolq.validation.jsonl', target: () => 'aps/super_glue/boolq/validation', convert: boolqRow },
  {
    file: 'hellaswag.validation.first5000.jsonl.gz',
    target: () => 'Rowan/hellaswag/validation',
    convert: ({ index, query, endings, label }) => hellaswagRow(index, query, endings, label),
    note: 'a subset; the parts of a context, which the source has joined, are split again by guess',
  },
  { file: 'piqa.validation.jsonl', target: () => 'baber/piqa/validation' },
  { file: 'winogrande.validation.jsonl', target: () => 'allenai/winogrande/winogrande_xl/validation' },
  {
    file: 'sciq.validation.jsonl',
    target: () => 'allenai/sciq/test',
    note: 'the validation rows stand in for the test split, which the task evaluates',
  },
  { file: 'sciq.validation.jsonl', target: () => 'allenai/sciq/validation' },
  { file: 'siqa.validation.jsonl', target: () => 'lighteval/siqa/validation' },
  { file: 'mmlu.dev.jsonl', target: ({ subject }) => `cais/mmlu/${subject}/dev` },
  { file: 'mmlu.test.jsonl.gz', target: ({ subject }) => `cais/mmlu/${subject}/test` },
  {
    file: 'truthfulqa.mc_task.json',
    target: () => 'truthfulqa/truthful_qa/multiple_choice/validation',
    convert: ({ question, mc1_targets, mc2_targets }) => ({
      question,
      mc1_targets: first(listed(mc1_targets)),
      mc2_targets: listed(mc2_targets),
    }),
  },
  {
    file: 'race.high.test.jsonl',
    target: () => 'EleutherAI/race/high/test',
    convert: ({ article, questions, options, answers }) => ({
      article,
      problems: pythonRepr(
        strings(questions).map((question, i) => ({
          question,
          answer: (answers as string[])[i],
          options: (options as string[][])[i],
        })),
      ),
    }),
  },
  {
    file: 'crows_pairs_anonymized.csv',
    target: () => 'jannalu/crows_pairs_multilingual/english/test',
    convert: ({ '': id, ...row }) => ({ ...row, id }),
    note: 'the original English sentences, of which the multilingual copy revises some',
  },
];

const adapterFiles: Readonly<Record<string, string>> = {
  'ARC-Challenge': 'ARC-Challenge',
  'ARC-Easy': 'ARC-Easy',
  boolq: 'boolq',
  hellaswag: 'hellaswag',
  piqa: 'piqa',
  social_i_qa: 'social_i_qa',
  winogrande: 'winogrande',
  openbookqa: 'openbookqa',
};

/** The hub's mc1 rows have the true answer first; an object's order need not. */
function first({ choices, labels }: Doc): Doc {
  const pairs = strings(choices).map((choice, i): [string, number] => [choice, (labels as number[])[i]]);
  const sorted = pairs.sort(([, a], [, b]) => b - a);
  return { choices: sorted.map(([choice]) => choice), labels: sorted.map(([, label]) => label) };
}

const exists = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  );

async function write(file: string, rows: readonly Doc[]): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

async function convertAll(source: string, output: string, adapters: string | undefined): Promise<void> {
  const jobs: (Conversion & { folder: string })[] = conversions.map((conversion) => ({ ...conversion, folder: source }));
  if (adapters !== undefined) {
    for (const [name, file] of Object.entries(adapterFiles)) {
      jobs.push({ folder: adapters, file: `${file}.jsonl`, target: () => `llm-adapters/${name}/test` });
    }
  }
  for (const { folder, file, target, convert, note } of jobs) {
    const path = join(folder, file);
    if (!(await exists(path))) {
      console.log(`${file}: not there, left out`);
      continue;
    }
    const byTarget = new Map<string, Doc[]>();
    for (const row of parseRows(await readPlain(path), path)) {
      const name = target(row);
      const rows = byTarget.get(name) ?? [];
      rows.push(convert ? convert(row) : row);
      byTarget.set(name, rows);
    }
    for (const [name, rows] of byTarget) await write(join(output, `${name}.jsonl`), rows);
    const total = [...byTarget.values()].reduce((sum, rows) => sum + rows.length, 0);
    const where = byTarget.size === 1 ? [...byTarget.keys()][0] : `${byTarget.size} datasets`;
    console.log(`${file}: ${counted(total, 'document')} to ${where}${note ? ` (${note})` : ''}`);
  }
}

/** Names each few-shot pool that is not there; with `substitute`, another split of the dataset takes its place. */
async function checkPools(output: string, substitute: boolean): Promise<void> {
  for (const task of leafTasks(builtinTasks)) {
    const folder = join(output, datasetLabel(task));
    const pool = poolSplit(task);
    if (task.num_fewshot === 0 || !(await exists(folder)) || (await exists(join(folder, `${pool}.jsonl`)))) continue;
    let stand: string | undefined;
    for (const split of ['validation', 'test']) {
      if (stand === undefined && split !== pool && (await exists(join(folder, `${split}.jsonl`)))) stand = split;
    }
    const same = stand === evaluatedSplit(task) ? ', which is also what is evaluated' : '';
    if (substitute && stand !== undefined) {
      await write(join(folder, `${pool}.jsonl`), parseRows(await readPlain(join(folder, `${stand}.jsonl`)), stand));
      console.log(`${task.task}: few-shot pool ${pool} missing; ${stand}${same}, stands in for it`);
    } else {
      console.log(
        `${task.task}: few-shot pool ${pool} missing${stand ? ` (--substitute-pools would take ${stand}${same})` : ''}`,
      );
    }
  }
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { 'llm-adapters': { type: 'string' }, 'substitute-pools': { type: 'boolean', default: false } },
  });
  const [source, output] = positionals;
  if (source === undefined || output === undefined || positionals.length > 2) {
    throw new InputError('usage: eval-data SOURCE OUTPUT [--llm-adapters FOLDER] [--substitute-pools]');
  }
  if (!(await exists(source))) throw new InputError(`${source}: no such folder`);
  await convertAll(source, output, values['llm-adapters']);
  await checkPools(output, values['substitute-pools'] ?? false);
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
