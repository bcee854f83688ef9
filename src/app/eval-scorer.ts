// What `openelm eval` measures: a model that is loaded here, or one at a server; and the file that keeps its answers, named after
// all that they depend on. Which requests are made is not known here.

import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { explained } from '../checkpoint.js';
import { counted, InputError } from '../errors.js';
import { cachedScorer } from '../eval/cache.js';
import { type ChatPrompts, chatPrompts } from '../eval/chat.js';
import { httpScorer } from '../eval/http.js';
import { localScorer } from '../eval/local.js';
import type { RunInfo } from '../eval/report.js';
import type { Scorer } from '../eval/scorer.js';
import type { HarnessVersion } from '../eval/task.js';
import { openChatTemplate, openCheckpoint, openTokenizer } from '../index.js';
import type { ChatTemplates } from '../infer/chat.js';
import { noTokenizer } from '../infer/text.js';
import { modelHash, openEvalCache } from '../io/node/answer-cache.js';
import { targetOf } from '../io/post.js';
import { countParameters } from '../model/config.js';
import { peftFiles } from '../model/peft.js';
import { checkModel, openTemplate } from '../open.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { hubOptions, openParts } from './loading.js';
import type { ModelOptions } from './options.js';
import { progressBar } from './progress.js';
import { type Terminal, tell, UsageError } from './terminal.js';
import { version } from './version.js';

export interface ScorerChoice extends ModelOptions {
  readonly baseUrl?: string;
  readonly modelName?: string;
  readonly addBos: boolean;
  readonly applyChatTemplate?: boolean;
  readonly systemInstruction?: string;
  readonly fewshotAsMultiturn?: boolean;
  readonly harnessVersion: HarnessVersion;
  readonly batchTokens?: number;
  /** A file, `false` for none, or the one in the user's cache directory. */
  readonly cache?: string | false;
}

/** What is being measured, as results files tell it. */
type ScorerInfo = Pick<RunInfo, 'modelName' | 'model' | 'modelArgs' | 'parameters' | 'dtype' | 'maxLength' | 'tokens'>;

interface OpenScorer {
  readonly scorer: Scorer;
  readonly info: ScorerInfo;
  /** Where prompts are written by the model's chat template. */
  readonly chat?: ChatPrompts;
  /** Answers that came from the cache so far, and its file. */
  known(): { readonly answers: number; readonly file: string } | undefined;
  close(): Promise<void>;
}

/**
 * Throws `UsageError` on options that do not go together, `InputError` on an address of no server, and on a model that is not there or
 * damaged as far as headers and small files tell: before datasets are read, and fetched.
 */
export async function checkScorer(terminal: Terminal, choice: ScorerChoice): Promise<void> {
  const { baseUrl, modelName, model, adapter, applyChatTemplate, systemInstruction, fewshotAsMultiturn } = choice;
  if (fewshotAsMultiturn !== undefined && !applyChatTemplate)
    throw new UsageError('--fewshot-as-multiturn and its opposite go with --apply-chat-template');
  if (choice.harnessVersion === 'pinned' && (applyChatTemplate || systemInstruction))
    throw new UsageError('--harness-version pinned asks in plain text: leave --apply-chat-template and --system-instruction out');
  if (applyChatTemplate && baseUrl !== undefined && model === undefined)
    throw new UsageError('--apply-chat-template needs MODEL beside --base-url, whose template and tokenizer are taken');
  if (baseUrl === undefined) {
    if (modelName !== undefined) throw new UsageError('--model-name goes with --base-url');
    const bar = progressBar(terminal.stderr);
    // What there is to notice is said when the model is opened.
    const hub = { ...hubOptions(bar), onNotice: undefined };
    const checkpoint = await checkModel(model, { adapter, hub }).finally(() => bar.finish());
    const tokenizer = await openTokenizer(checkpoint);
    if (!tokenizer) throw new InputError(noTokenizer);
    await chatOf(terminal, choice, tokenizer, () => openTemplate(checkpoint, adapter));
    return;
  }
  if (modelName === undefined) throw new UsageError("--base-url needs --model-name, the model's name there");
  targetOf(baseUrl);
  await cutterOf(terminal, choice);
}

/** Of a model that only cuts texts for a server: its tokenizer, and how it writes conversations. */
async function cutterOf(terminal: Terminal, choice: ScorerChoice): Promise<{ tokenizer?: Tokenizer; chat?: ChatPrompts }> {
  const { model } = choice;
  if (model === undefined) return {};
  const checkpoint = await openCheckpoint(model);
  const tokenizer = await openTokenizer(checkpoint);
  if (!tokenizer) throw new InputError(`${model} has no tokenizer to cut texts for the server`);
  return { tokenizer, chat: await chatOf(terminal, choice, tokenizer, () => openChatTemplate(checkpoint)) };
}

/** How prompts are written by the model's template, where that is asked for. Throws `InputError` when it cannot be read. */
async function chatOf(
  terminal: Terminal,
  { applyChatTemplate, fewshotAsMultiturn }: ScorerChoice,
  tokenizer: Tokenizer,
  templates: () => Promise<ChatTemplates | undefined>,
): Promise<ChatPrompts | undefined> {
  if (!applyChatTemplate) return undefined;
  const onNotice = (message: string): void => tell(terminal, message);
  return chatPrompts(tokenizer, await templates(), { multiturn: fewshotAsMultiturn, onNotice });
}

/** For a choice that `checkScorer` let pass. Throws `InputError` on a model that cannot be loaded. */
export async function openScorer(terminal: Terminal, choice: ScorerChoice): Promise<OpenScorer> {
  const opened = await (choice.baseUrl === undefined
    ? openLocal(terminal, choice)
    : openServer(terminal, choice, choice.baseUrl));
  const without = { ...opened, known: () => undefined };
  if (choice.cache === false) return without;
  try {
    const file = choice.cache ?? join(cacheDirectory(), `${opened.cacheName}.jsonl`);
    const store = await openEvalCache(file).catch((error: unknown) => {
      // Nobody asked for the file in the user's cache directory: where that is none, or read-only, there is none.
      if (choice.cache !== undefined || !(error instanceof InputError)) throw error;
      tell(
        terminal,
        `answers are not kept, so a run that is interrupted begins anew: ${error.message} (--cache FILE names another place)`,
      );
    });
    if (!store) return without;
    const { lines, first } = store.damaged;
    if (lines > 0) {
      const which =
        lines === 1
          ? `line ${first} is damaged; its answer is`
          : `${counted(lines, 'line')} are damaged, the first is line ${first}; their answers are`;
      tell(terminal, `${file}: ${which} computed again`);
    }
    let answers = 0;
    const get = (key: string): unknown => {
      const value = store.get(key);
      if (value !== undefined) answers++;
      return value;
    };
    return {
      ...opened,
      scorer: cachedScorer(opened.scorer, { ...store, get }),
      known: () => (answers > 0 ? { answers, file } : undefined),
      close: () => store.close().finally(opened.close),
    };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

function cacheDirectory(): string {
  return join(process.env.XDG_CACHE_HOME?.trim() || join(homedir(), '.cache'), 'openelm', 'eval');
}

type Opened = Omit<OpenScorer, 'known'> & { readonly cacheName: string };

/** Of all that the answers depend on: the model's files, and the adapter's. */
async function hashOf(checkpoint: Parameters<typeof modelHash>[0], adapter?: string): Promise<string> {
  const files = Object.values(adapter === undefined ? {} : peftFiles).map((name) => ({
    directory: adapter!,
    weights: join(adapter!, name),
  }));
  return (await Promise.all([checkpoint, ...files].map(modelHash))).join('-');
}

async function openLocal(terminal: Terminal, choice: ScorerChoice): Promise<Opened> {
  const { addBos, batchTokens, context, activations, adapter, cacheType = 'f32' } = choice;
  const opened = await openParts(terminal, choice, { context, cacheType });
  try {
    const { checkpoint, backend, model, tokenizer, chatTemplate } = opened;
    if (!tokenizer) throw new InputError(noTokenizer);
    const { config } = checkpoint;
    const { dtype } = opened.weights;
    const hash = choice.cache === false ? checkpoint.name : await hashOf(checkpoint, adapter);
    const arithmetic = [dtype, ...(/^(q|affine)\d/.test(dtype) ? [`${activations ?? 'int8'} activations`] : [])].join(' ');
    const name = `${hash}, ${arithmetic}, ${backend.name}, openelm ${version()}`;
    const local = localScorer({ name, backend, model, tokenizer }, { addBos, context, batchTokens, cacheType });
    const scorer: Scorer = {
      ...local,
      loglikelihood: (...asked) => explained(checkpoint, dtype, () => local.loglikelihood(...asked)),
      loglikelihoodRolling: (...asked) => explained(checkpoint, dtype, () => local.loglikelihoodRolling(...asked)),
      generateUntil: (...asked) => explained(checkpoint, dtype, () => local.generateUntil(...asked)),
    };
    const maxLength = context ?? config.maxContextLength;
    const args = {
      dtype,
      ...(activations ? { activations } : {}),
      ...(cacheType === 'f32' ? {} : { cache_type: cacheType }),
      ...(adapter ? { peft: adapter } : {}),
      add_bos_token: addBos ? 'True' : 'False',
      max_length: maxLength,
    };
    const info = {
      modelName: checkpoint.name,
      modelArgs: [`pretrained=${checkpoint.name}`, ...Object.entries(args).map(([key, value]) => `${key}=${value}`)].join(','),
      parameters: countParameters(config),
      dtype,
      maxLength,
      tokens: tokensOf(tokenizer),
    };
    const close = async (): Promise<void> => {
      await local.dispose();
      await opened.close();
    };
    const chat = await chatOf(terminal, choice, tokenizer, async () => chatTemplate);
    return { scorer, info, chat, cacheName: `${hash}-${dtype}`, close };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** The special tokens that the vocabulary has. */
function tokensOf(tokenizer: Tokenizer): ScorerInfo['tokens'] {
  const ids = { pad: tokenizer.padId ?? -1, eos: tokenizer.eosId, bos: tokenizer.bosId };
  const known = Object.entries(ids).filter(([, id]) => id >= 0);
  return Object.fromEntries(known.map(([name, id]) => [name, [tokenizer.piece(id) ?? '', id] as const]));
}

/** The model argument, if there is one, is whose tokenizer cuts the text; without one the server gets text. */
async function openServer(terminal: Terminal, choice: ScorerChoice, baseUrl: string): Promise<Opened> {
  const { modelName = '', addBos, context } = choice;
  const { tokenizer, chat } = await cutterOf(terminal, choice);
  const apiKey = process.env.OPENAI_API_KEY?.trim() || undefined;
  const scorer = httpScorer({ baseUrl, model: modelName, apiKey, tokenizer, addBos, context });
  const info = { modelName, model: 'local-completions', modelArgs: `model=${modelName},base_url=${baseUrl}`, maxLength: context };
  const cacheName = `server-${createHash('sha256').update(scorer.name).digest('hex').slice(0, 16)}`;
  return { scorer, info, chat, cacheName, close: async () => {} };
}
