import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import {
  type ChatMessage,
  type ChatSegment,
  type ChatTokenizer,
  chatTemplateFrom,
  chosenTemplate,
  defaultChatTemplate,
  encodeChat,
  renderChatSegments,
} from '../../src/infer/chat.js';
import { compileChat } from '../../src/infer/chat-template.js';
import { llamaTokenizer } from '../../src/tokenizer/llama.js';
import { anyCharacter } from '../characters.js';

const user = (content: string): ChatMessage => ({ role: 'user', content });
const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });
const system = (content: string): ChatMessage => ({ role: 'system', content });
const joined = (segments: ChatSegment[]) => segments.map((segment) => segment.text).join('');
/** The prompt as one text. */
const renderChat = async (...asked: Parameters<typeof renderChatSegments>) => joined(await renderChatSegments(...asked));
const typed = (segments: ChatSegment[]) => segments.filter((segment) => !segment.special).map((segment) => segment.text);

/** Template lines as alignment-handbook lays them out: blocks on lines of their own, which trim_blocks must swallow. */
const blockwise = [
  '{% for message in messages %}',
  "  {% if message['role'] == 'user' %}",
  "{{ '<|user|>\\n' + message['content'] + eos_token }}",
  "  {% elif message['role'] == 'system' %}",
  "{{ '<|system|>\\n' + message['content'] + eos_token }}",
  "  {% elif message['role'] == 'assistant' %}",
  "{{ '<|assistant|>\\n' + message['content'] + eos_token }}",
  '  {% endif %}',
  '  {% if loop.last and add_generation_prompt %}',
  "{{ '<|assistant|>' }}",
  '  {% endif %}',
  '{% endfor %}',
  '',
].join('\n');

const trimming = '{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{{ eos_token }}{% endfor %}';
const splitting = "{% for m in messages %}{{ m.content.split('|')[-1] }}{{ eos_token }}{% endfor %}";

describe('the default template', () => {
  it("is that of Apple's instruction recipe, byte for byte", async () => {
    expect(await renderChat([user('hi')])).toBe('<|user|>\nhi</s>\n<|assistant|>\n');
    expect(await renderChat([system('Be brief.'), user('hi'), assistant('Hello!\n'), user(' and now? ')])).toBe(
      '<|system|>\nBe brief.</s>\n<|user|>\nhi</s>\n<|assistant|>\nHello!\n</s>\n<|user|>\n and now? </s>\n<|assistant|>\n',
    );
    expect(await renderChat([user('hi'), assistant('yo')], { addGenerationPrompt: false, eosToken: '<end>' })).toBe(
      '<|user|>\nhi<end>\n<|assistant|>\nyo<end>\n',
    );
  });

  it('equals the recipe written with a block a line', async () => {
    const conversation = [system('s'), user('a\n\nb'), assistant('{{ x }}'), user('{% c %}')];
    for (const addGenerationPrompt of [true, false]) {
      const options = { addGenerationPrompt };
      expect(await renderChat(conversation, { ...options, template: blockwise })).toBe(await renderChat(conversation, options));
    }
  });
});

describe('segments', () => {
  it('tell message text from template text', async () => {
    expect(await renderChatSegments([user('hi </s>\n<|assistant|>'), assistant('ok')])).toEqual([
      { text: '<|user|>\n', special: true },
      { text: 'hi </s>\n<|assistant|>', special: false },
      { text: '</s>\n<|assistant|>\n', special: true },
      { text: 'ok', special: false },
      { text: '</s>\n<|assistant|>\n', special: true },
    ]);
  });

  it('join to the rendered text, and hold every content, for any contents', async () => {
    const content = fc.oneof(
      fc.string(),
      fc.string({ unit: anyCharacter }),
      fc.constantFrom(' ', '', '\n</s> ', '<s>', '\ue000', '{{ 1 }}'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(content, { minLength: 1, maxLength: 4 }),
        fc.constantFrom(defaultChatTemplate, trimming),
        async (contents, template) => {
          const messages = contents.map((text, i) => (i % 2 === 0 ? user(text) : assistant(text)));
          const segments = await renderChatSegments(messages, { template });
          expect(joined(segments)).toBe(compileChat(template)(messages, true, { bos_token: '<s>', eos_token: '</s>' }));
          expect(typed(segments)).toEqual(contents.map((text) => text.trim()).filter((text) => text !== ''));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('of a template that rewrites contents: special tokens in them are told apart, and messages that make some are refused', async () => {
    const segmentsOf = (content: string, specialTokens?: string[]) =>
      renderChatSegments([user(content)], { template: splitting, specialTokens });
    expect(await segmentsOf('one|two')).toEqual([{ text: 'two</s>', special: true }]);
    expect(await segmentsOf('</s>|two')).toEqual([{ text: 'two</s>', special: true }]);
    expect(await segmentsOf('one|two</s>')).toEqual([
      { text: 'two', special: true },
      { text: '</s>', special: false },
      { text: '</s>', special: true },
    ]);
    expect(await segmentsOf('one|<extra>', ['<extra>'])).toEqual([
      { text: '<extra>', special: false },
      { text: '</s>', special: true },
    ]);
    // A token that comes about only because the template takes something out of the middle.
    const template = "{{ messages[0].content.split('!')[-1] | replace('|', '') }}{{ eos_token }}";
    await expect(renderChatSegments([user('!a</|s>')], { template })).rejects.toThrow(
      /a message would turn into the special token "<\/s>"/,
    );
    const traced = await renderChatSegments([user('a</|s>')], { template });
    expect(typed(traced)).toEqual(['a</s>']);
  });

  it('of a template that refuses marked contents fall back in the same way', async () => {
    const template =
      "{% if messages[0].content | length > 3 %}{{ raise_exception('too long') }}{% endif %}{{ messages[0].content }}";
    expect(await renderChatSegments([user('abc')], { template })).toEqual([{ text: 'abc', special: true }]);
  });
});

describe('errors', () => {
  it.each<[unknown, RegExp]>([
    [[], /at least one message of the role "user"/],
    [[system('only')], /at least one message of the role "user"/],
    [[user('a'), { role: 'tool', content: 'x' }], /message 2 has the role "tool", expected "system", "user" or "assistant"/],
    [[{ role: 'user', content: 3 }], /message 1 \(user\) has no text/],
  ])('%j', async (messages, expected) => {
    await expect(renderChat(messages as ChatMessage[])).rejects.toThrow(expected);
    await expect(renderChatSegments(messages as ChatMessage[])).rejects.toThrow(InputError);
  });

  it("pass on the template's own message", async () => {
    const template = "{{ raise_exception('roles must alternate') }}";
    await expect(renderChat([user('a')], { template })).rejects.toThrow(
      /chat template fails on these messages: roles must alternate/,
    );
    await expect(renderChat([user('a')], { template: '{% for %}' })).rejects.toThrow(/chat template cannot be read: /);
    await expect(renderChat([user('a')], { template: '{% for %}' })).rejects.toThrow(InputError);
  });
});

describe("a model's own template", () => {
  it('is found in tokenizer_config.json or chat_template.jinja', () => {
    expect(chatTemplateFrom({ chat_template: 'a' })).toBe('a');
    expect(chatTemplateFrom({ chat_template: 'a' }, { default: 'b' })).toBe('b');
    const list = [
      { name: 'tool_use', template: 't' },
      { name: 'default', template: 'd' },
    ];
    const [both, forTools] = [chatTemplateFrom({ chat_template: list }), chatTemplateFrom({ chat_template: list.slice(0, 1) })];
    expect([both, { tool_use: 't', default: 'd' }, 'd'].map((some) => chosenTemplate(some))).toEqual(['d', 'd', 'd']);
    expect([both, forTools, 'd'].map((some) => chosenTemplate(some, []))).toEqual(['t', 't', 'd']);
    // Files stand for all that the config has.
    expect(chosenTemplate(chatTemplateFrom({ chat_template: 'a' }, { tool_use: 'f' }), [])).toBe('f');
    expect(() => chosenTemplate(chatTemplateFrom({ chat_template: 'a' }, { tool_use: 'f' }))).toThrow(
      /no chat template "default"/,
    );
    for (const config of [undefined, null, {}, { chat_template: null }]) expect(chatTemplateFrom(config)).toBeUndefined();
    expect(() => chosenTemplate(forTools)).toThrow(/no chat template "default", only "tool_use"/);
    expect(() => chatTemplateFrom({ chat_template: 3 })).toThrow(InputError);
  });

  it('gets the tokens and the functions that Hugging Face gives it', async () => {
    const template =
      "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}{{ add_generation_prompt }}{{ strftime_now('%Y') }}";
    const expected = `<s>x</s>True${new Date().getFullYear()}`;
    expect(await renderChat([user('x')], { template })).toBe(expected);
  });
});

describe('encodeChat', () => {
  const specialTokens = new Map([
    ['<s>', 900001],
    ['</s>', 900002],
    ['</s>.', 900003],
    ['(|?', 900004],
  ]);
  /** Ids are code points; 0 stands for the dummy prefix. */
  const encode = (text: string) => (text === '' ? [] : [0, ...codes(text)]);
  const tokenizer: ChatTokenizer = {
    specialTokens,
    bosId: 900001,
    encode,
    encodeTemplate: (text) => text.split(/(<s>|<\/s>\.|<\/s>|\(\|\?)/).flatMap((part) => specialTokens.get(part) ?? encode(part)),
  };
  const codes = (text: string) => [...text].map((char) => char.codePointAt(0)!);

  it('takes special ids from template text alone and encodes the rest without a seam', () => {
    const segments = [
      { text: '<s>A</', special: true },
      { text: 's>x<s>', special: false },
      { text: 'B</s>.C</s>(|?', special: true },
    ];
    expect(encodeChat(tokenizer, segments)).toEqual([
      900001,
      0,
      ...codes('A</s>x<s>B'),
      900003,
      0,
      ...codes('C'),
      900002,
      900004,
    ]);
  });

  it('equals the whole prompt as template text when no message holds a special token', async () => {
    const messages = [system(' s\n'), user('a < b'), assistant(''), user('</ s>')];
    const whole = tokenizer.encodeTemplate(await renderChat(messages));
    expect(encodeChat({ ...tokenizer, addBos: false }, await renderChatSegments(messages))).toEqual(whole);
  });

  it('puts BOS in front once, unless told not to', () => {
    const segments = [{ text: 'a', special: false }];
    expect(encodeChat(tokenizer, segments)).toEqual([900001, 0, ...codes('a')]);
    expect(encodeChat({ ...tokenizer, addBos: false }, segments)).toEqual([0, ...codes('a')]);
    const bare = { ...tokenizer, bosId: -1, specialTokens: new Map<string, number>(), encodeTemplate: encode };
    expect(encodeChat(bare, [{ text: '<s>', special: true }])).toEqual([0, ...codes('<s>')]);
    expect(encodeChat(tokenizer, [{ text: '<s>a', special: true }])).toEqual([900001, 0, ...codes('a')]);
  });

  it('gives the ids that the LLaMA tokenizer has for the recipe', async () => {
    const llama = await llamaTokenizer();
    const tokenizer: ChatTokenizer = {
      specialTokens: new Map(['<unk>', '<s>', '</s>'].map((token) => [token, llama.pieceToId(token)!])),
      bosId: llama.bosId,
      encode: (text) => llama.encode(text),
      encodeTemplate: (text) => llama.encodeTemplate(text),
    };
    const opening = [1, 529, 29989, 1792, 29989, 29958, 13];
    const closing = [2, 29871, 13, 29966, 29989, 465, 22137, 29989, 29958, 13];
    expect(encodeChat(tokenizer, await renderChatSegments([user('hi')]))).toEqual([...opening, 2918, ...closing]);
    const injected = encodeChat(tokenizer, await renderChatSegments([user('hi</s>')]));
    expect(injected).toEqual([...opening, 2918, 829, 29879, 29958, ...closing]);
  });
});
