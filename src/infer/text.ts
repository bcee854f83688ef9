// Text in, text out: joins a tokenizer to the engine. Streams pieces of text that never end in half a character and never
// show the beginning of a stop string; encodes prompts and conversations; scores text. Ids, slots and steps are `engine.ts`.

import { InputError, shown } from '../errors.js';
import { checkOptions, oneOf, type Rule, type Rules, rules, wholeFrom } from '../options.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type ChatMessage, type ChatTemplates, definesTools, encodeConversation, type Tools } from './chat.js';
import { type CompileElsewhere, type Constraint, type ConstraintOptions, Constraints } from './constraint.js';
import { mostDrafts } from './drafts.js';
import type {
  EmbedOptions,
  Engine,
  FinishReason,
  GenerateOptions,
  GenerateResult,
  HiddenOptions,
  ScoreResult,
} from './engine.js';
import { chosenLayers } from './hidden.js';
import { maxTopLogprobs, type TokenLogprobs } from './logprobs.js';
import { StopMatcher } from './stop.js';

/** A prompt: text (a BOS is put in front unless the tokenizer's files say otherwise), ids as they are, or a conversation for the chat template. */
export type Prompt = string | readonly number[] | Int32Array | readonly ChatMessage[];

/** How a text is continued: the engine's options, and those of texts. */
export interface TextOptions extends Omit<GenerateOptions, 'constraint'>, ConstraintOptions {
  /** Ends the text before the first of these that appears. */
  readonly stop?: string | readonly string[];
  /**
   * A file that keeps the prompt's keys and values: written when it is not there, was made with something else or is damaged; what the
   * prompt has in common with it is not computed.
   */
  readonly promptCache?: string;
  /** With `jsonSchema`, `regex` or `grammar`: how the text that is held to it begins, at the prompt's end. */
  readonly begun?: string;
  /** Decode as what comes after the prompt: a leading space stays. Default: the text of the new ids by themselves. */
  readonly continuation?: boolean;
}

/** How the prompt of a conversation ends. */
export interface TurnOptions {
  /** Whether the assistant's answer is opened; default true. */
  readonly answering?: boolean;
  /** What the opened answer begins with. */
  readonly begun?: string;
}

/** How texts are embedded. */
export interface TextEmbedOptions extends EmbedOptions {
  /** Takes of a text that is longer than the context what fits, its beginning; without it such a text is refused. */
  readonly truncate?: boolean;
}

/** Which hidden states are wanted. */
export interface HiddenStatesOptions extends HiddenOptions {
  /** 0: the embedding; i: what layer i leaves; the last, also -1: what the output layer gets, through the last norm. Default all. */
  readonly layers?: readonly number[];
}

/** f32 [tokens, modelDim] for each layer that was asked for. */
export interface HiddenStatesResult {
  readonly ids: readonly number[];
  readonly states: readonly Float32Array[];
}

const stops: Rule = {
  says: 'a text or an array of texts, none of them empty',
  holds: (value) => [value].flat().every((stop) => typeof stop === 'string' && stop !== ''),
};

const { anything } = rules;

const adapterName: Rule = {
  says: 'the name of an adapter, or null',
  holds: (value) => value === null || typeof value === 'string',
};
const hiddenRules: Rules<HiddenOptions> = { adapter: adapterName, signal: rules.signal };
const embedRules: Rules<TextEmbedOptions> = { ...hiddenRules, onProgress: rules.function, truncate: rules.boolean };
const hiddenStatesRules: Rules<HiddenStatesOptions> = {
  ...hiddenRules,
  layers: { says: 'an array of numbers of layers', holds: (value) => Array.isArray(value) && value.length > 0 },
};

/** What the options of a generation may be; values of sampling options are the sampler's to check. */
const textRules: Rules<TextOptions> = {
  temperature: anything,
  topK: anything,
  topP: anything,
  minP: anything,
  typicalP: anything,
  repetitionPenalty: anything,
  frequencyPenalty: anything,
  presencePenalty: anything,
  seed: anything,
  maxTokens: {
    says: 'a whole number of tokens, or Infinity',
    holds: (value) => value === Number.POSITIVE_INFINITY || (Number.isSafeInteger(value) && (value as number) >= 0),
  },
  ignoreEos: rules.boolean,
  overflow: oneOf('stop', 'slide'),
  logitBias: rules.object,
  topLogprobs: wholeFrom(0, maxTopLogprobs),
  adapter: adapterName,
  jsonSchema: {
    says: 'a JSON schema: an object, true or false',
    holds: (value) => /^(object|boolean)$/.test(typeof value) && value !== null,
  },
  regex: rules.text,
  promptLookup: wholeFrom(1, mostDrafts),
  grammar: rules.text,
  signal: rules.signal,
  stop: stops,
  promptCache: rules.text,
  begun: rules.text,
  continuation: rules.boolean,
};

/** A piece of the answer. */
export interface TextPiece {
  /** May be empty, when a character or a possible stop string is not complete yet. */
  readonly text: string;
  /** The tokens since the last piece. */
  readonly ids: readonly number[];
  /** Of each of `ids`, where they were asked for. */
  readonly logprobs?: readonly TokenLogprobs[];
  /** Milliseconds since the call. */
  readonly milliseconds: number;
}

/** What an answer took: tokens and milliseconds. */
export interface Timings {
  /** Of the whole prompt, with a BOS that was put in front. */
  readonly promptTokens: number;
  /** Prompt tokens found in the cache, not computed. */
  readonly reusedTokens: number;
  /** To the first token. */
  readonly promptMs: number;
  readonly generatedTokens: number;
  /** From the first token to the last. */
  readonly generateMs: number;
}

/** A finished answer. */
export interface TextResult {
  /** The prompt as the model got it. */
  readonly promptIds: readonly number[];
  readonly ids: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  /** With `topLogprobs`: of the end-of-sequence token, when one ended the text. */
  readonly eosLogprobs?: TokenLogprobs;
  /** With `jsonSchema`, `regex` or `grammar`: whether the text is whole, not cut by a limit, a stop text or a signal. */
  readonly complete?: boolean;
  /** Where tokens were guessed. */
  readonly speculation?: GenerateResult['speculation'];
  readonly timings: Timings;
}

/**
 * Finds what a file has of a prompt and puts it where the engine takes it from; returns what writes the file once the prompt is
 * computed, if it should be.
 */
export type PromptCaching = (
  file: string,
  prompt: readonly number[],
  options: Pick<GenerateOptions, 'adapter' | 'signal'>,
) => Promise<() => Promise<void>>;

/** What is said where text is given to a model that came without a tokenizer. */
export const noTokenizer = 'this model came without a tokenizer: give token ids, or put a tokenizer.model beside its weights';

export interface TextModelParts {
  readonly engine: Engine;
  /** Without one only ids can be used. */
  readonly tokenizer?: Tokenizer;
  /** The model's own chat templates; default Apple's instruction recipe. */
  readonly chatTemplate?: ChatTemplates;
  /** Where there are files. */
  readonly promptCaching?: PromptCaching;
  /** Where there are other threads. */
  readonly compileElsewhere?: CompileElsewhere;
}

export class TextModel {
  private constraints?: Constraints;

  constructor(private parts: TextModelParts) {}

  get engine(): Engine {
    return this.parts.engine;
  }

  /** Goes on with another engine of the same model. */
  protected replaceEngine(parts: Pick<TextModelParts, 'engine' | 'promptCaching'>): void {
    this.parts = { ...this.parts, ...parts };
  }

  /** Throws `InputError` when the model came without a tokenizer. */
  get tokenizer(): Tokenizer {
    const { tokenizer } = this.parts;
    if (!tokenizer) throw new InputError(noTokenizer);
    return tokenizer;
  }

  /** Whether text can be given; ids always can. */
  get hasTokenizer(): boolean {
    return this.parts.tokenizer !== undefined;
  }

  /** Whether conversations are put in the model's own template, not Apple's instruction recipe. */
  get hasChatTemplate(): boolean {
    return this.parts.chatTemplate !== undefined;
  }

  /** Whether the model's own template takes tools, and writes their calls in the form that is read back. */
  get definesTools(): boolean {
    return definesTools(this.parts.chatTemplate);
  }

  /** Token ids of a prompt; `tools` go with a conversation. Throws `InputError` on an empty prompt, or a template that fails. */
  async encodePrompt(prompt: Prompt, tools?: Tools): Promise<readonly number[]> {
    if (typeof prompt === 'string') return this.tokenizer.encode(prompt, { bos: this.tokenizer.addBos });
    if (isConversation(prompt)) return encodeConversation(this.tokenizer, this.parts.chatTemplate, prompt, true, tools);
    if (!Array.isArray(prompt) && !(prompt instanceof Int32Array)) {
      throw new InputError(`the prompt is ${shown(prompt)}; expected a text, token ids or messages`);
    }
    return Array.from(prompt);
  }

  /**
   * Token ids of a conversation as the chat template writes it: to where the assistant begins to speak and, with `begun`, the beginning of
   * its answer; or (`answering: false`) without that. Throws `InputError` as `encodePrompt` does.
   */
  async encodeChat(messages: readonly ChatMessage[], { answering = true, begun }: TurnOptions = {}): Promise<readonly number[]> {
    return encodeConversation(this.tokenizer, this.parts.chatTemplate, messages, answering, undefined, begun);
  }

  /**
   * Continues a prompt, piece by piece; the generator's return value is the whole result. Leaving the loop, or aborting the
   * signal, ends the work within one token. Throws `InputError` as `Engine.generate` and `encodePrompt` do.
   */
  async *generate(prompt: Prompt, options: TextOptions = {}): AsyncGenerator<TextPiece, TextResult> {
    const began = performance.now();
    checkOptions('the options of the generation', options, textRules);
    const matcher = new StopMatcher(typeof options.stop === 'string' ? [options.stop] : (options.stop ?? []));
    const { jsonSchema, regex, grammar, begun = '', promptCache, ...others } = options;
    const whole = await this.constraintOf({ jsonSchema, regex, grammar });
    const constraint = begun === '' ? whole : whole?.from(begun);
    const promptIds = await this.encodePrompt(prompt);
    const caching = promptCache === undefined ? undefined : this.parts.promptCaching;
    if (promptCache !== undefined && !caching) throw new InputError('a promptCache is a file, and there are no files here');
    const keep = options.signal?.aborted ? undefined : await caching?.(promptCache!, promptIds, options);
    let kept: Promise<void> | undefined;
    // Only text needs a tokenizer: ids alone can be continued without one.
    const decoder = this.parts.tokenizer?.streamDecoder();
    if (options.continuation) for (const id of promptIds) decoder?.push(id);
    const ids: number[] = [];
    let text = '';
    let logprobs: TokenLogprobs[] | undefined;
    const piece = (shown: string, newIds: readonly number[]): TextPiece => {
      text += shown;
      return {
        text: shown,
        ids: newIds,
        ...(logprobs && newIds.length > 0 ? { logprobs } : {}),
        milliseconds: performance.now() - began,
      };
    };
    let told = 0;
    const tokens = this.engine.generate(promptIds, { ...others, constraint }, (token) => {
      logprobs = [token];
      told++;
    });
    let firstAt: number | undefined;
    let ended: GenerateResult | undefined;
    try {
      for (;;) {
        const next = await tokens.next();
        if (next.done) {
          ended = next.value;
          break;
        }
        firstAt ??= performance.now();
        kept ??= keep?.();
        kept?.catch(() => {}); // it is waited for below
        ids.push(next.value);
        yield piece(matcher.push(decoder?.push(next.value) ?? '').text, [next.value]);
        if (matcher.stop !== undefined) break;
      }
    } finally {
      await tokens.return(undefined as never);
      await kept;
    }
    const rest = matcher.stop === undefined ? matcher.push(decoder?.flush() ?? '').text + matcher.flush() : '';
    if (rest !== '') yield piece(rest, []);
    const now = performance.now();
    return {
      promptIds,
      ids,
      text,
      finishReason: ended?.reason ?? 'stop',
      ...(constraint ? { complete: matcher.stop === undefined && isWhole(constraint, ids) } : {}),
      ...(ended && told > ids.length ? { eosLogprobs: logprobs![0] } : {}),
      ...(ended?.speculation ? { speculation: ended.speculation } : {}),
      timings: {
        promptTokens: promptIds.length,
        reusedTokens: ended?.reusedTokens ?? 0,
        promptMs: ended?.promptMs ?? (firstAt ?? now) - began,
        generatedTokens: ids.length,
        generateMs: ended?.generateMs ?? now - (firstAt ?? now),
      },
    };
  }

  /** The whole answer at once. */
  async complete(prompt: Prompt, options: TextOptions = {}): Promise<TextResult> {
    return resultOf(this.generate(prompt, options));
  }

  /** Log-probabilities of a text's tokens (a BOS is put in front), or of ids as they are; they must fit the context. */
  async score(
    input: string | ArrayLike<number>,
    signal?: AbortSignal,
    adapter?: string | null,
    top?: number,
  ): Promise<ScoreResult & { ids: readonly number[] }> {
    if (signal !== undefined && !(signal instanceof AbortSignal))
      throw new InputError('the second argument of score must be an AbortSignal');
    const ids = this.idsOf(input);
    return { ids, ...(await this.engine.score(ids, signal, adapter, top)) };
  }

  /**
   * An embedding of each text (or of ids as they are): the mean of all its tokens' last hidden states, BOS included, scaled to length 1;
   * f32 [modelDim]. Their dot product is the cosine. Throws `InputError` on a text that is empty or longer than the context.
   */
  async embed(texts: readonly (string | ArrayLike<number>)[], options: TextEmbedOptions = {}): Promise<Float32Array[]> {
    checkOptions('the options of embed', options, embedRules);
    if (!Array.isArray(texts)) throw new InputError(`what embed gets is ${shown(texts)}; expected an array of texts`);
    const empty = texts.indexOf('');
    if (empty >= 0) throw new InputError(`text ${empty + 1} is empty: give at least one character`);
    const { truncate, ...others } = options;
    const sequences = texts.map((text) => this.idsOf(text));
    return this.engine.embed(truncate ? sequences.map((ids) => ids.slice(0, this.engine.context)) : sequences, others);
  }

  /** What the layers make of each token of a text (BOS in front) or of ids as they are. Throws `InputError` as `embed` does. */
  async hiddenStates(input: string | ArrayLike<number>, options: HiddenStatesOptions = {}): Promise<HiddenStatesResult> {
    checkOptions('the options of hiddenStates', options, hiddenStatesRules);
    const { layers, ...others } = options;
    const ids = this.idsOf(input);
    const chosen = chosenLayers(layers, this.engine.model.config.layers.length);
    return { ids, states: await this.engine.hiddenStates(ids, chosen, others) };
  }

  /** What each token of a text (BOS in front) looks at in a layer: see `Engine.attention`. Throws `InputError` as it does. */
  async attention(
    input: string | ArrayLike<number>,
    layer: number,
    options: HiddenOptions = {},
  ): Promise<{ ids: readonly number[]; heads: number; weights: Float32Array }> {
    checkOptions('the options of attention', options, hiddenRules);
    const ids = this.idsOf(input);
    const weights = await this.engine.attention(ids, layer, options);
    return { ids, heads: weights.length / ids.length ** 2, weights };
  }

  private async constraintOf(options: ConstraintOptions): Promise<Constraint | undefined> {
    if (Object.values(options).every((value) => value === undefined)) return undefined;
    this.constraints ??= new Constraints(this.tokenizer, this.engine.model.config.vocabSize, this.parts.compileElsewhere);
    return this.constraints.of(options);
  }

  private idsOf(input: string | ArrayLike<number>): number[] {
    if (typeof input === 'string') return this.tokenizer.encode(input, { bos: this.tokenizer.addBos });
    if (!Array.isArray(input) && !ArrayBuffer.isView(input))
      throw new InputError(`the input is ${shown(input)}; expected a text or token ids`);
    return Array.from(input);
  }
}

/** What a generator returns in the end; what it yields on the way is not wanted. */
export async function resultOf<Result>(pieces: AsyncGenerator<unknown, Result>): Promise<Result> {
  for (;;) {
    const next = await pieces.next();
    if (next.done) return next.value;
  }
}

function isWhole(constraint: Constraint, ids: readonly number[]): boolean {
  return constraint.isComplete(ids.reduce((place, id) => constraint.after(place, id), constraint.start));
}

function isConversation(prompt: Exclude<Prompt, string>): prompt is readonly ChatMessage[] {
  return Array.isArray(prompt) && typeof prompt[0] === 'object';
}
