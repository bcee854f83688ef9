// Everyday knowledge: HellaSwag (Zellers et al. 2019), PIQA (Bisk et al. 2020), Social IQa (Sap et al. 2019), WinoGrande
// (Sakaguchi et al. 2020). WinoGrande scores one continuation after two contexts; the others several answers after one.

import { InputError, shown } from '../../errors.js';
import { capitalize, strip } from '../../python/text.js';
import { type Doc, type Task, textOf } from '../task.js';
import { ACC, ACC_NORM } from './common.js';

/** Removes the markers of WikiHow; one pass each, so that nested brackets and triple blanks leave a rest. */
function withoutMarkers(text: string): string {
  return strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
}

function prepareHellaswag(doc: Doc): Doc {
  if (!Array.isArray(doc.endings)) throw new InputError('there is no column "endings" with a list of texts');
  if (!/^[+-]?\d+$/.test(strip(String(doc.label)))) {
    throw new InputError(doc.label === undefined ? 'there is no column "label"' : 'column "label" holds no number');
  }
  const context = `${textOf(doc, 'ctx_a')} ${capitalize(textOf(doc, 'ctx_b'))}`;
  const query = withoutMarkers(`${textOf(doc, 'activity_label')}: ${context}`);
  const choices = doc.endings.map((ending) => withoutMarkers(String(ending)));
  return { ...doc, query, choices, gold: Number(doc.label) };
}

export const hellaswag: Task = {
  task: 'hellaswag',
  dataset_path: 'Rowan/hellaswag',
  training_split: 'train',
  validation_split: 'validation',
  process_docs: prepareHellaswag,
  doc_to_text: '{{query}}',
  doc_to_target: '{{label}}',
  doc_to_choice: 'choices',
  metric_list: [ACC, ACC_NORM],
  output_type: 'multiple_choice',
  metadata: { version: 1.0 },
};

export const piqa: Task = {
  task: 'piqa',
  dataset_path: 'baber/piqa',
  training_split: 'train',
  validation_split: 'validation',
  doc_to_text: 'Question: {{goal}}\nAnswer:',
  doc_to_target: 'label',
  doc_to_choice: '{{[sol1, sol2]}}',
  metric_list: [ACC, ACC_NORM],
  output_type: 'multiple_choice',
  should_decontaminate: true,
  doc_to_decontamination_query: 'goal',
  metadata: { version: 1.0 },
};

export const socialIqa: Task = {
  task: 'social_iqa',
  dataset_path: 'lighteval/siqa',
  training_split: 'train',
  validation_split: 'validation',
  doc_to_text: 'Q: {{context}} {{question}}\nA:',
  doc_to_target: '{{ (label|int) - 1 }}',
  doc_to_choice: '{{[answerA, answerB, answerC]}}',
  metric_list: [ACC],
  output_type: 'multiple_choice',
  metadata: { version: 0.0 },
  // A list of templates, which the harness never rendered: the model chose between these three texts.
  pinned: { doc_to_choice: ['{{answerA}}', '{{answerB}}', '{{answerC}}'] },
};

/** Where the blank of a sentence is. */
function blank(doc: Doc): number {
  const index = textOf(doc, 'sentence').indexOf('_');
  if (index < 0) throw new InputError('column "sentence" has no blank "_"');
  return index;
}

export const winogrande: Task = {
  task: 'winogrande',
  dataset_path: 'allenai/winogrande',
  dataset_name: 'winogrande_xl',
  training_split: 'train',
  validation_split: 'validation',
  doc_to_text: (doc) => {
    const answer = textOf(doc, 'answer');
    if (answer !== '1' && answer !== '2') throw new InputError(`column "answer" is ${shown(answer)}, not "1" or "2"`);
    return Number(answer) - 1;
  },
  doc_to_target: (doc) => strip(textOf(doc, 'sentence').slice(blank(doc) + 1)),
  doc_to_choice: (doc) =>
    [textOf(doc, 'option1'), textOf(doc, 'option2')].map((option) => textOf(doc, 'sentence').slice(0, blank(doc)) + option),
  metric_list: [ACC],
  output_type: 'multiple_choice',
  should_decontaminate: true,
  doc_to_decontamination_query: 'sentence',
  metadata: { version: 1.0 },
};
