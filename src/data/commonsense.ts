// CommonSense-170K (LLM-Adapters, arXiv 2304.01933) as CoreNet trains on it: one prompt text for all its tasks, white space and
// all (commonsense_170k.py), and the order in which a rank's worker goes through the rows. Not its evaluation.

import { PythonRandom } from '../python-random.js';

/** A row of the data set. */
export interface CommonsenseSample {
  readonly instruction: string;
  /** Often empty. */
  readonly input: string;
  readonly output: string;
}

// CoreNet's template is indented in its source, and the indentation is part of the text.
const INDENT = ' '.repeat(16);

/** The text of a row: prompt and response. */
export function commonsenseText(sample: CommonsenseSample): string {
  return commonsensePrompt(sample) + sample.output;
}

/** The text before the response. */
export function commonsensePrompt({ instruction, input }: Omit<CommonsenseSample, 'output'>): string {
  const start = input
    ? 'Below is an instruction that describes a task, paired with an input that provides further context. ' +
      'Write a response that appropriately completes the request. '
    : 'Below is an instruction that describes a task. Write a response that appropriately completes the request.  ';
  const section = (title: string, text: string): string => `\n${INDENT}### ${title}:\n${INDENT}${text}`;
  const sections = [section('Instruction', instruction), ...(input ? [section('Input', input)] : []), section('Response', '')];
  return `${start}\n${sections.join(`\n${INDENT}`)}`;
}

/** Rows of the data set in the order in which worker `scaledRank` of `scaledWorldSize` reads them. */
export function commonsenseOrder(rows: number, scaledRank: number, scaledWorldSize: number, seed: number): number[] {
  const own: number[] = [];
  for (let row = scaledRank; row < rows; row += scaledWorldSize) own.push(row);
  new PythonRandom(seed).shuffle(own);
  return own;
}
