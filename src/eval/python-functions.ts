// Functions of Python files beside task files that are known by their text: rows of a dataset kept by a column, and F1 over several
// classes. What they do can be said as data, so nothing runs; any other text stays a name, and the task that needs it is refused.

import { literalEval } from '../python/literal.js';
import { strip } from '../python/text.js';
import type { KeptDocs } from './task.js';

/** What a function does, as fields of a task have it: documents kept (`process_docs`), or the name of an aggregation. */
export type KnownFunction = KeptDocs | { readonly aggregation: string };

/** Of a file's text, without comments, line breaks and indentation as one blank: what its functions do, by name. */
type Reader = (text: string) => ReadonlyMap<string, KnownFunction>;

/** `subjects = [...]`, and one function for each, its name made of the subject. Nothing else in the file. */
const byList =
  /^from functools import partial ([A-Z]+) = (\[.*?\]) def process_docs\(dataset, (\w+)\): return dataset\.filter\(lambda x: x\["(\w+)"\] == \3\) process_functions = \{ f"process_\{\3((?:\.lower\(\)|\.replace\('[^'\\]*', '[^'\\]*'\))*)\}": partial\( ?process_docs, \3=\3 ?\) for \3 in \1 \} globals\(\)\.update\(process_functions\)$/;

/** One function after the other, each of one subject, which stands in the column behind a prefix. Nothing else in the file. */
const oneByOne =
  /^from functools import partial import datasets def process_docs\(dataset: datasets\.Dataset, (\w+)\) -> datasets\.Dataset: return dataset\.filter\( ?lambda (\w+): \2\["(\w+)"\] == f"([^"{}\\]*)\{\1\}" ?\)((?: \w+ = partial\( ?process_docs, \1="[^"\\]*" ?\))+)$/;

const f1Body =
  /def (\w+)\(items\): unzipped_list = list\(zip\(\*items\)\) golds = unzipped_list\[0\] preds = unzipped_list\[1\] fscore = f1_score\(golds, preds, average="(weighted|macro|micro)"\) return fscore(?= |$)/g;

const readers: readonly Reader[] = [
  (text) => {
    const [, , list, , column, changes] = text.match(byList) ?? [];
    if (list === undefined) return new Map();
    const name = (value: string) =>
      [...changes.matchAll(/\.lower\(\)|\.replace\('(.*?)', '(.*?)'\)/g)].reduce(
        (rest, [, from, to]) => (from === undefined ? rest.toLowerCase() : rest.replaceAll(from, () => to)),
        value,
      );
    return new Map(texts(list).map((equals) => [`process_${name(equals)}`, { keep: { column, equals } }]));
  },
  (text) => {
    const [, , , column, prefix, functions] = text.match(oneByOne) ?? [];
    const each = [...(functions ?? '').matchAll(/ (\w+) = partial\( ?process_docs, \w+="([^"]*)" ?\)/g)];
    return new Map(each.map(([, name, subject]) => [name, { keep: { column, equals: prefix + subject } }]));
  },
  (text) => {
    const imported = /(?:^| )from lm_eval\.utils import weighted_f1_score(?= |$)/.test(text);
    const sklearn = /(?:^| )from sklearn\.metrics import (?:\w+, )*f1_score(?=,| |$)/.test(text);
    const own = sklearn ? [...text.matchAll(f1Body)].map(([, name, average]) => [name, average]) : [];
    const all = [...(imported ? [['weighted_f1_score', 'weighted']] : []), ...own];
    // A name that is given twice means the second one, whatever that is.
    const once = all.filter(([name]) => text.split(new RegExp(`(?:def|import|^) ?${name}\\b|\\b${name} = `)).length === 2);
    return new Map(once.map(([name, average]) => [name, { aggregation: `${average}_f1` }]));
  },
];

/** A list of texts as Python writes it; empty where it is anything else. */
function texts(list: string): string[] {
  try {
    const values = literalEval(list) as unknown[];
    return values.every((value) => typeof value === 'string') ? values : [];
  } catch {
    return [];
  }
}

/** What the functions of a Python file do, by name: those whose text is known. */
export function knownFunctions(source: string): ReadonlyMap<string, KnownFunction> {
  const lines = source.split('\n').map(strip);
  const text = lines.filter((line) => line !== '' && !line.startsWith('#')).join(' ');
  return new Map(readers.flatMap((read) => [...read(text)]));
}
