// Reading a notation character by character: what regular expressions and GBNF share.

/** A place in a text of characters, not of UTF-16 units. */
export class Scanner {
  protected readonly characters: readonly string[];
  protected at = 0;
  /** Groups around the place. */
  protected depth = 0;

  constructor(source: string) {
    this.characters = [...source];
  }

  protected peek(text: string): boolean {
    return [...text].every((character, i) => this.characters[this.at + i] === character);
  }

  protected take(text: string): boolean {
    if (!this.peek(text)) return false;
    this.at += [...text].length;
    return true;
  }

  /** What is ahead, as far as a short pattern may reach. */
  protected get ahead(): string {
    return this.characters.slice(this.at, this.at + 64).join('');
  }
}
