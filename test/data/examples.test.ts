import { describe, expect, it } from 'vitest';
import { batchesInOrder, ExampleSource, loadExamples, planBatches } from '../../src/data/example-source.js';
import { type Example, type ExampleOptions, exampleOf, type RowEncoders, withFields } from '../../src/data/examples.js';
import type { FileRow } from '../../src/data/readers.js';
import { encodeConversation } from '../../src/infer/chat.js';
import { llamaTokenizer } from '../../src/tokenizer/llama.js';
import { memoryCorpora } from './build.js';

const tokenizer = await llamaTokenizer();
const encodersOf = (template?: string): RowEncoders => ({
  tokenizer,
  chat: (messages, answering) => encodeConversation(tokenizer, template, messages, answering),
});
const encoders = encodersOf();
const row = (value: Record<string, unknown>): FileRow => ({ value, file: 'a.jsonl', row: 3 });
const options: ExampleOptions = { prompt: 'auto', loss: 'answers', maxLength: 512 };
const made = async (value: Record<string, unknown>, changes: Partial<ExampleOptions> = {}, own = encoders): Promise<Example> => {
  const found = await exampleOf(row(value), own, { ...options, ...changes });
  if (typeof found === 'string') throw new Error(found);
  return found;
};
const learnedText = ({ tokens, learned }: Example): string => tokenizer.decode(tokens.filter((_, i) => learned[i]));
const say = (role: string, content: string) => ({ role, content });

describe('exampleOf', () => {
  it('learns every answer of a conversation with its end, and nothing else', async () => {
    const messages = [
      say('system', 'Be brief.'),
      say('user', 'One?'),
      say('assistant', 'Uno.'),
      say('user', 'Two?'),
      say('assistant', 'Dos.'),
      say('user', 'Three?'),
    ];
    const { tokens, learned } = await made({ messages });
    const parts: string[] = [];
    for (let i = 0; i < tokens.length; i++) {
      if (learned[i] && !learned[i - 1]) parts.push('');
      if (learned[i]) parts[parts.length - 1] += tokens[i] === tokenizer.eosId ? '$' : tokenizer.decode([tokens[i]]);
    }
    expect(parts).toEqual(['Uno.$', 'Dos.$']);
    // What nobody answers is not kept.
    expect(tokens.at(-1)).toBe(tokenizer.eosId);
  });

  it('reads conversations of OpenAI and of ShareGPT alike', async () => {
    const expected = await made({ messages: [say('system', 'Be brief.'), say('user', 'One?\nTwo?'), say('assistant', 'Uno.')] });
    const parts = ['One?', 'Two?'].map((text) => ({ type: 'text', text }));
    const openai = [{ role: 'developer', content: 'Be brief.' }, { role: 'user', content: parts }, say('assistant', 'Uno.')];
    const sharegpt = [
      { from: 'system', value: 'Be brief.' },
      { from: 'human', value: 'One?\nTwo?' },
      { from: 'gpt', value: 'Uno.' },
    ];
    for (const value of [{ messages: openai }, { conversations: sharegpt }, { messages: null, conversations: sharegpt }])
      expect(await made(value)).toEqual(expected);
  });

  it('leaves out calls of tools, and answers that are labelled as bad', async () => {
    const call = { role: 'assistant', content: null, tool_calls: [{ id: '1' }] };
    const tool = [say('user', 'Rain?'), call, { role: 'tool', content: 'no' }, say('assistant', 'No.')];
    expect(await exampleOf(row({ messages: tool }), encoders, options)).toBe('with calls of tools');
    const kto = { prompt: 'One?', completion: 'Dos.', label: false };
    expect(await exampleOf(row(kto), encoders, options)).toBe('labelled as bad answers');
    expect(learnedText(await made({ ...kto, label: true }))).toBe('Dos.');
  });

  it('learns the completion of a conversation alone, and the output beside a text of all', async () => {
    const prompt = [say('user', 'One?'), say('assistant', 'Uno.'), say('user', 'Two?')];
    const completed = await made({ prompt, completion: [say('assistant', 'Dos.')] });
    expect(learnedText(completed)).toBe('Dos.');
    expect(await made({ prompt, completion: 'Dos.' })).toEqual(completed);
    const alpaca = { instruction: 'One?', input: '', output: 'Uno.' };
    expect(await made({ ...alpaca, text: 'One? Uno.' })).toEqual(await made(alpaca));
  });

  it('puts what an instruction is about behind it', async () => {
    const alpaca = { instruction: 'Translate.', input: 'One', output: 'Uno' };
    expect(await made(alpaca)).toEqual(await made({ messages: [say('user', 'Translate.\n\nOne'), say('assistant', 'Uno')] }));
    const text = await made(alpaca, { prompt: 'text' });
    expect(text).toEqual(await made({ prompt: 'Translate.\n\nOne\n', completion: 'Uno' }, { prompt: 'text' }));
    expect(await made({ ...alpaca, input: null }, { prompt: 'text' })).toEqual(
      await made({ prompt: 'Translate.\n', completion: 'Uno' }, { prompt: 'text' }),
    );
  });

  it('learns all of a conversation whose template drops the thoughts of earlier turns', async () => {
    const template =
      "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] if loop.last else m['content'].split('|')[-1] }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    const messages = [say('user', 'One?'), say('assistant', 'hm|Uno.'), say('user', 'Two?'), say('assistant', 'hm|Dos.')];
    const thinking = encodersOf(template);
    await expect(made({ messages }, {}, thinking)).rejects.toThrow(
      'told apart: take data.loss all, or another data.chat_template',
    );
    const { tokens, learned } = await made({ messages }, { loss: 'all' }, thinking);
    expect(learned.filter((one) => !one)).toHaveLength(1);
    expect(tokenizer.decode(tokens).replaceAll(' ', '')).toBe('[user]One?[assistant]Uno.[user]Two?[assistant]hm|Dos.');
  });

  it('finds fields by the names that a row has for them', async () => {
    const given = row({ question: 'One?', answer: 'Uno.' });
    const named = withFields(given, { prompt: 'question', completion: 'answer', text: 'nothing' });
    expect(await exampleOf(named, encoders, options)).toEqual(await made({ prompt: 'One?', completion: 'Uno.' }));
  });

  it('teaches to stop where the template has no end of its own', async () => {
    const template =
      "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    const example = await made({ messages: [say('user', 'Hi'), say('assistant', 'Hello')] }, {}, encodersOf(template));
    expect(example.tokens.at(-1)).toBe(tokenizer.eosId);
    expect(learnedText(example)).toBe('Hello\n');
  });

  it.each([
    ['a template that writes it', '{{ bos_token }}'],
    ['a template that does not', ''],
  ])('puts one BOS in front: %s', async (_, bos) => {
    const template = `${bos}{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}`;
    const { tokens } = await made({ instruction: 'Do <s> it', output: 'Done <s>' }, {}, encodersOf(template));
    expect(tokens[0]).toBe(tokenizer.bosId);
    expect(tokens.filter((id) => id === tokenizer.bosId)).toHaveLength(1);
  });

  it('takes prompt and completion as they are, with one BOS and an EOS', async () => {
    const example = await made({ prompt: '<s>Two plus two is', completion: ' four.' });
    expect([...example.tokens]).toEqual(tokenizer.encode('<s>Two plus two is four.', { bos: true, eos: true }));
    expect(example.tokens.filter((id) => id === tokenizer.bosId)).toHaveLength(1);
    expect(learnedText(example)).toBe('four.');
  });

  it('learns a token that begins in the prompt and ends in the answer', async () => {
    const example = await made({ prompt: 'under', completion: 'standing' });
    expect([...example.tokens]).toEqual(tokenizer.encode('understanding', { bos: true, eos: true }));
    expect(example.learned.indexOf(1)).toBeGreaterThan(0);
  });

  it('has the prompt of commonsense_170k to the byte', async () => {
    const value = { instruction: 'True or false?', input: '', output: 'the correct answer is true' };
    const example = await made(value, { prompt: 'commonsense' });
    const space = ' '.repeat(16);
    expect(tokenizer.decode(example.tokens)).toBe(
      `Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n${space}### Instruction:\n${space}True or false?\n${space}\n${space}### Response:\n${space}the correct answer is true`,
    );
    expect(learnedText(example).trim()).toBe('the correct answer is true');
    expect((await made(value, { prompt: 'commonsense', loss: 'all' })).learned.filter((one) => !one)).toHaveLength(1);
  });

  it("repairs plain texts as CoreNet's recipe does, where that is asked for", async () => {
    const value = { instruction: 'It\u2019s voil\u00c3\u00a0?', output: 'the \u201canswer\u201d is &lt;' };
    const example = await made(value, { prompt: 'commonsense', normalization: 'ftfy' });
    expect(tokenizer.decode(example.tokens)).toMatch(/ It's voilà\?\n[\s\S]* the "answer" is <$/);
    expect(learnedText(example).trim()).toBe('the "answer" is <');
    expect(tokenizer.decode((await made(value, { prompt: 'commonsense' })).tokens)).toContain(value.output);
  });

  it('cuts at the longest length, and says when nothing is left to learn', async () => {
    const value = { prompt: 'a b c d e f g h', completion: ' i j k' };
    expect((await made(value, { maxLength: 10 })).tokens).toHaveLength(10);
    expect(await exampleOf(row(value), encoders, { ...options, maxLength: 5 })).toBe('nothing to learn within max_length');
    expect(await exampleOf(row({ prompt: 'a', completion: ' ' }), encoders, options)).toBe('an empty answer');
  });

  it.each([
    [
      { question: 'a', answer: 'b' },
      'a.jsonl: row 3: expected messages (or conversations), prompt and completion, instruction and output, or text; it has "question", "answer"',
    ],
    [{ messages: 'hello' }, '"messages" is of type string, expected a list of {role, content}'],
    [{ messages: ['hello'] }, '"messages": message 1 is of type string, expected {role, content}'],
    [{ messages: [{ content: 'x' }] }, '"messages": message 1 has no role'],
    [{ messages: 7 }, 'a.jsonl: row 3: "messages" is of type number, expected a list of {role, content}'],
    [{ messages: [{ role: 'bot', content: 'x' }] }, 'message 1 has the role "bot"'],
    [{ messages: [{ role: 'user' }] }, 'message 1 (user) has no text'],
    [{ prompt: 'a', completion: null }, '"completion" is null, expected text'],
  ])('says what is wrong with %j', async (value, message) => {
    const found = await exampleOf(row(value), encoders, options).catch((error: Error) => error.message);
    expect(found).toContain(message);
  });
});

describe('loadExamples', () => {
  it('reads JSON lines and lists, counts what it drops, and errs when nothing is left', async () => {
    const lines = `${JSON.stringify({ instruction: 'a', output: 'b' })}\n${JSON.stringify({ instruction: 'a', output: '' })}\n`;
    const corpora = memoryCorpora({
      'a.jsonl': lines,
      'b.json': ` [${JSON.stringify({ text: 'c d' })}]`,
      'c.json': '[]',
      'd.json': '[3]',
    });
    const make = (each: FileRow) => exampleOf(each, encoders, options);
    const { examples, rows, dropped } = await loadExamples(corpora, ['a.jsonl', 'b.json'], make);
    expect(examples.map(({ document }) => document)).toEqual(['a.jsonl:0', 'b.json:0']);
    expect([rows, [...dropped]]).toEqual([3, [['an empty answer', 1]]]);
    await expect(loadExamples(corpora, ['c.json'], make)).rejects.toThrow('c.json: nothing to learn from in 0 rows');
    await expect(loadExamples(corpora, ['d.json'], make)).rejects.toThrow('d.json: row 0: expected an object, found "3"');
  });
});

describe('ExampleSource', () => {
  const examples = [3, 5, 2, 4, 4, 1, 6].map((rows, i) => ({ rows, document: `d${i}` }));
  const settings = { batchSize: 3, maxRows: 8, rowsOf: ({ rows }: (typeof examples)[number]) => rows, shuffle: true, seed: 5 };
  const collate = (some: readonly (typeof examples)[number][]) => some.map(({ document }) => document);

  it('gives each example once an epoch, in batches within both limits, in another order each time', async () => {
    const source = new ExampleSource(examples, settings, collate);
    const epochs: string[][] = [];
    for (let epoch = 0; epoch < 2; epoch++) {
      const seen: string[] = [];
      while (seen.length < examples.length) {
        const { batch, tokens } = await source.next();
        expect(batch.length).toBeLessThanOrEqual(3);
        expect(tokens).toBeLessThanOrEqual(8);
        seen.push(...batch);
      }
      expect([...seen].sort()).toEqual(examples.map(({ document }) => document));
      epochs.push(seen);
    }
    expect(epochs[0]).not.toEqual(epochs[1]);
  });

  it('fills a batch up to its limits, and gives what alone is past them alone', () => {
    const batches = (limits: object) => [
      ...batchesInOrder(examples, { ...settings, ...limits }, (some) => some.map(({ rows }) => rows)),
    ];
    expect(batches({})).toEqual([[3, 5], [2, 4], [4, 1], [6]]);
    expect(batches({ batchSize: 2, maxRows: 5 })).toEqual([[3], [5], [2], [4], [4, 1], [6]]);
  });

  it('goes on from any state with the same batches, and counts them beforehand', async () => {
    const source = new ExampleSource(examples, settings, collate);
    const { batches, mostExamples, mostRows } = planBatches(examples, settings, { epochs: 3 });
    expect(planBatches(examples, settings, { epochs: 1, batches: batches - 1 })).toEqual({ batches, mostExamples, mostRows });
    let [examplesSeen, rowsSeen] = [0, 0];
    for (let i = 0; i < batches; i++) {
      const resumed = new ExampleSource(examples, settings, collate, JSON.parse(JSON.stringify(source.state())));
      const { batch, tokens } = await source.next();
      expect(await resumed.next()).toMatchObject({ batch, tokens });
      examplesSeen = Math.max(examplesSeen, batch.length);
      rowsSeen = Math.max(rowsSeen, tokens);
    }
    expect([mostExamples, mostRows]).toEqual([examplesSeen, rowsSeen]);
    expect(source.state()).toEqual({ epoch: 2, next: examples.length });
    expect([...batchesInOrder(examples, settings, collate)].flat()).toEqual(examples.map(({ document }) => document));
  });
});
