// llama.cpp as a child process: JSON lines in on stdin, one JSON line out on stdout for each. Plain JavaScript, run by node
// in this folder, so that the benchmark can keep a peer loaded and interleave it with other contenders.
//   {cmd: 'load', file, threads}              -> {threads, flashAttention, system}   replaces what was loaded
//   {cmd: 'prefill', tokens: n}               -> {seconds}   n random ids in batches of 512, logits of the last one
//   {cmd: 'decode', tokens: n, context: m}    -> {seconds}   n random ids one at a time after m (those are not timed)
//   {cmd: 'greedy', prompt: [ids], tokens: n} -> {ids}       the n ids of largest logit; to check that both run one model
//   {cmd: 'clients', clients: c, prompt: m, tokens: n} -> {seconds}   c answers of n ids to m random ones, batched
//   {cmd: 'exit'}                             -> ends
// A failure answers {error}. Timed is llama_decode itself (the addon's own context, as llama-bench does: no sampling, no
// text), on node-llama-cpp's pinned version; its public `evaluate` adds JavaScript work and reading of the logits.
import { createInterface } from 'node:readline';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const batchSize = 512;

/** @type {{model: import('node-llama-cpp').LlamaModel, context: import('node-llama-cpp').LlamaContext, vocabulary: number} | undefined} */
let loaded;
let llama;

async function load({ file, threads, sequences = 1, contextSize: size }) {
  await unload();
  llama ??= await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    maxThreads: 0,
    progressLogs: false,
    logLevel: LlamaLogLevel.error,
  });
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  // Flash attention: 15 to 30% faster prefill here, decode alike within noise; so is reading the file against mapping it.
  const contextSize = size ?? model.trainContextSize;
  const context = await model.createContext({ contextSize, batchSize, threads, flashAttention: true, sequences });
  const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
  loaded = { model, context, vocabulary };
  return { threads: context._ctx.getThreads(), flashAttention: context.flashAttention, system: llama.systemInfo };
}

async function unload() {
  await loaded?.context.dispose();
  await loaded?.model.dispose();
  loaded = undefined;
}

/** Evaluates ids at the positions from `position` on, in batches; the logits of the very last one are computed. */
async function evaluate(ids, position) {
  const context = loaded.context._ctx;
  let logits;
  for (let start = 0; start < ids.length; start += batchSize) {
    const batch = Uint32Array.from(ids.slice(start, start + batchSize));
    const last = start + batch.length === ids.length;
    context.initBatch(batch.length);
    logits = context.addToBatch(0, position + start, batch, Uint32Array.from(last ? [batch.length - 1] : []));
    await context.decodeBatch();
  }
  return logits[0];
}

/** Forgets the sequence. */
function reset() {
  loaded.context._ctx.disposeSequence(0);
}

/** Fails unless just `expected` positions have been filled since the reset. */
function check(expected) {
  const filled = loaded.context._ctx.getSequenceKvCacheMaxPosition(0) + 1;
  if (filled !== expected) throw new Error(`llama.cpp holds ${filled} positions where ${expected} were evaluated`);
}

const randomIds = (count) => Array.from({ length: count }, () => Math.floor(Math.random() * loaded.vocabulary));

async function prefill({ tokens }) {
  reset();
  const ids = randomIds(tokens);
  const start = performance.now();
  await evaluate(ids, 0);
  const seconds = (performance.now() - start) / 1000;
  check(tokens);
  return { seconds };
}

async function decode({ tokens, context }) {
  reset();
  if (context > 0) await evaluate(randomIds(context), 0);
  const ids = randomIds(tokens);
  const start = performance.now();
  for (let i = 0; i < tokens; i++) await evaluate([ids[i]], context + i);
  const seconds = (performance.now() - start) / 1000;
  check(context + tokens);
  return { seconds };
}

async function greedy({ prompt, tokens }) {
  reset();
  const sampler = new llama._bindings.AddonSampler(loaded.model._model);
  sampler.applyConfig({ temperature: 0 });
  const ids = [];
  let logits = await evaluate(prompt, 0);
  for (let i = 0; i < tokens; i++) {
    ids.push(await loaded.context._ctx.sampleToken(logits, sampler));
    if (i + 1 < tokens) logits = await evaluate([ids[i]], prompt.length + i);
  }
  sampler.dispose();
  return { ids };
}

/** Through the public interface, which is what batches: each client has a sequence and takes the likeliest ids. */
async function clients({ clients: count, prompt, tokens }) {
  const start = performance.now();
  const answer = async () => {
    const sequence = loaded.context.getSequence();
    let left = tokens;
    for await (const _ of sequence.evaluate(randomIds(prompt), { temperature: 0, yieldEogToken: true })) if (--left === 0) break;
    sequence.dispose();
    if (left > 0) throw new Error(`an answer has ${tokens - left} tokens`);
  };
  await Promise.all(Array.from({ length: count }, answer));
  return { seconds: (performance.now() - start) / 1000 };
}

const commands = { load, prefill, decode, greedy, clients };

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.cmd === 'exit') break;
  let answer;
  try {
    answer = await commands[message.cmd](message);
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await unload();
await llama?.dispose();
process.stdin.destroy(); // an open pipe would keep the process alive
