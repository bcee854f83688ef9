// How likely a text is to a model, token by token. `npx tsx examples/score.ts [MODEL]`

import { load } from 'openelm';

const model = await load(process.argv[2]);
try {
  const ids = model.tokenizer.encode('Once upon a time there was a little girl.', { bos: true });
  const { logprobs } = await model.engine.score(ids);
  for (const [i, id] of ids.entries()) console.log((logprobs[i]?.toFixed(3) ?? '-').padStart(8), model.tokenizer.piece(id));
  const nats = -logprobs.reduce((sum: number, logprob) => sum + (logprob ?? 0), 0);
  console.log(`perplexity ${Math.exp(nats / (ids.length - 1)).toFixed(2)}`);
} finally {
  await model.dispose();
}
