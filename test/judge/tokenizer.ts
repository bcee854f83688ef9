// Judges a directory of tokenizer goldens (cases.jsonl, stream.jsonl: texts and ids of the LLaMA vocabulary) on every way to that
// vocabulary: the npm package, `tokenizer.model` when it lies at ../../data/tokenizer/ from the directory, and a tokenizer.json
// made of it in the legacy and in the Metaspace form. Ids, text and streamed text must be equal.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tokenizerFromJson } from '../../src/tokenizer/hugging-face.js';
import { llamaTokenizer } from '../../src/tokenizer/llama.js';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';
import { jsonFile, llamaScores } from '../tokenizer/build.js';

interface Case {
  readonly i: number;
  readonly text: string;
  readonly ids: number[];
  readonly decode: string;
  readonly hf_legacy?: number[];
  readonly hf_nonlegacy?: number[];
}

interface Stream {
  readonly i: number;
  readonly ids: number[];
  readonly pieces: string[];
  readonly sp_decode_prefix: string[];
  readonly emit: string[];
  readonly flush: string;
  readonly final: string;
}

interface Verdict {
  item: string;
  judged: number;
  failures: string[];
}

/** Judges every vocabulary on every line of the directory; `failures` says which line and what came out instead. */
export async function judgeTokenizer(dir: string): Promise<Verdict[]> {
  const cases = await lines<Case>(join(dir, 'cases.jsonl'));
  const streams = await lines<Stream>(join(dir, 'stream.jsonl'));
  const llama = await llamaTokenizer();
  const pieces = Array.from({ length: llama.vocabSize }, (_, id) => llama.piece(id)!);
  const json = (name: string, metaspace?: { prepend_scheme: string; split: boolean }): Tokenizer =>
    tokenizerFromJson(JSON.stringify(jsonFile(pieces, llamaScores(pieces), { metaspace })), name);

  const verdicts = [judge('llama-tokenizer-js', llama, cases, streams, legacy)];
  const model = await readFile(join(dir, '../../data/tokenizer/tokenizer.model')).catch(() => undefined);
  if (model) verdicts.push(judge('tokenizer.model', tokenizerFromModel(model), cases, streams, legacy));
  verdicts.push(judge('tokenizer.json', json('legacy'), cases, streams, legacy));
  const first = json('metaspace', { prepend_scheme: 'first', split: false });
  verdicts.push(judge('tokenizer.json with Metaspace', first, cases, streams, nonLegacy));
  return verdicts;
}

// What user text (ids) and template text (template) must give, by the form of the tokenizer.
interface Wanted {
  readonly ids: number[] | undefined;
  readonly template: number[];
}

function legacy(one: Case): Wanted {
  return { ids: one.ids, template: one.hf_legacy ?? one.ids };
}

function nonLegacy(one: Case): Wanted {
  const template = one.hf_nonlegacy ?? one.ids;
  // The goldens of this form hold special tokens; the ids of the same text as a user's are known where it has none.
  return { ids: /<s>|<\/s>|<unk>/.test(one.text) ? undefined : template, template };
}

function judge(item: string, tokenizer: Tokenizer, cases: Case[], streams: Stream[], wanted: (one: Case) => Wanted): Verdict {
  const verdict: Verdict = { item, judged: 0, failures: [] };
  const compare = (what: string, found: unknown, expected: unknown): void => {
    verdict.judged++;
    if (JSON.stringify(found) === JSON.stringify(expected)) return;
    verdict.failures.push(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
  };
  for (const one of cases) {
    const { ids, template } = wanted(one);
    if (ids) compare(`cases ${one.i} ids`, tokenizer.encode(one.text), ids);
    compare(`cases ${one.i} template ids`, tokenizer.encodeTemplate(one.text), template);
    compare(`cases ${one.i} text`, tokenizer.decode(one.ids), one.decode);
  }
  for (const { i, ids, pieces, sp_decode_prefix, emit, flush, final } of streams) {
    const decoder = tokenizer.streamDecoder();
    compare(
      `stream ${i} emit`,
      ids.map((id) => decoder.push(id)),
      emit,
    );
    compare(`stream ${i} flush`, decoder.flush(), flush);
    compare(
      `stream ${i} prefixes`,
      ids.map((_, k) => tokenizer.decode(ids.slice(0, k + 1))),
      sp_decode_prefix,
    );
    compare(`stream ${i} text`, tokenizer.decode(ids), final);
    compare(
      `stream ${i} pieces`,
      ids.map((id) => tokenizer.piece(id)),
      pieces,
    );
  }
  return verdict;
}

async function lines<Line>(path: string): Promise<Line[]> {
  const text = await readFile(path, 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}
