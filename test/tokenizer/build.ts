// Tokenizer files for tests: a `tokenizer.model` written field by field, and the `tokenizer.json` that transformers would make of
// a scored vocabulary (every pair of pieces that joins to a piece is a merge, best score first).

/** A piece of a `tokenizer.model`; `type` by SentencePiece's numbers, 1 (normal) by default. */
export interface Piece {
  readonly text: string | Uint8Array;
  readonly score?: number;
  readonly type?: number;
}

export interface ModelOptions {
  readonly modelType?: number;
  readonly byteFallback?: boolean;
  readonly dummyPrefix?: boolean;
  readonly removeExtraSpaces?: boolean;
  readonly escapeSpaces?: boolean;
  readonly spaceAsSuffix?: boolean;
  readonly charsMap?: Uint8Array;
  readonly bosPiece?: string;
  readonly eosPiece?: string;
  readonly padPiece?: string;
  readonly unknownSurface?: string;
}

const utf8 = new TextEncoder();

export function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

/** A length-delimited field. */
export function bytesField(field: number, value: Uint8Array | readonly number[]): number[] {
  return [...varint(field * 8 + 2), ...varint(value.length), ...value];
}

function numberField(field: number, value: number | boolean | undefined): number[] {
  return value === undefined ? [] : [...varint(field * 8), ...varint(Number(value))];
}

function textField(field: number, value: string | undefined): number[] {
  return value === undefined ? [] : bytesField(field, utf8.encode(value));
}

/** The bytes of a `tokenizer.model`. */
export function modelFile(pieces: readonly Piece[], options: ModelOptions = {}): Uint8Array {
  const out: number[] = [];
  for (const { text, score = 0, type } of pieces) {
    const float = new Uint8Array(new Float32Array([score]).buffer);
    const piece = bytesField(1, typeof text === 'string' ? utf8.encode(text) : text);
    out.push(...bytesField(1, [...piece, 2 * 8 + 5, ...float, ...numberField(3, type)]));
  }
  const trainer = [
    ...numberField(3, options.modelType ?? 2),
    ...numberField(24, options.spaceAsSuffix),
    ...numberField(35, options.byteFallback),
    ...textField(44, options.unknownSurface),
    ...textField(46, options.bosPiece),
    ...textField(47, options.eosPiece),
    ...textField(48, options.padPiece),
  ];
  const normalizer = [
    ...(options.charsMap ? bytesField(2, options.charsMap) : []),
    ...numberField(3, options.dummyPrefix),
    ...numberField(4, options.removeExtraSpaces ?? false),
    ...numberField(5, options.escapeSpaces),
  ];
  out.push(...bytesField(2, trainer), ...bytesField(3, normalizer));
  return Uint8Array.from(out);
}

/** <unk>, <s>, </s> and, if wanted, the 256 byte pieces: how vocabularies begin. */
export function firstPieces(bytes: boolean): Piece[] {
  const special: Piece[] = [
    { text: '<unk>', type: 2 },
    { text: '<s>', type: 3 },
    { text: '</s>', type: 3 },
  ];
  if (!bytes) return special;
  const hex = (byte: number) => byte.toString(16).toUpperCase().padStart(2, '0');
  return [...special, ...Array.from({ length: 256 }, (_, byte) => ({ text: `<0x${hex(byte)}>`, type: 6 }))];
}

/** LLaMA's scores: by id, but runs of spaces last. */
export function llamaScores(pieces: readonly string[]): number[] {
  return pieces.map((piece, id) => (/^▁+$/.test(piece) ? -1e9 : 259 - id));
}

export interface JsonOptions {
  /** Metaspace instead of the legacy normalizer. */
  readonly metaspace?: { readonly prepend_scheme: string; readonly split: boolean };
  /** Merges as lists of two instead of "a b". */
  readonly mergePairs?: boolean;
}

/** What a `tokenizer.json` of these pieces parses to; the first three are the special ones, then the byte pieces. */
export function jsonFile(pieces: readonly string[], scores: readonly number[], options: JsonOptions = {}) {
  const vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]));
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const merges: { left: string; right: string; score: number; ids: [number, number] }[] = [];
  for (let id = 3; id < pieces.length; id++) {
    const characters = [...pieces[id]];
    for (let at = 1; at < characters.length; at++) {
      const left = characters.slice(0, at).join('');
      const right = characters.slice(at).join('');
      const [leftId, rightId] = [ids.get(left), ids.get(right)];
      if (leftId !== undefined && rightId !== undefined) merges.push({ left, right, score: scores[id], ids: [leftId, rightId] });
    }
  }
  merges.sort((a, b) => {
    const lengths = [...b.left].length - [...a.left].length || [...b.right].length - [...a.right].length;
    return b.score - a.score || lengths || a.ids[0] - b.ids[0] || a.ids[1] - b.ids[1];
  });
  const legacy = {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: pieces.slice(0, 3).map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })) as Record<string, unknown>[],
    normalizer: (options.metaspace ? null : legacy) as unknown,
    pre_tokenizer: (options.metaspace ? { type: 'Metaspace', replacement: '▁', ...options.metaspace } : null) as unknown,
    post_processor: null as unknown,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    } as unknown,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges: merges.map(({ left, right }) => (options.mergePairs ? [left, right] : `${left} ${right}`)),
    } as Record<string, unknown>,
  };
}
