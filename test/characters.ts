// Texts for properties that hold for any.

import fc from 'fast-check';

/** Any character, as a unit of `fc.string`. fast-check's own, `binary`, lists all of them first, which takes a second. */
export const anyCharacter: fc.Arbitrary<string> = fc
  .integer({ min: 0, max: 0x10ffff })
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));
