// Speed and memory of the data pipeline alone: read, filter, tokenize, pack, on English text. A corpus is made of the given text
// file over and over until it has the size asked for, so the working set of the file cache and of the tokenizer is real text.
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { dataConfigFrom, processOptions } from '../src/data/config.js';
import { inlineProcessor } from '../src/data/process.js';
import { BatchStream } from '../src/data/stream.js';
import { InputError, messageOf } from '../src/errors.js';
import { localCorpora } from '../src/io/node/corpora.js';
import { workerProcessor } from '../src/io/node/text-workers.js';
import { readTokenizerFile } from '../src/io/node/tokenizer-file.js';
import { type Row, report } from './report.js';

const usage = `npm run bench -- data --tokenizer FILE --text FILE [options]
  --tokenizer FILE    tokenizer.model or tokenizer.json
  --text FILE         JSON lines with a key "text", plain or .gz: the text that is repeated
  --megabytes N       size of the corpus that is read (default: 200)
  --threads LIST      worker threads; 0 is the main thread alone (default: 0,1,2)`;

/** The command: parses `args`, measures, prints the table and writes bench/results/data.json. */
export async function run(args: string[]): Promise<void> {
  let values: { tokenizer?: string; text?: string; megabytes: string; threads: string };
  try {
    ({ values } = parseArgs({
      args,
      options: {
        tokenizer: { type: 'string' },
        text: { type: 'string' },
        megabytes: { type: 'string', default: '200' },
        threads: { type: 'string', default: '0,1,2' },
      },
    }));
  } catch (error) {
    throw new InputError(`${messageOf(error)}\n${usage}`);
  }
  const { tokenizer: tokenizerPath, text } = values;
  if (tokenizerPath === undefined || text === undefined) throw new InputError(`--tokenizer and --text are needed.\n${usage}`);
  const megabytes = Number(values.megabytes);
  const { file, tokenizer } = await readTokenizerFile(tokenizerPath);
  const directory = mkdtempSync(join(tmpdir(), 'openelm-bench-'));
  try {
    const corpus = join(directory, 'corpus.jsonl');
    await writeCorpus(corpus, text, megabytes * 1e6);
    const bytes = statSync(corpus).size;
    const data = { train_data_info: [{ file_name: corpus }], packing: true };
    const config = dataConfigFrom({ ...data, val_data_info: data.train_data_info }, 'bench');
    const options = processOptions(config);
    const rows: Row[] = [];
    for (const threads of values.threads.split(',').map(Number)) {
      const processor =
        threads === 0 ? inlineProcessor(tokenizer, options) : workerProcessor({ tokenizer: file, options }, threads);
      const stream = new BatchStream({
        config,
        split: 'val',
        batchSize: 8,
        corpora: localCorpora,
        processor,
        padId: tokenizer.vocabSize,
      });
      const started = performance.now();
      const cpu = process.cpuUsage();
      let half = 0;
      let peak = 0;
      for (let batch = await stream.next(); batch; batch = await stream.next()) {
        const { rss } = process.memoryUsage();
        if (stream.counts.characters < bytes / 2) half = Math.max(half, rss);
        peak = Math.max(peak, rss);
      }
      const seconds = (performance.now() - started) / 1000;
      const used = process.cpuUsage(cpu);
      const cpuSeconds = (used.user + used.system) / 1e6;
      await stream.close();
      await processor.close();
      rows.push({
        threads,
        'MB/s': bytes / 1e6 / seconds,
        'CPU ms/MB': (cpuSeconds * 1000) / (bytes / 1e6),
        'MB/s a CPU second': bytes / 1e6 / cpuSeconds,
        'tokens/s': stream.counts.tokens / seconds,
        'peak MB, first half': half / 1e6,
        'peak MB': peak / 1e6,
      });
    }
    report('data', rows, { bytes });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function writeCorpus(path: string, from: string, size: number): Promise<void> {
  const raw = readFileSync(from);
  const lines = from.endsWith('.gz') ? gunzipSync(raw) : raw;
  if (lines.length === 0) throw new InputError(`${from}: empty`);
  const end = Buffer.from(lines.at(-1) === 0x0a ? '' : '\n');
  const handle = await open(path, 'w');
  try {
    for (let written = 0; written < size; written += lines.length + end.length) await handle.write(Buffer.concat([lines, end]));
  } finally {
    await handle.close();
  }
}
