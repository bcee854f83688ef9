// The eight tests of LLM-Adapters (Hu et al. 2023, commit 8166572) in the format that commonsense_170k is tuned on: CoreNet's
// Alpaca prompt with its source's indentation inside. Scored by log-likelihood, as OpenELM did: the answers named in
// "Answer format: a/b/c" are compared as the whole sentence "the correct answer is a".

import { InputError, shown } from '../../errors.js';
import { type Doc, type Task, textOf } from '../task.js';
import { ACC } from './common.js';

const INDENT = `\n${' '.repeat(16)}`;
const OPENING = 'Below is an instruction that describes a task';
const WRITE = 'Write a response that appropriately completes the request. ';

function prompt(doc: Doc): string {
  const input = doc.input === undefined ? '' : textOf(doc, 'input');
  const sections = [
    input === '' ? `${OPENING}. ${WRITE} \n` : `${OPENING}, paired with an input that provides further context. ${WRITE}\n`,
    '### Instruction:',
    textOf(doc, 'instruction'),
    '',
    ...(input === '' ? [] : ['### Input:', input, '']),
    '### Response:',
  ];
  return sections.join(INDENT);
}

function answersOf(doc: Doc): string[] {
  const list = textOf(doc, 'instruction').match(/Answer format: *([^\n]*?)\s*$/)?.[1];
  if (!list) throw new InputError('column "instruction" does not end in "Answer format: ..."');
  return list.split('/');
}

function adapterTask(name: string, dataset: string): Task {
  return {
    task: `llm_adapters_${name}`,
    dataset_path: 'llm-adapters',
    dataset_name: dataset,
    test_split: 'test',
    doc_to_text: prompt,
    doc_to_target: (doc) => {
      const index = answersOf(doc).indexOf(textOf(doc, 'answer'));
      if (index < 0) throw new InputError(`column "answer" is ${shown(doc.answer)}, none of ${answersOf(doc).join(', ')}`);
      return index;
    },
    doc_to_choice: (doc) => answersOf(doc).map((answer) => `the correct answer is ${answer}`),
    target_delimiter: INDENT,
    num_fewshot: 0,
    metric_list: [ACC],
    output_type: 'multiple_choice',
    metadata: { version: 1.0 },
  };
}

export const llmAdapters: readonly Task[] = [
  adapterTask('arc_challenge', 'ARC-Challenge'),
  adapterTask('arc_easy', 'ARC-Easy'),
  adapterTask('boolq', 'boolq'),
  adapterTask('hellaswag', 'hellaswag'),
  adapterTask('piqa', 'piqa'),
  adapterTask('social_iqa', 'social_i_qa'),
  adapterTask('winogrande', 'winogrande'),
  adapterTask('openbookqa', 'openbookqa'),
];
