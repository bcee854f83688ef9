// Gathers the stories that the embedded model is trained on, a document a line, and leaves out those it is judged on:
//   npx tsx tools/story-corpus.ts SOURCE HELD-OUT.jsonl OUTPUT
// SOURCE has childrens_books.jsonl.gz, fairytaleqa_stories.jsonl.gz and TinyStories' pieces; OUTPUT gets train.jsonl, shuffled,
// and heldout.jsonl. A held-out document that is not found in the source is an error: it might be trained on under another form.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readDocuments } from '../src/data/readers.js';
import { InputError, messageOf } from '../src/errors.js';
import { localCorpora } from '../src/io/node/corpora.js';
import { writeAtomic } from '../src/io/node/files.js';
import { PythonRandom } from '../src/python-random.js';

/** How each file's texts divide into documents. */
const sources: Record<string, (text: string) => string[]> = {
  'childrens_books.jsonl.gz': (text) => [text],
  'fairytaleqa_stories.jsonl.gz': (text) => [text],
  'tinystories.v2_train_head.txt': (text) => text.split('<|endoftext|>'),
  // Blank lines separate paragraphs, so a line right after another begins the next story.
  'tinystories.v1_train_head.txt': (text) => text.split(/(?<=[^\n])\n(?=[^\n])/),
  // Blank lines separate paragraphs and stories alike; most stories begin so.
  'tinystories.v1_validation_head.txt': (text) => text.split(/\n\n(?=Once |One day|There was |There were |Lily and )/),
};

/** Letters and digits alone: the same text with other blanks, quotes or case is the same document. */
const essence = (text: string): string => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '');

async function gather(source: string, heldOutFile: string, output: string): Promise<void> {
  const heldOut = await textsIn(heldOutFile);
  const missing = new Set(heldOut.map(essence));
  const judged = new Set(missing);
  const training: string[] = [];
  for (const [name, documentsOf] of Object.entries(sources)) {
    const documents = (await textsIn(join(source, name)))
      .flatMap((text) => documentsOf(text.replaceAll('\r\n', '\n')))
      .map((document) => document.trim())
      .filter(Boolean);
    const kept = documents.filter((document) => !judged.has(essence(document)));
    for (const document of documents) missing.delete(essence(document));
    training.push(...kept);
    process.stderr.write(`${name}: ${documents.length} documents, ${documents.length - kept.length} of them held out\n`);
  }
  if (missing.size > 0) throw new InputError(`${heldOutFile}: ${missing.size} held-out documents are not in ${source}`);
  const random = new PythonRandom(0);
  random.shuffle(training);
  await mkdir(output, { recursive: true });
  await write(join(output, 'train.jsonl'), training);
  await write(join(output, 'heldout.jsonl'), heldOut);
}

async function textsIn(path: string): Promise<string[]> {
  const texts: string[] = [];
  for await (const { text } of readDocuments(localCorpora, { path, textKey: 'text' })) texts.push(text);
  return texts;
}

async function write(path: string, documents: readonly string[]): Promise<void> {
  const lines = documents.map((text) => `${JSON.stringify({ text })}\n`).join('');
  await writeAtomic(path, (sink) => sink.write(Buffer.from(lines)));
  process.stderr.write(`${path}: ${documents.length} documents, ${Buffer.byteLength(documents.join(''))} bytes of text\n`);
}

const { positionals } = parseArgs({ allowPositionals: true });
if (positionals.length !== 3) {
  process.stderr.write('usage: tsx tools/story-corpus.ts SOURCE HELD-OUT.jsonl OUTPUT\n');
  process.exitCode = 2;
} else {
  await gather(positionals[0], positionals[1], positionals[2]).catch((error: unknown) => {
    process.stderr.write(`story-corpus: ${messageOf(error)}\n`);
    process.exitCode = 1;
  });
}
