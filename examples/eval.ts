// A task of one's own, measured by lm-evaluation-harness's rules. `npx tsx examples/eval.ts [MODEL]`
// The known tasks come from findTasks(['arc_easy']), their data from downloadDatasets(tasks).

import { datasetKey, evaluate, makeTable, openScorer, taskFromObject } from 'openelm/eval';

const task = taskFromObject(
  {
    task: 'opposites',
    dataset_path: 'opposites',
    output_type: 'multiple_choice',
    test_split: 'test',
    doc_to_text: 'The opposite of {{word}} is',
    doc_to_choice: ['hot', 'small', 'happy'],
    doc_to_target: 'answer',
  },
  'examples/eval.ts',
);
const test = [
  { word: 'cold', answer: 0 },
  { word: 'big', answer: 1 },
  { word: 'sad', answer: 2 },
];

const scorer = await openScorer(process.argv[2]);
try {
  const { results } = await evaluate(scorer, [task], { [datasetKey(task)]: { test } });
  console.log(makeTable(results));
} finally {
  await scorer.dispose();
}
