// Learns a vocabulary from a text, writes it as a tokenizer.model, and reads it again. `npx tsx examples/tokenizer.ts [TEXT] [OUT]`

import { readFile, writeFile } from 'node:fs/promises';
import { TokenizerTrainer, tokenizerFromModel } from 'openelm/tokenizer';

const [text = 'recipes/data/tales.txt', out] = process.argv.slice(2);
const trainer = new TokenizerTrainer();
trainer.add(await readFile(text, 'utf8'));
const bytes = trainer.train({ vocabSize: 1000 });
if (out) await writeFile(out, bytes);

const tokenizer = tokenizerFromModel(bytes);
const ids = tokenizer.encode('Once upon a time', { bos: true });
console.log(ids.map((id) => tokenizer.piece(id)).join(' '));
console.log(tokenizer.decode(ids));
