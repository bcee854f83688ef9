// `openelm eval`: a model's accuracies on a suite or on single tasks, as a table, as JSON and as lm-evaluation-harness's files; its
// subcommands put shards together and compare results. What is asked and how it is scored is eval/'s.

import { Command, InvalidArgumentError, Option } from 'commander';
import { counted, InputError, nearest } from '../errors.js';
import { type Datasets, namesFiles } from '../eval/dataset.js';
import { evaluateShard, mergeShards, type PartialResults, shotsByName } from '../eval/harness.js';
import { promptInfo, type RunInfo } from '../eval/report.js';
import { FEWSHOT_SEED, type Shard, shotsOf } from '../eval/requests.js';
import { suites } from '../eval/suites.js';
import { leafTasks, type Task } from '../eval/task.js';
import { parseJson, stringifyData } from '../io/json.js';
import { downloadDatasets, loadDatasets } from '../io/node/datasets.js';
import { ensureWritable } from '../io/node/files.js';
import { addCompareCommand } from './eval-compare.js';
import { addMergeCommand, writeShard } from './eval-merge.js';
import { type ReportOptions, reportEvaluation } from './eval-report.js';
import { checkScorer, openScorer, type ScorerChoice } from './eval-scorer.js';
import { describeTasks, type Selection, type SelectionOptions, selectTasks } from './eval-selection.js';
import { hubOptions } from './loading.js';
import { addModelOptions, modelArgument, wholeNumber } from './options.js';
import { progressBar } from './progress.js';
import type { Ranks } from './ranks.js';
import { sameProgram } from './ranks-check.js';
import { amongRanks } from './ranks-run.js';
import { interruptible, type Terminal, tell, UsageError } from './terminal.js';
import { version } from './version.js';

interface EvalOptions extends SelectionOptions, ScorerChoice, ReportOptions {
  readonly data?: string;
  readonly limit?: number;
  readonly seed: number;
  readonly shard?: Shard;
}

const help = `
Suites are OpenELM's: zero-shot (seven tasks), five-task and eight-task, with the numbers of examples that Apple used. Beside ours
stand the numbers of Apple's model card, when the model's name says which (apple/OpenELM-270M) or --published does; "within noise"
means: apart by no more than two standard errors of both. The card does not say which of acc and acc_norm it is.

Datasets come from the Hugging Face hub (once, then from its cache), or from --data DIR with files
DIR/<dataset path>/<dataset name>/<split>.jsonl (or .json, .csv, each also .gz or .zst, or .parquet) in the hub's schema.
Tasks of your own are YAML or JSON files in lm-evaluation-harness's field names, with its include, groups and tags: --tasks FILE.yaml takes
one, --tasks-dir DIR has those in the folder and below by name. dataset_path: json (or csv, parquet) with dataset_kwargs: {data_files: {test:
FILE}} reads files of yours, from the current folder. What needs Python (!function) is refused by name when it is asked for.

--apply-chat-template asks as the harness does with its flag of that name: by the model's own template, or by OpenELM-Instruct's where it
has none. A server then needs MODEL beside it, whose template and tokenizer are taken.

Answers are kept in a file, so that a run that was interrupted goes on where it was (--cache FILE, --no-cache). A run can be
split: --shard 0/4 to --shard 3/4, each with --output, then openelm eval merge on the four files. Under mpirun or srun the ranks
share out the documents, and the results are those of one process.

With --json the output is the harness's results object, with "truncated" (by task: documents longer than the context, and the tokens
they lost), "stray" (by task: documents whose right answer is none of the choices, which count as wrong) and, for a suite, "suite" (the
table's rows, in percent).

Examples:
  $ openelm eval apple/OpenELM-270M --suite zero-shot
  $ openelm eval --tasks arc_easy,mmlu --num-fewshot 5 --limit 200 --data datasets --output results
  $ openelm eval tales-6m-instruct --tasks sciq --num-fewshot 3 --apply-chat-template
  $ openelm eval --base-url http://localhost:8000 --model-name some-model --tasks hellaswag
  $ openelm eval compare results/a/results_*.json results/b/results_*.json --out a-and-b.svg`;

/** The verb with its options and subcommands. */
export function evalCommand(terminal: Terminal): Command {
  const command = new Command('eval')
    .argument('[model]', 'the model; the same as --model')
    .enablePositionalOptions()
    .addOption(new Option('--suite <name>', "one of OpenELM's suites").choices(suites.map(({ name }) => name)))
    .option('--tasks <names>', 'tasks and groups with commas between, by name or path of a YAML file; list prints them')
    .option('--tasks-dir <dir>', 'a folder with tasks of your own')
    .option('--data <dir>', 'datasets from this folder, not from the hub')
    .option('--num-fewshot <n>', "examples before each question (default: the task's own, or 0)", wholeNumber(0))
    .option('--limit <n>', 'only the first n documents of each task, or that fraction below 1', limitValue)
    .option('--seed <n>', 'of the draw of examples', wholeNumber(0), FEWSHOT_SEED)
    .addOption(
      new Option('--harness-version <name>', "lm-evaluation-harness's version; pinned: the one that OpenELM's card names")
        .choices(['0.4.13', 'pinned'])
        .default('0.4.13'),
    )
    .option('--add-bos', 'put a BOS in front of every text, as Apple did', true)
    .option('--no-add-bos', 'put none')
    .option('--apply-chat-template', "ask as in a conversation, by the model's chat template")
    .option('--system-instruction <text>', "stands before everything, in front of a task's description")
    .option('--fewshot-as-multiturn', 'with a chat template: examples are turns of their own (default)')
    .option('--no-fewshot-as-multiturn', 'all in one turn of the user')
    .option('--batch-tokens <n>', 'tokens computed in one step (default: 256)', wholeNumber(1, 256))
    .option('--cache <file>', "keep answers in this file (default: one a model, in the user's cache directory)")
    .option('--no-cache', 'keep no answers');
  addModelOptions(command, 'f32')
    .option('--base-url <url>', 'measure a model at a server with OpenAI completions; MODEL then only gives the tokenizer')
    .option('--model-name <name>', "the model's name at the server")
    .option('--published <name>', "compare with this model's published numbers, OpenELM-270M and so on")
    .option('--output <dir>', "write lm-evaluation-harness's results file into this folder")
    .option('--log-samples', 'write a samples file for each task too')
    .option('--shard <i/n>', 'only every n-th document, from i on (0 to n - 1)', shardValue)
    .option('--json', 'write one JSON object')
    .addHelpText('after', help)
    .action((word: string | undefined, options: EvalOptions) =>
      amongRanks(terminal, (own, ranks) => runEval(own, { ...options, model: modelArgument(word, options.model) }, ranks)),
    );
  addMergeCommand(command, terminal);
  addCompareCommand(command, terminal);
  return command;
}

function limitValue(text: string): number {
  const value = /^(\d+|0?\.\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (value > 0) return value;
  throw new InvalidArgumentError('It must be a whole number of at least 1, or a fraction below 1.');
}

function shardValue(text: string): Shard {
  const [, index, count] = /^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? [];
  if (index !== undefined && Number(index) < Number(count)) return { index: Number(index), count: Number(count) };
  throw new InvalidArgumentError('It must be like 0/4: the first number below the second.');
}

async function runEval(terminal: Terminal, options: EvalOptions, ranks: Ranks): Promise<void> {
  if (options.tasks === 'list') {
    terminal.stdout.write(await describeTasks(options.tasksDir));
    return;
  }
  await sameProgram(ranks, options, []);
  const { output, shard: asked, limit, seed, harnessVersion } = options;
  const shard = ranks.size > 1 ? { index: ranks.rank, count: ranks.size } : asked;
  const { selection, datasets, opened } = await ranks.agree(async () => {
    if (options.logSamples && output === undefined) throw new UsageError('--log-samples needs --output, the folder for them');
    if (asked && output === undefined) throw new UsageError('--shard needs --output, the folder for its part of the results');
    if (asked && ranks.size > 1)
      throw new UsageError(`--shard is of no use on ${counted(ranks.size, 'rank')}, which share out the documents`);
    checkPublished(options.published);
    // Found out now rather than after hours.
    if (output !== undefined) await ensureWritable(output);
    const selection = await selectTasks(options);
    await checkScorer(terminal, options);
    const datasets = await readDatasets(terminal, selection, options.data);
    return { selection, datasets, opened: await openScorer(terminal, options) };
  });
  const bar = progressBar(terminal.stderr, { unit: 'requests' });
  const prompts = { systemInstruction: options.systemInstruction, chat: opened.chat };
  try {
    const began = performance.now();
    const own = await interruptible(terminal, (signal) =>
      evaluateShard(opened.scorer, selection.tasks, datasets, {
        ...{ numFewshot: selection.numFewshot, seed, limit, harnessVersion, shard, signal, ...prompts },
        logSamples: options.logSamples === true,
        onProgress: (done, total) =>
          bar.update(ranks.size > 1 ? `evaluating on each of ${counted(ranks.size, 'rank')}` : 'evaluating', done, total),
      }),
    ).finally(() => bar.finish());
    const known = opened.known();
    if (known) {
      tell(terminal, `${counted(known.answers, 'answer')} came from ${known.file}; --no-cache computes all anew`);
    }
    const parts = ranks.size > 1 ? await gatherParts(ranks, own) : [own];
    const info: RunInfo = {
      ...opened.info,
      ...{ limit, fewshotSeed: seed, harnessVersion, version: version(), prompts: await promptInfo(prompts) },
      date: new Date(),
      seconds: (performance.now() - began) / 1000,
    };
    if (asked) await writeShard(terminal, own, { info, selection: options }, output!);
    else if (ranks.rank === 0)
      await reportEvaluation(terminal, mergeShards(parts, selection.tasks), { info, suite: selection.suite }, options);
  } finally {
    await opened.close();
  }
}

/** The parts of all ranks, as `eval merge` reads them from files. */
async function gatherParts(ranks: Ranks, own: PartialResults): Promise<PartialResults[]> {
  const texts = await ranks.collective.gatherTexts(stringifyData(own));
  return ranks.rank > 0 ? [] : texts.map((text, rank) => parseJson(text, `the results of rank ${rank}`) as PartialResults);
}

/** Throws `InputError` for a name that the model card does not have. */
function checkPublished(name: string | undefined): void {
  const names = Object.keys(suites[0].published);
  if (name === undefined || names.includes(name)) return;
  const guess = nearest(name, names);
  throw new InputError(
    `no numbers of "${name}" are published; ${guess ? `did you mean "${guess}"?` : `there are ${names.join(', ')}`}`,
  );
}

async function readDatasets(terminal: Terminal, { tasks, numFewshot }: Selection, folder: string | undefined): Promise<Datasets> {
  const shots = shotsByName(tasks, numFewshot);
  const wantsPool = (task: Task): boolean => shotsOf(task, shots.get(task.task)) > 0;
  if (folder !== undefined) return loadDatasets(folder, tasks, wantsPool);
  const all = leafTasks(tasks);
  const own = await loadDatasets('', all.filter(namesFiles), wantsPool);
  const others = all.filter((task) => !namesFiles(task));
  const bar = progressBar(terminal.stderr);
  return interruptible(terminal, (signal) => downloadDatasets(others, { ...hubOptions(bar), signal }, wantsPool))
    .then((downloaded) => ({ ...own, ...downloaded }))
    .catch((error: unknown) => {
      if (!(error instanceof InputError)) throw error;
      throw new InputError(`${error.message}; --data DIR reads datasets from a folder instead`);
    })
    .finally(() => bar.finish());
}
