// Reading a passage: BoolQ (Clark et al. 2019) and RACE, its high-school part (Lai et al. 2017). RACE's rows hold all problems of
// an article as Python source; the last is asked, the others are shown with their answers.

import { InputError, shown } from '../../errors.js';
import { literalEval } from '../../python/literal.js';
import { type Doc, type Task, textOf } from '../task.js';
import { ACC } from './common.js';

export const boolq: Task = {
  task: 'boolq',
  dataset_path: 'aps/super_glue',
  dataset_name: 'boolq',
  training_split: 'train',
  validation_split: 'validation',
  doc_to_text: '{{passage}}\nQuestion: {{question}}?\nAnswer:',
  doc_to_target: 'label',
  doc_to_choice: ['no', 'yes'],
  metric_list: [{ metric: 'acc' }],
  output_type: 'multiple_choice',
  should_decontaminate: true,
  doc_to_decontamination_query: 'passage',
  metadata: { version: 2.0 },
};

interface Problem {
  readonly question: string;
  readonly answer: string;
  readonly options: readonly string[];
}

function problemsOf(doc: Doc): Problem[] {
  const problems = literalEval(textOf(doc, 'problems'));
  const isProblem = (item: Partial<Problem> | null) =>
    typeof item?.question === 'string' && typeof item.answer === 'string' && Array.isArray(item.options);
  if (!Array.isArray(problems) || problems.length === 0 || !problems.every(isProblem)) {
    throw new InputError('column "problems" holds no list of problems with question, answer and options');
  }
  return problems;
}

function answerIndex({ answer }: Problem): number {
  const index = ['A', 'B', 'C', 'D'].indexOf(answer);
  if (index < 0) throw new InputError(`the answer of a problem is ${shown(answer)}, not A, B, C or D`);
  return index;
}

/** `cloze` gives what of a question that ends in a blank stands before the answer. */
function article(doc: Doc, cloze: (question: string) => string): string {
  const problems = problemsOf(doc);
  const shown = problems.slice(0, -1).map((problem) => {
    const answer = problem.options[answerIndex(problem)];
    const { question } = problem;
    return question.endsWith('  _  .') ? `${cloze(question)}${answer}\n` : `Question: ${question}\nAnswer: ${answer}\n`;
  });
  return `Article: ${textOf(doc, 'article')}\n\n${shown.join('')}${problems.at(-1)!.question}`;
}

export const race: Task = {
  task: 'race',
  dataset_path: 'EleutherAI/race',
  dataset_name: 'high',
  test_split: 'test',
  doc_to_text: (doc) => article(doc, (question) => question.slice(0, -5)),
  doc_to_target: (doc) => answerIndex(problemsOf(doc).at(-1)!),
  doc_to_choice: (doc) => problemsOf(doc).at(-1)!.options.slice(0, 4),
  metric_list: [ACC],
  output_type: 'multiple_choice',
  metadata: { version: 3.0 },
  // Kept the end of the question in place of its beginning.
  pinned: { doc_to_text: (doc) => article(doc, (question) => question.slice(-5)) },
};
