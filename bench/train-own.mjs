// Our trainer as a child process of the train benchmark, built as users run it, so that its peak memory is its own and no compiler's:
// the protocol and the messages of bench/peers/train.py, which says them, and train.bench.ts, which has their types. Steps come
// from one fixed batch; no data pipeline, no checkpoints.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { nativeBackend } from '../dist/backends/native.js';
import { nodeWebgpuBackend } from '../dist/backends/webgpu/node.js';
import { InputError, messageOf } from '../dist/errors.js';
import { elementsOf } from '../dist/io/bytes.js';
import { chooseModules, initialValues } from '../dist/model/adapter.js';
import { loadModel } from '../dist/model/load.js';
import { parameterShapes } from '../dist/model/parameters.js';
import { AdapterParameters } from '../dist/train/adapter.js';
import { languageModelling } from '../dist/train/language-modelling.js';
import { ModelParameters } from '../dist/train/parameters.js';
import { pairRows, preferenceBatch, preferenceOptimization } from '../dist/train/preference-optimization.js';
import { TrainingStep } from '../dist/train/step.js';

/** Elements from `start` on: uniform in [-bound, bound) from a hash of index and tensor, the same bits as the peer's, plus `offset`. */
function fillInitial(values, start, tensorIndex, bound, offset) {
  const add = Math.imul(tensorIndex, 40503);
  for (let i = 0; i < values.length; i++) {
    let x = (Math.imul(start + i, 2654435761) + add) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 2246822519);
    x = Math.imul(x ^ (x >>> 13), 3266489917);
    x ^= x >>> 16;
    values[i] = ((x >>> 8) / 2 ** 23 - 1) * bound + offset;
  }
}

/** Sequences of one length, every token of them learned. */
function texts(tokens, targets, length, zLoss) {
  const count = tokens.length / length;
  const limits = { maxRows: tokens.length, maxSequences: count, maxPositions: length };
  const batch = {
    tokens: Int32Array.from(tokens),
    targets: Int32Array.from(targets),
    sequences: Array.from({ length: count }, (_, i) => [i * length, length]),
  };
  return { objective: languageModelling({ ...limits, zLoss, labelSmoothing: 0 }), batch };
}

/** Preference pairs, the prompt of each computed once. */
function preferences({ prompts, chosen, rejected, reference, beta, promptLength, answerLength }) {
  const part = (ids, length, i) => Int32Array.from(ids.slice(i * length, (i + 1) * length));
  const pairs = Array.from({ length: prompts.length / promptLength }, (_, i) => ({
    prompt: part(prompts, promptLength, i),
    chosen: part(chosen, answerLength, i),
    rejected: part(rejected, answerLength, i),
  }));
  const objective = preferenceOptimization({
    maxRows: pairs.reduce((sum, pair) => sum + pairRows.rows(pair), 0),
    maxSequences: pairRows.sequences * pairs.length,
    maxSegments: pairRows.segments * pairs.length,
    maxPositions: promptLength + answerLength,
    ...{ maxPairs: pairs.length, loss: 'sigmoid', beta, labelSmoothing: 0 },
  });
  return { objective, batch: preferenceBatch(pairs, Float32Array.from(reference)) };
}

/** Bound and middle of a parameter's first values. */
const rangeOf = (shape) => (shape.length === 1 ? [0.1, 1] : [Math.sqrt(3 / shape[1]), 0]);

/** All of a model learns. */
function wholeModel(backend, { config }) {
  const parameters = new ModelParameters(backend, config);
  const piece = new Float32Array(1 << 18);
  parameterShapes(config).forEach(({ name, shape }, index) => {
    const [bound, offset] = rangeOf(shape);
    const place = parameters.list.find((each) => each.name === name).offset;
    const count = elementsOf(shape);
    // In pieces, as the peer does: what is left for the garbage collector would count as the step's memory.
    for (let start = 0; start < count; start += piece.length) {
      const values = piece.subarray(0, Math.min(piece.length, count - start));
      fillInitial(values, start, index, bound, offset);
      backend.write(parameters.all.parameters, values, place + start);
    }
  });
  return { parameters, model: parameters.model() };
}

/** An adapter learns; the model is loaded from a file that is made up as it is read. */
async function adapted(backend, { config, adapter, dtype = 'f32' }) {
  const { r, alpha, dropout } = adapter;
  const modules = chooseModules(config, [{ pattern: '.*', r, alpha, dropout, use_rslora: false, use_dora: false, init: true }]);
  const parameters = new AdapterParameters(backend, modules);
  const tensors = new Map(
    parameterShapes(config).map(({ name, shape }, index) => {
      const [bound, offset] = rangeOf(shape);
      const bytes = 4 * elementsOf(shape);
      const read = async (start, size) => {
        const values = new Float32Array(size / 4);
        fillInitial(values, start / 4, index, bound, offset);
        return new Uint8Array(values.buffer);
      };
      const source = { name, size: bytes, read, close: async () => {} };
      return [name, { name, dtype: 'F32', shape, source, offset: 0, bytes }];
    }),
  );
  const { model } = await loadModel(backend, config, { tensors, dtype: 'F32', ignored: [] }, { dtype, ...parameters.wrapping });
  await parameters.begin(initialValues(modules, 1));
  return { parameters, model };
}

async function openBackend({ backend: name, threads }) {
  if (name === 'webgpu') return nodeWebgpuBackend();
  const { backend, reason } = nativeBackend({ threads });
  if (!backend) throw new InputError(`the native backend is not available: ${reason}`);
  return backend;
}

async function load(message) {
  const { tokens, targets, length, options, activations } = message;
  const backend = await openBackend(message);
  const { parameters, model } = await (message.adapter ? adapted : wholeModel)(backend, message);
  const { learningRate, zLoss, ...optimizer } = options;
  const { objective, batch } = message.pairs ? preferences(message.pairs) : texts(tokens, targets, length, zLoss);
  const step = new TrainingStep(backend, { model, parameters, objective, optimizer, ...activations });
  let done = 0;
  // What a step consists of; TrainingStep does not show it to others.
  profile = async () => {
    const { executable, computation } = step.training;
    const params = new Int32Array(executable.program.paramsLength);
    computation.fill(batch, params, 1);
    const optimizing = step.optimizer.executable;
    return {
      device: backend.description,
      times: [...(await backend.profile(executable, params)), ...(await backend.profile(optimizing, new Int32Array(0)))],
    };
  };
  trained = parameters.list.reduce((sum, { shape }) => sum + elementsOf(shape), 0);
  return async () => {
    const [{ means }, { gradNorm }] = await Promise.all([step.accumulate(batch), step.update(learningRate, ++done)]);
    return { loss: means.loss, gradNorm, peakBytes: backend.memoryBytes ?? peakBytes() };
  };
}

function peakBytes() {
  return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}

let takeStep;
let trained;
let profile;

async function answerTo(message) {
  if (message.cmd === 'load') {
    takeStep = await load(message);
    return { parameters: trained };
  }
  if (message.cmd === 'profile') return profile();
  const began = performance.now();
  let last;
  for (let i = 0; i < message.steps; i++) last = await takeStep();
  return { seconds: (performance.now() - began) / 1000, ...last };
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.cmd === 'exit') break;
  const answer = await answerTo(message).catch((error) => ({ error: messageOf(error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(); // nothing else to close: the backend's memory ends with the process
