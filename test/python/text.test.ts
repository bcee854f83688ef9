// Expected values are what CPython 3.12 prints.

import { describe, expect, it } from 'vitest';
import { argmax, choiceMetrics } from '../../src/eval/metrics.js';
import { fourDigits } from '../../src/eval/report.js';
import { renderTemplate } from '../../src/eval/template.js';
import { literalEval } from '../../src/python/literal.js';
import { capitalize, codePoints, countWords, lstrip, pythonFloat, pythonRepr, rstrip, strip } from '../../src/python/text.js';
import { PythonRandom } from '../../src/python-random.js';

describe('Python text', () => {
  it('strips what Python calls white space', () => {
    expect(strip('\x1c\x85 \u3000a\u2028')).toBe('a');
    expect(strip('\ufeffa\u200b')).toBe('\ufeffa\u200b');
    expect([lstrip(' a '), rstrip(' a ')]).toEqual(['a ', ' a']);
    expect(['a b', ' a b', '', 'a\x1fb\ufeffc\n'].map(countWords)).toEqual([2, 3, 1, 3]);
    expect(codePoints('a😀é')).toBe(3);
  });

  it('capitalizes', () => {
    const words = ['ǆabc', 'ßA', 'ŉX', 'ΑΣ', 'აB', 'ﬁX', 'éÉ', 'the Man', '𐐨A', ''];
    expect(words.map(capitalize)).toEqual(['ǅabc', 'Ssa', 'ʼNx', 'Ας', 'აb', 'Fix', 'Éé', 'The man', '𐐀a', '']);
  });

  it('writes and reads literals', () => {
    const values = ["it's", 'it\'s "q"', 'a\x85\u200b\u3000\xa0é😀\n\x00', [1, true, null, { a: 1.5 }], -3, ''];
    expect(values.map(pythonRepr)).toEqual([
      `"it's"`,
      `'it\\'s "q"'`,
      `'a\\x85\\u200b\\u3000\\xa0é😀\\n\\x00'`,
      `[1, True, None, {'a': 1.5}]`,
      '-3',
      `''`,
    ]);
    expect(values.map((value) => literalEval(pythonRepr(value)))).toEqual(values);
    expect(literalEval(`('a' "b", '\\x41\\u00e9\\U0001F600\\101\\q', [], {1: .5,},)`)).toEqual([
      'ab',
      'Aé😀A\\q',
      [],
      { 1: 0.5 },
    ]);
    for (const wrong of ['[1', "'a", '[1 2]', 'open(1)', "'\\x4'", '1 2', '', '{1}', '['.repeat(100)]) {
      expect(() => literalEval(wrong)).toThrow('not a Python literal');
    }
  });

  it('writes floats', () => {
    expect([1e16, 1e-5, -56, 0.1, 123456789012345680, Number.NaN, -Infinity].map(pythonFloat)).toEqual([
      '1e+16',
      '1e-05',
      '-56.0',
      '0.1',
      '1.2345678901234568e+17',
      'nan',
      '-inf',
    ]);
    expect([0.28125, 0.34375, 0.5, 0.00005, 1 / 3].map(fourDigits)).toEqual(['0.2812', '0.3438', '0.5000', '0.0001', '0.3333']);
  });

  it('draws only what there is', () => {
    expect(() => new PythonRandom(1).sample(3, 4)).toThrow(RangeError);
    expect(new PythonRandom(-7).random()).toBe(new PythonRandom(7).random());
  });
});

describe('templates', () => {
  const render = (template: string, doc = {}) => renderTemplate(template, doc);

  it('render as the harness has them', () => {
    expect(render('{{a.strip()}}|{{a.lstrip()}}|{{a.rstrip()}}\n', { a: '\x85 x\x1f' })).toBe('x|x\x1f|\x85 x\n');
    expect(renderTemplate('a\n\n', {}, { keepTrailingNewline: false })).toBe('a\n');
    expect(render('{{l.index(k)}} {{[k, "z\'s"]}} {{none}} {{(s|int) - 1}}', { l: ['x', 'y'], k: 'y', s: '3' })).toBe(
      `1 ['y', "z's"] None 2`,
    );
    expect(
      render('{% set p = "q" %}{% if x %}{{p + x}}{% endif %}{% for i in l %}{{i}};{% endfor %}', { x: 'r', l: [1, 2] }),
    ).toBe('qr1;2;');
    expect(render('{{ y | default("none") }} {{ "yes" if y is defined else "no" }}')).toBe('none no');
  });

  it('name what is missing', () => {
    expect(() => render('{{question}}')).toThrow('there is no column "question"');
    expect(() => render('{{a.b.c}}', { a: { b: {} } })).toThrow('there is no field "c"');
    expect(() => render('{{l.index("z")}}', { l: ['x'] })).toThrow("'z' is not in list");
    expect(() => render('{{l[3]}}', { l: ['x'] })).toThrow('an index is out of range');
    expect(() => render('{% if %}')).toThrow('is not valid Jinja');
  });
});

describe('scores of a document', () => {
  it('go to the first of equals, by code points, by bytes', () => {
    expect(argmax([1, 3, 3])).toBe(1);
    expect(argmax([1, Number.NaN, 3])).toBe(1);
    const answers = [-6, -4, -10, -8].map((logprob) => ({ logprob, greedy: logprob === -4 }));
    expect(choiceMetrics(['yes', '日本', 'naïve', '中文答案'], 1, answers)).toMatchObject({
      acc: 1,
      acc_norm: 0,
      acc_bytes: 1,
      exact_match: 1,
    });
    expect(choiceMetrics(['a', 'b', 'c', 'd'], ['d', 1], answers).acc).toBe(1);
  });
});
