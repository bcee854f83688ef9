// onnxruntime-web in a worker of the page, as it would be used there: it is sent { file, threads }, then { ids, count }, and answers with
// the milliseconds of the prompt and of the tokens after it. See onnx-graph.ts for what the graph takes.

import * as ort from './node_modules/onnxruntime-web/dist/ort.wasm.min.mjs';

let session;

async function load({ file, threads }) {
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = new URL('./node_modules/onnxruntime-web/dist/', import.meta.url).href;
  const bytes = new Uint8Array(await (await fetch(file)).arrayBuffer());
  session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'], graphOptimizationLevel: 'all' });
  if (ort.env.wasm.numThreads !== threads) throw new Error(`onnxruntime-web runs ${ort.env.wasm.numThreads} threads`);
  return {};
}

async function step(ids, caches, past) {
  const all = past + ids.length;
  const outputs = await session.run({
    ...caches,
    ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
    seqlens: new ort.Tensor('int32', [all - 1], [1]),
    total: new ort.Tensor('int32', [all], []),
  });
  const next = {};
  for (const name of session.outputNames)
    if (name !== 'next') next[name.replace('key', 'pastKey').replace('value', 'pastValue')] = outputs[name];
  return [Number(outputs.next.data[0]), next];
}

async function run({ ids, count }) {
  const names = session.inputMetadata.filter(({ name }) => name.startsWith('past'));
  let caches = Object.fromEntries(
    names.map(({ name, shape: [, heads, , dim] }) => [name, new ort.Tensor('float32', [], [1, heads, 0, dim])]),
  );
  const began = performance.now();
  let id;
  [id, caches] = await step(ids, caches, 0);
  const first = performance.now();
  for (let i = 1; i < count; i++) [id, caches] = await step([id], caches, ids.length + i - 1);
  return { prompt: first - began, text: performance.now() - first };
}

addEventListener('message', async ({ data }) => {
  try {
    postMessage(await ('file' in data ? load(data) : run(data)));
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
