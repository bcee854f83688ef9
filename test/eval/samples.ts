// Five made-up documents a task in the schema of its dataset, and a pool of examples. No real data set's text is in here.

import type { Datasets } from '../../src/eval/dataset.js';
import type { Doc } from '../../src/eval/task.js';

const five = (make: (i: number) => Doc, from = 0): Doc[] => Array.from({ length: 5 }, (_, i) => make(i + from));
const things = ['a stone', 'a leaf', 'an egg', 'a key', 'a boat', 'a bell', 'a coin', 'a map', 'a drum', 'a lamp'];
const letters = ['A', 'B', 'C', 'D'];
const four = (i: number) => [0, 1, 2, 3].map((j) => things[(i + j) % things.length]);

const arc = (i: number): Doc => ({
  id: `made-up-${i}`,
  question: `What sinks in pond ${i}?`,
  choices: { text: four(i), label: i % 2 === 0 ? letters : ['1', '2', '3', '4'] },
  answerKey: (i % 2 === 0 ? letters : ['1', '2', '3', '4'])[i % 4],
});
const hellaswag = (i: number): Doc => ({
  ind: i,
  activity_label: 'Rowing',
  ctx_a: `[header] How to row [title] Sit down in boat ${i}.`,
  ctx_b: 'the Man',
  ctx: `[header] How to row [title] Sit down in boat ${i}. the Man`,
  endings: four(i).map((thing) => `[step] takes ${thing}.`),
  source_id: '',
  split: 'val',
  split_type: 'indomain',
  label: String(i % 4),
});
const winogrande = (i: number): Doc => ({
  sentence: `The drum does not fit the box ${i} since the _ is too big.`,
  option1: 'drum',
  option2: 'box',
  answer: i % 2 === 0 ? '1' : '2',
});
const truthful = (i: number): Doc => ({
  question: `Do boats number ${i} fly?`,
  mc1_targets: { choices: ['No.', 'Yes.'], labels: [1, 0] },
  mc2_targets: { choices: ['No.', 'They float.', 'Yes.'], labels: [1, 1, 0] },
});
const race = (i: number): Doc => ({
  article: `Anna had ${i} boats.`,
  problems:
    `[{'question': "Anna's boats were  _  .", 'answer': 'B', 'options': ['red', 'blue', 'small', 'new']}, ` +
    `{'question': 'Who had boats?', 'answer': 'A', 'options': ['Anna', 'Ben', 'Cleo', 'Dan']}, ` +
    `{'question': 'How many?', 'answer': '${letters[i % 4]}', 'options': ['0', '1', '2', '3']}]`,
});
const adapter = (i: number, answers: readonly string[]): Doc => ({
  instruction: `Which floats in pond ${i}?\n\nAnswer format: ${answers.join('/')}`,
  input: '',
  output: `the correct answer is ${answers[i % answers.length]}`,
  answer: answers[i % answers.length],
});
const numbered = (word: string, count: number) => Array.from({ length: count }, (_, i) => `${word}${i + 1}`);
const adapters = (answers: readonly string[]) => ({ test: five((i) => adapter(i, answers)) });

const splits = (make: (i: number) => Doc) => ({
  test: five(make),
  validation: five(make),
  train: [...five(make, 5), ...five(make, 10)],
});

export const samples: Datasets = {
  'allenai/ai2_arc|ARC-Challenge': splits(arc),
  'allenai/ai2_arc|ARC-Easy': splits(arc),
  'allenai/openbookqa|main': splits((i) => ({ id: `${i}`, question_stem: `In pond ${i} swims`, ...pick(arc(i)) })),
  'allenai/sciq|': splits((i) => ({
    question: `What sinks in pond ${i}?`,
    distractor1: 'a leaf',
    distractor2: 'a boat',
    distractor3: 'an egg',
    correct_answer: 'a stone',
    support: `\u0085 \n Stones sink in pond ${i}. `,
  })),
  'aps/super_glue|boolq': splits((i) => ({ question: `is pond ${i} deep`, passage: `Pond ${i} is deep.`, idx: i, label: i % 2 })),
  'Rowan/hellaswag|': splits(hellaswag),
  'baber/piqa|': splits((i) => ({ goal: `cross pond ${i}`, sol1: 'take a boat', sol2: 'take a stone', label: i % 2 })),
  'lighteval/siqa|': splits((i) => ({
    context: `Anna lent Ben boat ${i}.`,
    question: 'How does Ben feel?',
    answerA: 'glad',
    answerB: 'sad',
    answerC: 'asleep',
    label: String((i % 3) + 1),
  })),
  'allenai/winogrande|winogrande_xl': splits(winogrande),
  'truthfulqa/truthful_qa|multiple_choice': { validation: five(truthful) },
  'EleutherAI/race|high': { test: five(race) },
  'jannalu/crows_pairs_multilingual|english': {
    test: five((i) => ({ sent_more: `Boat ${i} is slow.`, sent_less: `Ship ${i} is slow.`, stereo_antistereo: 'stereo', id: i })),
  },
  'cais/mmlu|abstract_algebra': {
    test: five((i) => ({ subject: 'abstract_algebra', question: ` What is ${i} + 1? \u001c`, choices: four(i), answer: i % 4 })),
    dev: five((i) => ({ subject: 'abstract_algebra', question: `What is ${i} - 1?`, choices: four(i), answer: i % 4 })),
  },
  'EleutherAI/wikitext_document_level|wikitext-2-raw-v1': {
    test: five((i) => ({ page: ` = Pond ${i} = \n \n The pond holds 1 @,@ 000 fish ( and " boats " ) . \n ` })),
  },
  'llm-adapters|ARC-Challenge': adapters(numbered('answer', 4)),
  'llm-adapters|ARC-Easy': adapters(numbered('answer', 4)),
  'llm-adapters|boolq': adapters(['true', 'false']),
  'llm-adapters|hellaswag': adapters(numbered('ending', 4)),
  'llm-adapters|piqa': adapters(numbered('solution', 2)),
  'llm-adapters|social_i_qa': adapters(numbered('answer', 3)),
  'llm-adapters|winogrande': adapters(numbered('option', 2)),
  'llm-adapters|openbookqa': adapters(numbered('answer', 4)),
};

function pick({ choices, answerKey }: Doc): Doc {
  return { choices, answerKey };
}
