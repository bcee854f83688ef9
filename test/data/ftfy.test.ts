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
  // Encodings other than Windows-1252's, bytes that were lost or became spaces, two encodings in a line, what only looks broken.
  [
    '\u0412\u00ab\u0420\u045f\u0421\u0402\u0420\u0451\u0420\u0406\u0420\u00b5\u0421\u201a\u0412\u00bb \u0432\u201e\u2013',
    '\u00ab\u041f\u0440\u0438\u0432\u0435\u0442\u00bb \u2116',
  ],
  ['\u00c4\u0164e\u0139\u02c7tina', '\u010de\u0161tina'],
  [
    '\u039e\u2022\u039e\u00bb\u039e\u00bb\u039e\u00ac\u039e\u0384\u039e\u00b1 \u039f\u008e\u039f\u0081\u039e\u00b1',
    '\u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u03ce\u03c1\u03b1',
  ],
  ['\u00c4\u00b0stanbul', '\u0130stanbul'],
  ['R\u00c4\u00abga \u00c5\u00a1\u00c5\u00ab\u00c5\u00be', 'R\u012bga \u0161\u016b\u017e'],
  ['za\u0139\u017a\u0102\u0142\u0139\u0082\u00c4\u0087', 'za\u017c\u00f3\u0142\u0107'],
  ['\u201a\u00c4\u00faZo\u221a\u00b4\u201a\u00c4\u00f9 \u221a\u00a9t\u221a\u00a9', '"Zo\u00eb" \u00e9t\u00e9'],
  ['na\u251c\u00bbve \u0393\u00a3\u00f4', 'na\u00efve \u2713'],
  ['\u00d7\u00a9\u00d7\u0153\u00d7\u2022\u00d7\u009d', '\u05e9\u05dc\u05d5\u05dd'],
  ['\u00e2\u20ac\u0153 like this \u00e2\u20ac\ufffd', '" like this \ufffd'],
  [
    'voil\u00c3  le travail, \u00c3  la mode, \u00c3 s vezes \u00c3 quela',
    'voil\u00e0 le travail, \u00e0 la mode, \u00e0s vezes \u00e0quela',
  ],
  ['\u00ed\u00a0\u00bd\u00ed\u00b2\u00a9 \u00c3\u00a9', '\ud83d\udca9 \u00e9'],
  ['A\u00c0\u0080\u00c3\u00a9', 'A\u00e9'],
  ['\u00c3\u0083\u00c6\u0092\u00c3\u0082\u00c2\u00a9t\u00c3\u0083\u00c6\u0092\u00c3\u0082\u00c2\u00a9', '\u00e9t\u00e9'],
  [
    '\u0160\u00a1 \u00e2\u0153\u201c \u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u2713 \u00c3\u00a9',
    '\u0160\u00a1 \u2713 \u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u2713 \u00e9',
  ],
  ['\u00c3', '\u00c3'],
  ['\u0176\u00b5\u00c2\u0165\u017d \u00e2\u2039\u2013', '\u0176\u00b5\u00c2\u0165\u017d \u00e2\u2039\u2013'],
  ['\u0413\u045e\u0412\u0402\u0412\u2122s', "'s"],
  ['(\u00d2\u203f\u00d3) \u00b0\u25a1\u00b0', '(\u00d2\u203f\u00d3) \u00b0\u25a1\u00b0'],
  [
    'P&EACUTE;REZ BUNDESSTRA&SZLIG;E &nTILDE; &check; &nGt; &LTCC;',
    'P\u00c9REZ BUNDESSTRASSE &nTILDE; \u2713 \u226b\u20d2 &LTCC;',
  ],
  ['&#59; &#12ab; &#xFDD0;. &#13;x &#x1fffe;.', '&#59; &#12ab; . \nx .'],
  ['&lt;\n<b>\n&lt;', '<\n<b>\n&lt;'],
  ['&amp;lt; &ltcc;', '< \u2aa6'],
  ['a\ufffcb\u206fc', 'abc'],
  ['\u001b[1;\u0663mx', 'x'],
  ['\uffdc \uffe1 \uff8a\uff9f', '\u1175 \u00a3 \u30d1'],
  ['\ufffd?', '\ufffd?'],
  ['l\u2019\ufb01n \u0149', "l'fin 'n"],
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
