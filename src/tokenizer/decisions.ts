// What travels beside a tokenizer, in the files that Hugging Face's tokenizers write: which pieces begin and end a text and whether they
// are added, tokens added to the vocabulary, how spaces are written (tokenizer_config.json, added_tokens.json, special_tokens_map.json,
// and a tokenizer.json beside a tokenizer.model). Here they are read and joined; the readers of vocabularies apply them.

import { InputError, shown } from '../errors.js';
import { edgesOf } from './post-processor.js';
import type { TokenRule } from './stretches.js';

/** A token beyond the trained pieces. `special` ones are found in template text only, others in any text. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly rule?: TokenRule;
}

export interface TokenizerDecisions {
  /** By their text; null: there is none; undefined: nothing is said. */
  readonly bos?: string | null;
  readonly eos?: string | null;
  readonly pad?: string | null;
  readonly addBos?: boolean;
  readonly addEos?: boolean;
  /** By id, each once. */
  readonly added: readonly AddedToken[];
  /** Special tokens by the names that templates have for them, `unk_token` and the like, but for those of BOS and EOS. */
  readonly names?: Readonly<Record<string, string>>;
  /** All special tokens that are named (bos_token to mask_token, extra_special_tokens): those in no vocabulary follow in this order. */
  readonly named?: readonly string[];
  /** Their rules, where no file of added tokens has others. */
  readonly namedRules?: ReadonlyMap<string, TokenRule>;
  /** A list of extra tokens stands in place of the control pieces of a `tokenizer.model`: those that nobody names are plain text then. */
  readonly namedOnly?: boolean;
  /** Which parts of a text get a space in front, where transformers decides instead of the SentencePiece model. */
  readonly prefix?: 'always' | 'first' | 'never';
}

/** Parsed JSON by the file's name; undefined where there is no such file. */
export interface DecisionFiles {
  readonly 'tokenizer_config.json'?: unknown;
  readonly 'added_tokens.json'?: unknown;
  readonly 'special_tokens_map.json'?: unknown;
  readonly 'tokenizer.json'?: unknown;
}

type Json = Readonly<Record<string, unknown>>;

/** transformers' names of special tokens, in its order. */
const NAMED = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** Undefined when none of the files is there. Throws `InputError` that names the file and the key. */
export function tokenizerDecisions(files: DecisionFiles): TokenizerDecisions | undefined {
  if (Object.values(files).every((file) => file === undefined)) return undefined;
  const config = object(files['tokenizer_config.json'] ?? {}, 'tokenizer_config.json');
  const older = object(files['special_tokens_map.json'] ?? {}, 'special_tokens_map.json');
  // Older than added_tokens_decoder: transformers looks into it only where that is missing, and then before the config.
  const map = config.added_tokens_decoder === undefined ? older : {};
  const flag = (key: string): boolean | undefined => {
    const value = config[key] ?? undefined;
    if (value !== undefined && typeof value !== 'boolean') fail('tokenizer_config.json', key, value, 'true or false');
    return value as boolean | undefined;
  };
  const named = (key: string): string | null | undefined => {
    if (map[key] !== undefined) return tokenText(map[key], 'special_tokens_map.json', key);
    return config[key] === undefined ? undefined : tokenText(config[key], 'tokenizer_config.json', key);
  };
  const whole = object(files['tokenizer.json'] ?? {}, 'tokenizer.json');
  const hasJson = files['tokenizer.json'] !== undefined;
  const { begins, ends } = edgesOf(whole.post_processor, 'tokenizer.json');
  const namedRules = new Map<string, TokenRule>();
  const note = (token: unknown, file: string, key: string): void => {
    if (typeof token === 'string') namedRules.delete(token);
    if (typeof token !== 'object' || token === null) return;
    const rule = tokenRule(token as Json, (option, value) => fail(file, `${key}.${option}`, value, 'true or false'));
    if (rule) namedRules.set(tokenText(token, file, key)!, rule);
  };
  for (const key of NAMED)
    note(map[key] ?? config[key], map[key] === undefined ? 'tokenizer_config.json' : 'special_tokens_map.json', key);
  // In special_tokens_map.json only the newer name of the list makes tokens; those of the older one are special where they are.
  const extra = [...(extraTokens(config) ?? []), ...(extraTokens({ extra_special_tokens: map.extra_special_tokens }) ?? [])];
  const marked = extraTokens({ additional_special_tokens: map.additional_special_tokens }) ?? [];
  for (const token of extra) note(token, 'tokenizer_config.json', 'extra_special_tokens');
  const names = NAMED.map(named);
  const listed = [...names, ...extra.map((token) => tokenText(token, 'tokenizer_config.json', 'extra_special_tokens'))].filter(
    (text) => typeof text === 'string',
  );
  return {
    bos: edgeToken('bos_token', names[0], begins),
    eos: edgeToken('eos_token', names[1], ends),
    pad: names[NAMED.indexOf('pad_token')],
    // A tokenizer.json says itself what is added, and transformers then listens to nothing else.
    addBos: hasJson ? begins !== undefined : flag('add_bos_token'),
    addEos: hasJson ? ends !== undefined : flag('add_eos_token'),
    added: addedTokens(
      config,
      files['added_tokens.json'],
      whole,
      new Set([...listed, ...marked.map((token) => tokenText(token, 'special_tokens_map.json', 'additional_special_tokens'))]),
    ),
    named: listed,
    names: Object.fromEntries(NAMED.flatMap((key, i) => (i > 1 && typeof names[i] === 'string' ? [[key, names[i]]] : []))),
    namedRules,
    namedOnly: [map.extra_special_tokens, config.extra_special_tokens ?? config.additional_special_tokens].some(Array.isArray),
    prefix: hasJson ? writtenPrefix(whole) : prefixOf(files['tokenizer_config.json'], flag),
  };
}

function fail(file: string, key: string, value: unknown, wanted: string): never {
  throw new InputError(`${file}: ${key} is ${value === undefined ? 'missing' : shown(value)}; ${wanted} is expected`);
}

function object(value: unknown, file: string, key = 'the file'): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(file, key, value, 'an object');
  return value as Json;
}

const noRule: TokenRule = { singleWord: false, lstrip: false, rstrip: false };

/** The rule of a token as an object describes it; undefined when it has none. */
export function tokenRule(token: Json, fail: (option: string, value: unknown) => never): TokenRule | undefined {
  const flag = (option: string): boolean => {
    const value = token[option] ?? false;
    return typeof value === 'boolean' ? value : fail(option, value);
  };
  const rule = { singleWord: flag('single_word'), lstrip: flag('lstrip'), rstrip: flag('rstrip') };
  return Object.values(rule).includes(true) ? rule : undefined;
}

/** A token as a text or as an object with its content. */
function tokenText(value: unknown, file: string, key: string): string | null {
  const text = typeof value === 'object' && value !== null && 'content' in value ? value.content : value;
  if (text === null) return null;
  if (typeof text !== 'string' || text === '') fail(file, key, value, 'the text of a token, or an object with its content,');
  return text;
}

/** What a config lists beside the named tokens: texts or objects, in a list or by names; undefined where it says nothing. */
function extraTokens(config: Json): readonly unknown[] | undefined {
  const found = config.extra_special_tokens ?? config.additional_special_tokens ?? undefined;
  if (found === undefined || Array.isArray(found)) return found;
  return Object.values(object(found, 'tokenizer_config.json', 'extra_special_tokens'));
}

/** The token of that name, which is the one that the post-processor puts there, if it does. */
function edgeToken(key: string, named: string | null | undefined, put: string | undefined): string | null | undefined {
  if (put !== undefined && typeof named === 'string' && put !== named)
    throw new InputError(`tokenizer.json: post_processor puts ${shown(put)} where ${shown(named)}, the ${key}, is expected`);
  return put ?? named;
}

/** What a tokenizer.json's Metaspace says of spaces in front; undefined without one: the vocabulary's own way then. */
function writtenPrefix(whole: Json): TokenizerDecisions['prefix'] {
  const step = (whole.pre_tokenizer ?? {}) as Json;
  const steps = step.type === 'Sequence' && Array.isArray(step.pretokenizers) ? (step.pretokenizers as Json[]) : [step];
  const metaspace = steps.find((one) => one?.type === 'Metaspace');
  if (!metaspace) return undefined;
  const scheme = metaspace.prepend_scheme ?? (metaspace.add_prefix_space === false ? 'never' : 'always');
  return scheme === 'first' || scheme === 'never' ? scheme : 'always';
}

function prefixOf(config: unknown, flag: (key: string) => boolean | undefined): TokenizerDecisions['prefix'] {
  // The second is our own key, for vocabularies of GGUF; others pass over it.
  if (config === undefined || flag('sentencepiece_spaces')) return undefined;
  if (flag('add_prefix_space') === false) return 'never';
  return flag('legacy') ? 'always' : 'first';
}

function addedTokens(config: Json, listed: unknown, whole: Json, special: ReadonlySet<unknown>): AddedToken[] {
  const tokens = new Map<number, AddedToken>();
  const add = (file: string, key: string, id: number, content: unknown, isSpecial: boolean, rule?: TokenRule): void => {
    if (!Number.isSafeInteger(id) || id < 0) fail(file, key, id, 'an id');
    if (typeof content !== 'string' || content === '') fail(file, key, content, 'a text');
    const other = tokens.get(id);
    if (other && other.content !== content) fail(file, key, content, `${shown(other.content)}, which has the id ${id} already,`);
    // The first file that describes a token decides: tokenizer_config.json before tokenizer.json, as transformers does.
    const described = other?.rule ?? rule;
    tokens.set(id, {
      ...{ id, content, special: isSpecial || special.has(content) || (other?.special ?? false) },
      ...(described && { rule: described }),
    });
  };
  const described = (file: string, key: string, id: number, value: unknown): void => {
    const token = object(value, file, key);
    const rule = tokenRule(token, (option, value) => fail(file, `${key}.${option}`, value, 'true or false'));
    add(file, key, id, token.content, token.special === true, rule ?? noRule);
  };
  if (config.added_tokens_decoder !== undefined) {
    for (const [id, token] of Object.entries(
      object(config.added_tokens_decoder, 'tokenizer_config.json', 'added_tokens_decoder'),
    )) {
      described('tokenizer_config.json', `added_tokens_decoder.${id}`, Number(id), token);
    }
  }
  for (const [content, id] of Object.entries(object(listed ?? {}, 'added_tokens.json'))) {
    add('added_tokens.json', content, id as number, content, false);
  }
  for (const [i, token] of (Array.isArray(whole.added_tokens) ? whole.added_tokens : []).entries()) {
    described('tokenizer.json', `added_tokens[${i}]`, Number((token as Json | null)?.id), token);
  }
  return [...tokens.values()].sort((a, b) => a.id - b.id);
}
