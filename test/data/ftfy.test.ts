// Texts and what ftfy 6.3.1 made of them (fix_text with normalization NFC), beside those of the golden file.

import { describe, expect, it } from 'vitest';
import { fixText, toNfc } from '../../src/data/ftfy.js';

const cases: readonly (readonly [string, string])[] = [
  [
    '\u00d0\u00bf\u00d1\u20ac\u00d0\u00b8\u00d0\u00b2\u00d0\u00b5\u00d1\u201a \u00d0\u00bc\u00d0\u00b8\u00d1\u20ac',
    '\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440',
  ],
  ['ESPA\u00d1\u201d', 'ESPA\u00d1"'],
  ['voil\u00e0 le travail', 'voil\u00e0 le travail'],
  ['l\u2019\u00e9t\u00e9 \u00e0 \u201cParis\u201d', 'l\'\u00e9t\u00e9 \u00e0 "Paris"'],
  ['&eacute;t&eacute; &#8220;x&#8221; &copy;', '\u00e9t\u00e9 "x" \u00a9'],
  ['\u00c3\u00a9t\u00c3\u00a9 et \u201cquotes\u201d', '\u00e9t\u00e9 et "quotes"'],
  ['na\u00c3\u00afve', 'na\u00efve'],
  ['sch\u00c3\u00b6n Gr\u00c3\u00bc\u00c3\u0178e', 'sch\u00f6n Gr\u00fc\u00dfe'],
  ['\u00c3\u0192\u00c2\u00a9', '\u00e9'],
  ['\uff48\uff41\uff4c\uff46\u3000\uff57\uff49\uff44\uff54\uff48', 'half width'],
  ['\uff8a\uff9f', '\u30d1'],
  ['50\u00c2\u00b0C', '50\u00b0C'],
  ['It\u0092s', "It's"],
  ['a\u0085b', 'a\u2026b'],
  [
    '\u0160\u0110\u010c\u0106\u017d \u0161\u0111\u010d\u0107\u017e',
    '\u0160\u0110\u010c\u0106\u017d \u0161\u0111\u010d\u0107\u017e',
  ],
  ['\u03b5\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac', '\u03b5\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac'],
  ['\u0440\u0443\u0441\u0441\u043a\u0438\u0439', '\u0440\u0443\u0441\u0441\u043a\u0438\u0439'],
  ['\ud83d\ude00 fine', '\ud83d\ude00 fine'],
  ['\u00f0\u0178\u02dc\u20ac bad', '\ud83d\ude00 bad'],
  ['&amp;lt;', '<'],
  ['&nbsp;x', '\u00a0x'],
  // As Python's html.unescape, which ftfy asks: what is no character.
  ['&#0; &#xd800; &#x110000; &#128; &#1;.', '\ufffd \ufffd \ufffd \u20ac .'],
  ['&notanentity;', '&notanentity;'],
  ['Ca&ntilde;on &#x2014; &#151;', 'Ca\u00f1on \u2014 \u2014'],
  ['\u00e2\u20ac\u0153two\u00e2\u20ac\u009d lines\n\u00c3\u00a9', '"two" lines\n\u00e9'],
  ['tab\tand\fform feed', 'tab\tand\fform feed'],
  ['e\u0301 <b>&eacute;</b>', '\u00e9 <b>&eacute;</b>'],
];

describe('fixText', () => {
  it.each(cases)('%j becomes %j', (text, expected) => {
    expect(fixText(text)).toBe(expected);
  });

  it('leaves good text alone', () => {
    const text = 'Æsop’s fables'.replace('’', "'");
    expect(fixText(text)).toBe(text);
    expect(fixText('A lone \ud800 surrogate')).toBe('A lone \ufffd surrogate');
  });
});

describe('toNfc', () => {
  it('composes, and changes nothing else', () => {
    expect(toNfc('cafe\u0301 “x” \u212b')).toBe('café “x” Å');
  });
});
