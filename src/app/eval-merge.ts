// `openelm eval --shard` and `openelm eval merge`: a part of a run as a file, and the whole run's results from the files of all its
// parts, the same as if it had been one.

import { join } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { InputError } from '../errors.js';
import { mergeShards, type PartialResults } from '../eval/harness.js';
import { outputNames, type RunInfo } from '../eval/report.js';
import { checkConfig } from '../io/config.js';
import { stringifyData } from '../io/json.js';
import { readJson } from '../io/node/files.js';
import { type ReportOptions, reportEvaluation, writeText } from './eval-report.js';
import { type SelectionOptions, selectTasks } from './eval-selection.js';
import { type Terminal, tell, writeJson } from './terminal.js';

const metricValue = z.union([z.number(), z.tuple([z.number(), z.number()])]);
const shardFile = z.object({
  openelm_eval_shard: z.literal(1),
  selection: z.object({
    suite: z.string().optional(),
    tasks: z.string().optional(),
    numFewshot: z.number().optional(),
  }),
  info: z.looseObject({ modelName: z.string(), date: z.iso.datetime(), seconds: z.number() }),
  part: z.object({
    shard: z.object({ index: z.int().min(0), count: z.int().min(1) }),
    harnessVersion: z.enum(['0.4.13', 'pinned']),
    tasks: z.array(
      z.object({
        task: z.string(),
        numFewshot: z.int(),
        original: z.int(),
        documents: z.array(
          z.object({
            docId: z.int(),
            metrics: z.record(z.string(), metricValue),
            truncated: z.int(),
            stray: z.literal(true).optional(),
            samples: z.array(z.looseObject({})).optional(),
          }),
        ),
      }),
    ),
  }),
});

/** Writes one shard's part and says where. */
export async function writeShard(
  terminal: Terminal,
  part: PartialResults,
  { info, selection }: { readonly info: RunInfo; readonly selection: SelectionOptions & { readonly json?: boolean } },
  output: string,
): Promise<void> {
  const { index, count } = part.shard;
  const { suite, tasks, numFewshot } = selection;
  const name = outputNames(info.modelName, [], info.date).results.replace(/results_/, `shard_${index}_of_${count}_`);
  const file = join(output, name);
  await writeText(file, `${stringifyData({ openelm_eval_shard: 1, selection: { suite, tasks, numFewshot }, info, part })}\n`);
  if (selection.json) writeJson(terminal, { shard: file });
  else tell(terminal, `written to ${file}; put all ${count} together with openelm eval merge`);
}

type MergeOptions = ReportOptions & { readonly tasksDir?: string };

export function addMergeCommand(parent: Command, terminal: Terminal): void {
  parent
    .command('merge')
    .description('the results of a run from the files of all its shards')
    .argument('<files...>', 'what --shard wrote, each shard once')
    .option('--tasks-dir <dir>', 'the folder with tasks of your own, if the run had one')
    .option('--published <name>', "compare with this model's published numbers")
    .option('--output <dir>', "write lm-evaluation-harness's files into this folder")
    .option('--json', 'write one JSON object')
    .action((files: string[], options: MergeOptions) => merge(terminal, files, options));
}

async function merge(terminal: Terminal, files: readonly string[], options: MergeOptions): Promise<void> {
  const shards = await Promise.all(
    files.map(async (file) => {
      const content = await readJson(file, { maxBytes: 1 << 30 });
      if (typeof content !== 'object' || content === null || !('openelm_eval_shard' in content)) {
        throw new InputError(`${file}: not the file of a shard, which openelm eval --shard writes`);
      }
      return checkConfig(shardFile, content, file);
    }),
  );
  const [first] = shards;
  const settings = ({ selection, info: { date, seconds, ...rest } }: (typeof shards)[number]) =>
    JSON.stringify([selection, rest]);
  const other = shards.findIndex((shard) => settings(shard) !== settings(first));
  if (other > 0) throw new InputError(`${files[other]} and ${files[0]} are of runs with other settings`);
  const { tasks, suite } = await selectTasks({ ...first.selection, tasksDir: options.tasksDir });
  const evaluation = mergeShards(
    shards.map(({ part }) => part as PartialResults),
    tasks,
  );
  const info = {
    ...first.info,
    date: new Date(Math.max(...shards.map(({ info: { date } }) => Date.parse(date)))),
    seconds: shards.reduce((sum, { info: { seconds } }) => sum + seconds, 0),
  } as RunInfo;
  await reportEvaluation(terminal, evaluation, { info, suite }, options);
}
