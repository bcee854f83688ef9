// Tunes a LoRA adapter of the embedded model on conversations and writes it as PEFT does. `npx tsx examples/tune.ts [OUT]`

import * as training from 'openelm/train';

const steps = 6;
const { backend } = await training.openBackend();
const { config, name } = await training.openCheckpoint();
const rule = { pattern: '.*proj.*', r: 8, alpha: 16, dropout: 0, use_rslora: false, use_dora: false, init: true } as const;
const modules = training.chooseModules(config, [rule]);
const parameters = new training.AdapterParameters(backend, modules);
const { model, tokenizer, chatTemplate, close } = await training.openModel(undefined, { backend, ...parameters.wrapping });
await parameters.begin(training.initialValues(modules, 0));

const chat: training.RowEncoders['chat'] = (messages, answering) =>
  training.encodeConversation(tokenizer!, chatTemplate ?? training.defaultChatTemplate, messages, answering);
const { examples } = await training.loadExamples(training.localCorpora, ['recipes/data/chats.jsonl'], (row) =>
  training.exampleOf(row, { tokenizer: tokenizer!, chat }, { prompt: 'auto', loss: 'answers', maxLength: 128 }),
);
const plan = training.planTuning({ train: examples }, training.exampleBatching, { batchSize: 4, epochs: 1, seed: 0 });

const step = new training.TrainingStep(backend, {
  model,
  parameters,
  objective: training.languageModelling({ ...plan.limits, zLoss: 0, labelSmoothing: 0 }),
  optimizer: { maxGradNorm: 1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 },
});
const rates = { warmupIterations: 2, warmupInitLearningRate: 1e-3, maxLearningRate: 5e-3, minLearningRate: 1e-3 };
const schedule = { name: 'cosine', maxIterations: steps, ...rates } as const;
const onStep = (report: training.StepReport) => console.log(`step ${report.step}: loss ${report.means.loss.toFixed(3)}`);
await new training.Trainer(step, plan.source(), { steps, schedule, accumulation: 1 }, { onStep }).run();

const out = process.argv[2];
const adapter = await parameters.adapter();
if (out) await training.writeDirectory(out, (write) => training.writePeft(write, adapter, name));
step.dispose();
await close();
await backend.dispose();
