// The harness's rules for text, on a tokenizer of bytes; the goldens judge the same rules on cases of the real harness
// (eval-model judge). Here are the edges by name.

import { describe, expect, it } from 'vitest';
import {
  cutAtStops,
  type EncodingRules,
  encodePrompt,
  moveTrailingSpace,
  PairEncoder,
  prefixToken,
  rollingWindows,
} from '../../src/eval/encoding.js';
import { byteTokenizer } from '../judge/eval-model.js';

const rules = (addBos: boolean, maxLength = 96): EncodingRules => ({ tokenizer: byteTokenizer, addBos, maxLength });
const ids = (text: string) => byteTokenizer.encodeTemplate(text);

describe('encoding', () => {
  it('moves what Python calls white space', () => {
    expect(moveTrailingSpace('a b \n', 'c')).toEqual(['a b', ' \nc']);
    expect(moveTrailingSpace('a\u0085\u001c\u00a0\u3000', 'b')).toEqual(['a', '\u0085\u001c\u00a0\u3000b']);
    for (const char of ['\ufeff', '\u180e', '\u200b', '\u0000'])
      expect(moveTrailingSpace(`a${char}`, 'b')).toEqual([`a${char}`, 'b']);
    expect(moveTrailingSpace(' \t', 'b')).toEqual(['', ' \tb']);
  });

  it('puts one BOS in front of a context, never two', () => {
    const pair = (context: string, continuation: string, addBos: boolean) =>
      new PairEncoder(rules(addBos)).encodePair(context, continuation);
    expect(pair('a', ' b', true)).toEqual({ context: [1, ...ids('a')], continuation: ids(' b') });
    expect(pair('a', ' b', false)).toEqual({ context: ids('a'), continuation: ids(' b') });
    expect(pair('<s>a', 'b', true)).toEqual({ context: [1, ...ids('a')], continuation: ids('b') });
    expect(pair('', 'b', true)).toEqual({ context: [1], continuation: ids('b') });
    expect(pair('', '<s>b', false)).toEqual({ context: [1], continuation: ids('b') });
    expect(pair(' ', 'b', true)).toEqual({ context: [1], continuation: ids(' b') });
  });

  it('cuts on the left and counts what is gone', () => {
    const pairs = new PairEncoder(rules(true, 8));
    expect(pairs.encode('abcdef', 'gh')).toEqual({ ids: [1, ...ids('abcdefgh')], scored: 2, truncated: 0 });
    expect(pairs.encode('abcdefg', 'hi')).toEqual({ ids: ids('abcdefghi'), scored: 2, truncated: 1 });
    expect(pairs.encode('xyz', 'abcdefgh')).toEqual({ ids: ids('zabcdefgh'), scored: 8, truncated: 3 });
    expect(() => pairs.encode('a', 'abcdefghi')).toThrow('has 9 tokens, the model takes 8');
  });

  it('refuses what has nothing to score', () => {
    expect(() => new PairEncoder(rules(false)).encode(' \n', 'a')).toThrow('the context " \\n" is only white space');
    expect(() => new PairEncoder(rules(false)).encode('a', '')).toThrow('the continuation "" has no token');
    expect(() => new PairEncoder(rules(true)).encode('', '<s>')).toThrow('has no token of its own');
    expect(() => prefixToken({ ...byteTokenizer, bosId: -1, eosId: -1 })).toThrow('no token for the beginning or the end');
    expect(prefixToken({ ...byteTokenizer, bosId: -1 })).toBe(2);
  });

  it('scores each token of a text once, in windows', () => {
    const text = 'abcdefghijklmnopqrs';
    for (const maxLength of [1, 2, 5, 18, 19, 20]) {
      const windows = rollingWindows(rules(false, maxLength), text);
      expect(windows.flatMap((window) => window.ids.slice(-window.scored))).toEqual(ids(text));
      expect(windows.every((window) => window.ids.length <= maxLength + 1 && window.scored < window.ids.length)).toBe(true);
      expect(windows[0].ids[0]).toBe(1);
    }
    const [, last] = rollingWindows(rules(true, 18), text);
    expect(last).toEqual({ ids: [...ids(text)], scored: 2, truncated: 0 });
    expect(rollingWindows(rules(false), '')).toEqual([]);
  });

  it('leaves room for what is generated', () => {
    expect(encodePrompt(rules(true, 8), 'abc', 4)).toEqual([1, ...ids('abc')]);
    expect(encodePrompt(rules(true, 8), 'abcd', 4)).toEqual(ids('abcd'));
    expect(encodePrompt(rules(false, 8), '', 4)).toEqual([1]);
    expect(() => encodePrompt(rules(true, 8), 'a', 8)).toThrow('8 new tokens leave no room');
  });

  it('cuts at one stop after the other', () => {
    expect(cutAtStops('a b. c', ['.', ' '])).toBe('a');
    expect(cutAtStops('abcd', ['cd', 'bc', ''])).toBe('ab');
    expect(cutAtStops('abcd', ['x'])).toBe('abcd');
  });
});
