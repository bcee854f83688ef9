// A story, piece by piece as it is written, then a conversation. `npx tsx examples/generate.ts [MODEL]`

import { load } from 'openelm';

const model = await load(process.argv[2]); // nothing named: the small model in the package
try {
  for await (const piece of model.generate('Once upon a time', { maxTokens: 60, temperature: 0.8, seed: 7 })) {
    process.stdout.write(piece.text);
  }
  process.stdout.write('\n');

  const answer = await model.complete([{ role: 'user', content: 'Tell me about a red kite.' }], {
    maxTokens: 40,
    temperature: 0,
  });
  console.log(answer.text, `(${answer.finishReason}, ${answer.timings.generatedTokens} tokens)`);
} finally {
  await model.dispose();
}
