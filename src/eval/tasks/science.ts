// School science and open-book questions: ARC (Clark et al. 2018), OpenBookQA (Mihaylov et al. 2018), SciQ (Welbl et al. 2017).
// The whole answer is scored after the question; acc_norm divides by its length.

import type { Task } from '../task.js';
import { ACC, ACC_NORM } from './common.js';

const arc: Omit<Task, 'task' | 'dataset_name'> = {
  dataset_path: 'allenai/ai2_arc',
  training_split: 'train',
  validation_split: 'validation',
  test_split: 'test',
  doc_to_text: 'Question: {{question}}\nAnswer:',
  doc_to_target: '{{choices.label.index(answerKey)}}',
  doc_to_choice: '{{choices.text}}',
  metric_list: [ACC, ACC_NORM],
  output_type: 'multiple_choice',
  should_decontaminate: true,
  doc_to_decontamination_query: 'Question: {{question}}\nAnswer:',
  metadata: { version: 1.0 },
};

export const arcChallenge: Task = { task: 'arc_challenge', dataset_name: 'ARC-Challenge', ...arc };
export const arcEasy: Task = { task: 'arc_easy', dataset_name: 'ARC-Easy', ...arc };

export const openbookqa: Task = {
  task: 'openbookqa',
  dataset_path: 'allenai/openbookqa',
  dataset_name: 'main',
  training_split: 'train',
  validation_split: 'validation',
  test_split: 'test',
  doc_to_text: 'question_stem',
  doc_to_target: '{{choices.label.index(answerKey.lstrip())}}',
  doc_to_choice: '{{choices.text}}',
  metric_list: [ACC, ACC_NORM],
  output_type: 'multiple_choice',
  should_decontaminate: true,
  doc_to_decontamination_query: 'question_stem',
  metadata: { version: 1.0 },
};

export const sciq: Task = {
  task: 'sciq',
  dataset_path: 'allenai/sciq',
  training_split: 'train',
  validation_split: 'validation',
  test_split: 'test',
  doc_to_text: '{{support.lstrip()}}\nQuestion: {{question}}\nAnswer:',
  doc_to_target: 3,
  doc_to_choice: '{{[distractor1, distractor2, distractor3, correct_answer]}}',
  metric_list: [ACC, ACC_NORM],
  output_type: 'multiple_choice',
  should_decontaminate: true,
  doc_to_decontamination_query: '{{support}} {{question}}',
  metadata: { version: 1.0 },
};
