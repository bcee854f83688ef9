// Ids -> text, one id at a time, by SentencePiece's rules: byte pieces are put together to characters and every byte that
// belongs to none becomes one U+FFFD, control pieces have no text, and the first piece loses the space that encoding put before it.
// Decoding a whole sequence is the same path, so a stream's parts always add up to `Tokenizer.decode`.

import { utf8CodePoint, utf8Continues, utf8Length } from './utf8.js';
import { PieceKind, SPACE, type Vocabulary } from './vocabulary.js';

const REPLACEMENT = '\ufffd';

/** What the normalizer did to text, as far as decoding must undo it. */
export interface DecoderRules {
  /** The first piece's leading space symbol is dropped. */
  readonly stripPrefix: boolean;
  /** All space symbols of the first piece are dropped (Hugging Face's Metaspace). */
  readonly stripFirstPiece?: boolean;
  /** Leading space symbols are dropped until there is text (SentencePiece's remove_extra_whitespaces). */
  readonly stripLeadingSpaces: boolean;
  /** With `stripPrefix`: a plain space that the first piece begins with is dropped too (Hugging Face's Strip). */
  readonly stripPlainSpace?: boolean;
  /** The text of the unknown piece. */
  readonly unknownSurface: string;
}

/** Turns ids into text as they come. Feed it every id in order; it never returns half a character. */
export class StreamDecoder {
  private readonly pending = new Uint8Array(4); // a valid start of a character
  private pendingLength = 0;
  private mayStrip = true; // no text and no dropped space yet
  private stripped = false;

  constructor(
    private readonly vocabulary: Vocabulary,
    private readonly rules: DecoderRules,
    private readonly surfaces: (string | undefined)[],
  ) {}

  /** The text that this id completes; '' while a character's bytes are still coming. Ids without a piece have no text. */
  push(id: number): string {
    const byte = this.vocabulary.byteValues[id] ?? -1;
    if (byte >= 0) {
      const text = this.pushByte(byte);
      if (text !== '') this.mayStrip = false;
      return text;
    }
    const broken = this.takePending();
    if (broken !== '' || this.stripped) this.mayStrip = false;
    const text = broken + this.surface(id);
    if (text !== '') this.mayStrip = false;
    return text;
  }

  /** What is left of an unfinished character, at the end of the ids: one U+FFFD a byte. */
  flush(): string {
    const broken = this.takePending();
    if (broken !== '') this.mayStrip = false;
    return broken;
  }

  private surface(id: number): string {
    const kind = this.vocabulary.kinds[id];
    if (kind === undefined || kind === PieceKind.control) return '';
    if (kind === PieceKind.unknown) return this.rules.unknownSurface;
    this.surfaces[id] ??= this.vocabulary.text(id)!.replaceAll(SPACE, ' ');
    const text = this.surfaces[id];
    if (this.mayStrip && this.rules.stripFirstPiece) {
      this.stripped = true;
      return this.vocabulary.text(id)!.replaceAll(SPACE, '');
    }
    if (!this.mayStrip || !(this.rules.stripPrefix || this.rules.stripLeadingSpaces)) return text;
    const plain = this.rules.stripPlainSpace && text.startsWith(' ');
    if (!plain && !this.vocabulary.text(id)!.startsWith(SPACE)) return text;
    this.stripped = !this.rules.stripLeadingSpaces;
    return text.slice(1);
  }

  private pushByte(byte: number): string {
    let broken = '';
    if (this.pendingLength > 0 && !utf8Continues(this.pending[0], this.pendingLength, byte)) broken = this.takePending();
    if (this.pendingLength === 0 && utf8Length(byte) === 0) return broken + REPLACEMENT;
    this.pending[this.pendingLength++] = byte;
    if (this.pendingLength < utf8Length(this.pending[0])) return broken;
    this.pendingLength = 0;
    return broken + String.fromCodePoint(utf8CodePoint(this.pending, 0));
  }

  private takePending(): string {
    const broken = REPLACEMENT.repeat(this.pendingLength);
    this.pendingLength = 0;
    return broken;
  }
}
