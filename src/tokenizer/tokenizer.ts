// The tokenizer of the library: text to ids and back, the same whatever file it was read from (sentencepiece.ts,
// hugging-face.ts, llama.ts). Here are normalization (spaces only: no Unicode form is changed) and special tokens; words and
// merging are in encoder.ts and merger.ts, text from ids in decoder.ts. It reads no files.

import { InputError } from '../errors.js';
import type { Characters } from './characters.js';
import { type CutRules, lastCut } from './cuts.js';
import { type DecoderRules, StreamDecoder } from './decoder.js';
import { type EncoderRules, WordEncoder } from './encoder.js';
import type { Pairs } from './pairs.js';
import { anyOf, findTokens, type TokenRule } from './stretches.js';
import { PieceKind, SPACE, type Vocabulary } from './vocabulary.js';

const MAX_UNITS = 1 << 25;

/** Where a part of a text stands: at its beginning, where another one ended, or where a long text was cut, which leaves no trace. */
type Place = 'start' | 'continued' | 'cut';

export type { StreamDecoder } from './decoder.js';

/** Whether the ids of the text's beginning and end are added; both off by default. */
export interface EncodeOptions {
  readonly bos?: boolean;
  readonly eos?: boolean;
  /** The text goes on where another ended: no space is put before it unless every part has one. */
  readonly continued?: boolean;
}

/** What a model file says, put together by its reader. */
export interface TokenizerParts extends EncoderRules, DecoderRules {
  readonly vocabulary: Vocabulary;
  readonly characters: Characters;
  readonly pairs: Pairs;
  /** By piece: of higher score merge first. */
  readonly scores: () => Float32Array;
  /** -1: the vocabulary has none. */
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number | undefined;
  /** Whether texts are meant to begin and end with them; BOS unless said otherwise. */
  readonly addBos?: boolean;
  readonly addEos?: boolean;
  /** Which parts of a text (cut at special tokens) get a space in front: all, only one at the very beginning, or none. */
  readonly prefix: 'always' | 'first' | 'never';
  /** No space is put before a part that begins with one (Hugging Face's Metaspace). */
  readonly prefixUnlessSpace: boolean;
  /** Spaces at both ends are dropped and runs become one (SentencePiece's remove_extra_whitespaces). */
  readonly removeExtraSpaces: boolean;
  /** A space is written as U+2581. */
  readonly escapeSpaces: boolean;
  /** Tokens that only template text may hold: text -> id. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Tokens found in any text before normalization, and after it. */
  readonly rawTokens: ReadonlyMap<string, number>;
  readonly normalizedTokens: ReadonlyMap<string, number>;
  /** Normalization changes nothing but how spaces are written, which comes after both (Hugging Face's Metaspace). */
  readonly tokensBeforeSpaces?: boolean;
  /** Those of the special tokens that are found after normalization, by their normalized texts. */
  readonly normalizedSpecialTokens?: ReadonlyMap<string, number>;
  /** What some of these tokens ask of their surroundings, by the same texts. */
  readonly tokenRules?: ReadonlyMap<string, TokenRule>;
  /** Texts of special tokens by the names that chat templates have for them, but for BOS and EOS. */
  readonly names?: Readonly<Record<string, string>>;
}

/** A SentencePiece BPE tokenizer. Stateless between calls; one may serve many texts, on one thread. */
export class Tokenizer {
  /** Pieces in all: ids are 0 to vocabSize - 1. A model may have more rows than that; such ids have no text. */
  readonly vocabSize: number;
  /** Ids of the control pieces; -1 where the vocabulary has none (padId: undefined). */
  readonly bosId: number;
  readonly eosId: number;
  readonly unkId: number;
  readonly padId: number | undefined;
  /** Whether a text is meant to begin with BOS and to end with EOS, by what travels with the vocabulary. */
  readonly addBos: boolean;
  readonly addEos: boolean;
  /** Tokens that only template text may name: text -> id. */
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly tokenRules: ReadonlyMap<string, TokenRule> | undefined;
  /** Texts of special tokens by the names that chat templates have for them (`unk_token`), but for BOS and EOS. */
  readonly names: Readonly<Record<string, string>>;
  private readonly parts: TokenizerParts;
  private readonly encoder: WordEncoder;
  private readonly surfaces: (string | undefined)[] = [];
  private specialIds?: ReadonlySet<number>;
  private readonly userPattern: RegExp | undefined;
  private readonly templatePattern: RegExp | undefined;
  private readonly normalizedPattern: RegExp | undefined;
  private readonly normalizedTemplatePattern: RegExp | undefined;

  constructor(parts: TokenizerParts) {
    this.parts = parts;
    this.vocabSize = parts.vocabulary.size;
    this.bosId = parts.bosId;
    this.eosId = parts.eosId;
    this.unkId = parts.vocabulary.unknownId;
    this.padId = parts.padId;
    this.addBos = (parts.addBos ?? true) && parts.bosId >= 0;
    this.addEos = (parts.addEos ?? false) && parts.eosId >= 0;
    this.specialTokens = parts.specialTokens;
    this.tokenRules = parts.tokenRules;
    this.names = parts.names ?? {};
    this.encoder = new WordEncoder(parts.vocabulary, parts.characters, parts.pairs, parts);
    this.userPattern = anyOf(parts.rawTokens.keys());
    const normalizedSpecial = parts.normalizedSpecialTokens ?? new Map<string, number>();
    const normalizedIds = new Set(normalizedSpecial.values());
    const special = [...parts.specialTokens].flatMap(([text, id]) => (normalizedIds.has(id) ? [] : [text]));
    this.templatePattern = anyOf([...parts.rawTokens.keys(), ...special]);
    this.normalizedPattern = anyOf(parts.normalizedTokens.keys());
    this.normalizedTemplatePattern = anyOf([...parts.normalizedTokens.keys(), ...normalizedSpecial.keys()]);
  }

  /**
   * The ids of a user's text. What looks like a special token (`</s>`) is plain text here: no text yields a special id.
   * A lone surrogate counts as U+FFFD. Throws `InputError` for `bos` or `eos` when the vocabulary has no such piece, and for more than
   * 2^25 UTF-16 units, whose ids would be more than one list can hold.
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    return this.encodeParts(text, options, false);
  }

  /**
   * The ids of a user's text of any length, which comes in pieces: list by list what `encode` gives of the whole, in constant memory where the
   * vocabulary has words (pieces that no space is inside of). Where it has none, or a text has no place to be cut, `encode`'s limit holds.
   * About so many `units` (UTF-16) are encoded at once.
   */
  async *encodeLong(
    pieces: Iterable<string> | AsyncIterable<string>,
    { bos, eos, units = 1 << 18 }: { readonly bos?: boolean; readonly eos?: boolean; readonly units?: number } = {},
  ): AsyncGenerator<number[]> {
    const { rawTokens, normalizedTokens, removeExtraSpaces, escapeSpaces, characters } = this.parts;
    const lengths = [...rawTokens.keys(), ...normalizedTokens.keys()].map((token) => token.length);
    const rules: CutRules = {
      inPiece: characters.inPiece,
      tokens: [this.userPattern, this.normalizedPattern].filter((pattern) => pattern !== undefined),
      longestToken: lengths.reduce((most, length) => Math.max(most, length), 0),
    };
    const mayCut = this.encoder.wordwise && escapeSpaces && !(removeExtraSpaces && normalizedTokens.size > 0);
    let [rest, searched, place]: [string, number, Place] = ['', 0, 'start'];
    let unknown = false;
    const encoded = (text: string, more: EncodeOptions): number[] => {
      const ids: number[] = [];
      unknown = this.appendParts(text, more, false, place, unknown, ids);
      place = 'cut';
      return ids;
    };
    if (bos) yield [present(this.bosId, 'beginning (bos)')];
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length; at += units) {
        rest += piece.slice(at, at + units);
        if (!mayCut || rest.length < units) continue;
        const cut = lastCut(rest, searched, rules);
        searched = cut > 0 ? 0 : rest.length - 1 - rules.longestToken;
        if (cut === 0) continue;
        yield encoded(rest.slice(0, cut), {});
        rest = rest.slice(cut);
      }
    }
    yield encoded(rest, { eos });
  }

  /**
   * The ids of a template's text, in which the text of a special token (`<s>`, `</s>`, `<unk>`) is that token. The text between
   * is encoded part by part; for a model with a dummy prefix every part gets one, also after a special token, as Hugging Face's
   * legacy LLaMA tokenizer does (`a<s>b` is `▁a`, `<s>`, `▁b`). Throws as `encode` does.
   */
  encodeTemplate(text: string, options: EncodeOptions = {}): number[] {
    return this.encodeParts(text, options, true);
  }

  /** The text of ids, by SentencePiece's rules (see `StreamDecoder`); control pieces and ids without a piece have none. */
  decode(ids: ArrayLike<number>): string {
    const decoder = this.streamDecoder();
    let text = '';
    for (let i = 0; i < ids.length; i++) text += decoder.push(ids[i]);
    return text + decoder.flush();
  }

  /** A decoder for ids that come one by one: `push(id)` gives the text each completes, `flush()` the rest at the end. */
  streamDecoder(): StreamDecoder {
    return new StreamDecoder(this.parts.vocabulary, this.parts, this.surfaces);
  }

  /** A piece as the vocabulary spells it (`▁the`, `<0x0A>`, `</s>`), or undefined for an id without one. */
  piece(id: number): string | undefined {
    return this.parts.vocabulary.text(id);
  }

  /** The id of a piece, spelled as the vocabulary does. */
  pieceToId(piece: string): number | undefined {
    return this.parts.vocabulary.idOf(piece);
  }

  /** The vocabulary piece by piece, and how spaces are written: for formats that store it so. Throws `InputError` where scores cannot tell the merges. */
  describe(): {
    pieces: { text: string; kind: number; score: number }[];
    spaces: Pick<TokenizerParts, 'prefix' | 'removeExtraSpaces'>;
  } {
    const { vocabulary, prefix, removeExtraSpaces } = this.parts;
    const scores = this.parts.scores();
    const pieces = Array.from({ length: this.vocabSize }, (_, id) => ({
      ...{ text: vocabulary.text(id)!, kind: vocabulary.kinds[id], score: scores[id] },
    }));
    return { pieces, spaces: { prefix, removeExtraSpaces } };
  }

  /**
   * The bytes that an id adds to a text; undefined where it has no text of its own (control and unknown pieces, special tokens, ids
   * without a piece).
   */
  bytesOf(id: number): Uint8Array | undefined {
    const { vocabulary } = this.parts;
    const byte = vocabulary.byteValues[id] ?? -1;
    if (byte >= 0) return Uint8Array.of(byte);
    const kind = vocabulary.kinds[id];
    if (kind !== PieceKind.normal && kind !== PieceKind.userDefined) return undefined;
    this.specialIds ??= new Set(this.specialTokens.values());
    if (this.specialIds.has(id)) return undefined;
    return new TextEncoder().encode(vocabulary.text(id)!.replaceAll(SPACE, ' '));
  }

  /** Whether a text that begins with this piece is without the piece's space. */
  losesSpace(id: number): boolean {
    const { vocabulary, stripPrefix, stripFirstPiece, stripLeadingSpaces } = this.parts;
    if (!(stripPrefix || stripFirstPiece || stripLeadingSpaces) || vocabulary.byteValues[id] >= 0) return false;
    return vocabulary.text(id)?.startsWith(SPACE) ?? false;
  }

  /** Whether there is a piece for every byte, so that any text can be written. */
  get hasBytes(): boolean {
    return this.parts.vocabulary.byteIds.every((id) => id >= 0);
  }

  private encodeParts(text: string, options: EncodeOptions, template: boolean): number[] {
    const ids: number[] = [];
    this.appendParts(text, options, template, options.continued ? 'continued' : 'start', false, ids);
    return ids;
  }

  /** Appends to `ids`; whether they end with something unknown, as `unknown` says of what came before. */
  private appendParts(
    text: string,
    options: EncodeOptions,
    template: boolean,
    place: Place,
    unknown: boolean,
    ids: number[],
  ): boolean {
    if (text.length > MAX_UNITS) {
      throw new InputError(
        `a text of ${text.length} characters is too long to be tokenized at once; at most ${MAX_UNITS}: split it`,
      );
    }
    if (options.bos) ids.push(present(this.bosId, 'beginning (bos)'));
    const pattern = template ? this.templatePattern : this.userPattern;
    let from = 0;
    for (const { start, end, token } of findTokens(text, pattern, this.tokenRules)) {
      this.encodePart(text.slice(from, start), template, from === 0 ? place : 'continued', from === 0 && unknown, ids);
      ids.push((this.parts.specialTokens.get(token) ?? this.parts.rawTokens.get(token))!);
      from = end;
    }
    const ends = this.encodePart(
      from === 0 ? text : text.slice(from),
      template,
      from === 0 ? place : 'continued',
      from === 0 && unknown,
      ids,
    );
    if (options.eos) ids.push(present(this.eosId, 'end (eos)'));
    return ends;
  }

  private encodePart(text: string, template: boolean, place: Place, unknown: boolean, ids: number[]): boolean {
    const { normalizedTokens, normalizedSpecialTokens, tokensBeforeSpaces } = this.parts;
    const pattern = template ? this.normalizedTemplatePattern : this.normalizedPattern;
    const idOf = (token: string): number => (normalizedTokens.get(token) ?? normalizedSpecialTokens?.get(token))!;
    if (!tokensBeforeSpaces) {
      const normalized = this.normalize(text, place);
      if (normalized === '') return unknown;
      const frozen: [number, number, number][] = [];
      for (const { start, end, token } of findTokens(normalized, pattern, this.tokenRules))
        frozen.push([start, end, idOf(token)]);
      return this.encoder.encode(normalized, frozen, ids, unknown);
    }
    let [from, ends] = [0, unknown];
    const encode = (part: string): void => {
      const normalized = this.normalize(part, from === 0 ? place : 'continued');
      if (normalized !== '') ends = this.encoder.encode(normalized, [], ids, ends);
    };
    for (const { start, end, token } of findTokens(text, pattern, this.tokenRules)) {
      encode(text.slice(from, start));
      ids.push(idOf(token));
      [from, ends] = [end, false];
    }
    encode(from === 0 ? text : text.slice(from));
    return ends;
  }

  private normalize(text: string, place: Place): string {
    const { prefix, prefixUnlessSpace, removeExtraSpaces, escapeSpaces } = this.parts;
    let spaced = removeExtraSpaces ? text.replace(/ +/g, ' ') : text;
    if (removeExtraSpaces && place !== 'cut' && spaced.startsWith(' ')) spaced = spaced.slice(1);
    if (spaced === '') return '';
    const hasSpace = spaced.startsWith(' ') || spaced.startsWith(SPACE);
    const prefixed = place !== 'cut' && (prefix === 'always' || (prefix === 'first' && place === 'start'));
    if (prefixed && !(prefixUnlessSpace && hasSpace)) spaced = ` ${spaced}`;
    const space = escapeSpaces ? SPACE : ' ';
    const escaped = escapeSpaces ? spaced.replace(/ /g, SPACE) : spaced;
    let end = escaped.length;
    if (removeExtraSpaces) while (end > 0 && escaped[end - 1] === space) end--;
    return escaped.slice(0, end);
  }
}

function present(id: number, what: string): number {
  if (id < 0) throw new InputError(`this tokenizer has no piece for the ${what} of a text; leave that option off`);
  return id;
}
