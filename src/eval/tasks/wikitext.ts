// WikiText-2, one page a document (Merity et al. 2016): perplexity of the detokenized page per word and byte of the page as it
// was. The order of the replacements is part of the task.

import { countWords, SPACE } from '../../python/text.js';
import { type Doc, type Task, textOf } from '../task.js';

/** Brackets and quotes lose the white space inside them. */
const enclosed = [
  ['(', ')'],
  ['[', ']'],
  ['{', '}'],
  ['"', '"'],
  ["'", "'"],
].map(([open, close]) => {
  const pattern = new RegExp(`\\${open}[${SPACE}]*([^\\${close}]*?)[${SPACE}]*\\${close}`, 'g');
  return (text: string) => text.replace(pattern, (_, inside: string) => open + inside + close);
});

const before: readonly (readonly [string, string])[] = [
  [' @-@ ', '-'],
  [' @,@ ', ','],
  [' @.@ ', '.'],
  [' : ', ': '],
  [' ; ', '; '],
  [' . ', '. '],
  [' ! ', '! '],
  [' ? ', '? '],
  [' , ', ', '],
];

const after: readonly (readonly [string, string])[] = [
  ['= = = =', '===='],
  ['= = =', '==='],
  ['= =', '=='],
  [' ° ', '°'],
  [' \n', '\n'],
  ['\n ', '\n'],
  [' N ', ' 1 '],
  [" 's", "'s"],
];

const replaceEach = (text: string, pairs: readonly (readonly [string, string])[]) =>
  pairs.reduce((result, [from, to]) => result.replaceAll(from, to), text);

/** The page as prose. */
function detokenize(doc: Doc): string {
  const contractions = textOf(doc, 'page')
    .replaceAll("s '", "s'")
    .replace(/\/' [0-9]\//g, "/'[0-9]/");
  return replaceEach(
    enclosed.reduce((text, trim) => trim(text), replaceEach(contractions, before)),
    after,
  );
}

export const wikitext: Task = {
  task: 'wikitext',
  dataset_path: 'EleutherAI/wikitext_document_level',
  dataset_name: 'wikitext-2-raw-v1',
  training_split: 'train',
  validation_split: 'validation',
  test_split: 'test',
  doc_to_text: '',
  doc_to_target: detokenize,
  process_results: (doc, [{ logprob }]) => {
    const page = textOf(doc, 'page');
    const bytes = new TextEncoder().encode(page).length;
    return { word_perplexity: [logprob, countWords(page)], byte_perplexity: [logprob, bytes], bits_per_byte: [logprob, bytes] };
  },
  metric_list: [{ metric: 'word_perplexity' }, { metric: 'byte_perplexity' }, { metric: 'bits_per_byte' }],
  output_type: 'loglikelihood_rolling',
  should_decontaminate: true,
  doc_to_decontamination_query: '{{page}}',
  metadata: { version: 2.0 },
};
