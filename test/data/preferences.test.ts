import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadExamples } from '../../src/data/example-source.js';
import type { RowEncoders } from '../../src/data/examples.js';
import { type Pair, type PairOptions, pairOf, truncatePair } from '../../src/data/preferences.js';
import type { FileRow } from '../../src/data/readers.js';
import { encodeConversation } from '../../src/infer/chat.js';
import { localCorpora } from '../../src/io/node/corpora.js';
import { llamaTokenizer } from '../../src/tokenizer/llama.js';

const tokenizer = await llamaTokenizer();
const encoders: RowEncoders = {
  tokenizer,
  chat: (messages, answering) => encodeConversation(tokenizer, undefined, messages, answering),
};
const options: PairOptions = { prompt: 'auto', maxLength: 512, maxPromptLength: 256, keep: 'end' };
const row = (value: Record<string, unknown>): FileRow => ({ value, file: 'p.jsonl', row: 0 });
const say = (role: string, content: string) => ({ role, content });
const conversation = [say('user', 'Why?'), say('assistant', 'Because.')];
const other = [say('user', 'Why?'), say('assistant', 'Dunno.')];
/** With `$` for the end token. */
function text(ids: Int32Array): string {
  const parts: number[][] = [[]];
  for (const id of ids) {
    if (id === tokenizer.eosId) parts.push([]);
    else parts.at(-1)!.push(id);
  }
  return parts.map((part) => tokenizer.decode(part)).join('$');
}

async function pair(value: Record<string, unknown>, changes: Partial<PairOptions> = {}): Promise<Pair> {
  const found = await pairOf(row(value), encoders, { ...options, ...changes });
  if (typeof found === 'string') throw new Error(found);
  return found;
}

describe('pairOf', () => {
  it.each([
    ['explicit', { prompt: 'The sky is', chosen: ' blue.', rejected: ' green.' }],
    ['implicit', { chosen: 'The sky is blue.', rejected: 'The sky is green.' }],
  ])('takes the standard format, its prompt %s', async (_, value) => {
    const found = await pair(value);
    expect([...found.prompt]).toEqual(tokenizer.encode('The sky is', { bos: true }));
    expect(found.prompt.filter((id) => id === tokenizer.bosId)).toHaveLength(1);
    expect([...found.prompt, ...found.chosen]).toEqual(tokenizer.encode('The sky is blue.', { bos: true, eos: true }));
    expect([...found.prompt, ...found.rejected]).toEqual(tokenizer.encode('The sky is green.', { bos: true, eos: true }));
  });

  it.each([
    [
      'explicit',
      { prompt: [say('user', 'Why?')], chosen: [say('assistant', 'Because.')], rejected: [say('assistant', 'Dunno.')] },
    ],
    ['implicit', { chosen: conversation, rejected: other }],
    [
      'as ShareGPT has it',
      {
        conversations: [{ from: 'human', value: 'Why?' }],
        chosen: { from: 'gpt', value: 'Because.' },
        rejected: { from: 'gpt', value: 'Dunno.' },
      },
    ],
    ['as text beside both', { prompt: 'Why?', chosen: conversation, rejected: other }],
    ['of plain texts put as turns', { prompt: 'Why?', chosen: 'Because.', rejected: 'Dunno.' }],
  ])('takes conversations, the prompt %s', async (_, value) => {
    const found = await pair(value, { prompt: 'chat' });
    expect([...found.prompt]).toEqual(await encodeConversation(tokenizer, undefined, [{ role: 'user', content: 'Why?' }]));
    expect([text(found.chosen), text(found.rejected)]).toEqual(['Because.$', 'Dunno.$']);
  });

  it('puts an empty system message in front where it is asked for', async () => {
    const found = await pair({ chosen: conversation, rejected: other }, { emptySystemMessage: true });
    expect(text(found.prompt)).toContain('<|system|>\n$\n<|user|>\nWhy?$');
  });

  it.each([
    ['chosen equals rejected', { prompt: 'a', chosen: 'b', rejected: 'b' }],
    ['chosen equals rejected', { chosen: conversation, rejected: conversation }],
    [
      'chosen and rejected have different prompts',
      { chosen: conversation, rejected: [say('user', 'How?'), say('assistant', 'So.')] },
    ],
    ['chosen and rejected have different prompts', { prompt: 'What?', chosen: conversation, rejected: other }],
    ['chosen and rejected have different prompts', { chosen: 'a b', rejected: 'c d' }],
    ['an empty answer', { prompt: 'a', chosen: 'b', rejected: ' ' }],
    ['an empty answer', { chosen: conversation, rejected: [say('user', 'Why?'), say('assistant', '')] }],
  ])('passes over a pair: %s', async (reason, value) => {
    expect(await pairOf(row(value), encoders, options)).toBe(reason);
  });

  it('passes over a pair whose cut takes an answer, or what told the answers apart', async () => {
    const cut = (maxLength: number, rejected: string) =>
      pairOf(row({ prompt: 'a b c', chosen: ' d e f g', rejected }), encoders, { ...options, maxPromptLength: 4, maxLength });
    expect(await cut(4, ' x')).toBe('no room for an answer within max_length');
    expect(await cut(7, ' d e f h')).toBe('chosen equals rejected');
    expect(await cut(7, ' d e')).toMatchObject({ cut: true });
  });

  it('says what a row lacks', async () => {
    await expect(pairOf(row({ prompt: 'a', chosen: 'b' }), encoders, options)).rejects.toThrow(
      'p.jsonl: row 0: expected chosen and rejected (and prompt); it has "prompt", "chosen"',
    );
  });

  it("reads UltraFeedback's Parquet as published", async () => {
    const file = fileURLToPath(new URL('ultrafeedback.parquet', import.meta.url));
    const { examples, dropped } = await loadExamples(localCorpora, [file], (each) => pairOf(each, encoders, options));
    expect(examples).toHaveLength(1);
    expect([text(examples[0].chosen), text(examples[0].rejected)]).toEqual(['Air scatters blue light.$', 'It is paint.$']);
    expect([...dropped]).toEqual([
      ['chosen equals rejected', 1],
      ['chosen and rejected have different prompts', 1],
    ]);
  });
});

describe('truncatePair', () => {
  const ids = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i);
  const limits = { maxLength: 20, maxPromptLength: 8, keep: 'end' } as const;

  it('leaves what fits', () => {
    const whole = { prompt: ids(12), chosen: ids(8), rejected: ids(3) };
    expect(truncatePair(whole, limits)).toBe(whole);
  });

  it('cuts the prompt first, at its beginning or its end', () => {
    const whole = { prompt: ids(12), chosen: ids(9), rejected: ids(3) };
    expect(truncatePair(whole, limits)).toEqual({ ...whole, prompt: ids(8, 4) });
    expect(truncatePair(whole, { ...limits, keep: 'start' })).toEqual({ ...whole, prompt: ids(8) });
  });

  it('then the answers, to what is left beside the longest prompt', () => {
    const whole = { prompt: ids(3), chosen: ids(30), rejected: ids(5) };
    expect(truncatePair(whole, limits)).toEqual({ prompt: ids(3), chosen: ids(12), rejected: ids(5) });
  });
});
