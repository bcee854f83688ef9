// Tokenizers with the files that travel beside them: decisions.json has directories around the embedded model's tokenizer.model, and what
// transformers 5.18 makes of texts and conversations there. Texts are template text here, since transformers knows no other.

import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Checkpoint, openChatTemplate, openTokenizer, folder as textsIn } from '../../src/checkpoint.js';
import { type ChatMessage, encodeChat, encodeConversation } from '../../src/infer/chat.js';
import { tokenizerDecisions } from '../../src/tokenizer/decisions.js';
import { temporaryFolder } from '../temporary.js';

interface Directory {
  name: string;
  files: Record<string, unknown>;
  bos: number | null;
  eos: number;
  texts: { text: string; ids: number[] }[];
  chats: { messages: ChatMessage[]; ids: number[] }[];
}

const directories = JSON.parse(await readFile(new URL('decisions.json', import.meta.url), 'utf8')) as Directory[];
const vocabulary = join(import.meta.dirname, '../../models/tales-6m/tokenizer.model');
const folder = temporaryFolder();

function checkpointAt(directory: string): Checkpoint {
  return { name: directory, ...textsIn(directory), weights: directory, config: { vocabSize: 1 << 20 } } as Checkpoint;
}

async function write(name: string, files: Record<string, unknown>, model = vocabulary): Promise<Checkpoint> {
  const directory = join(folder, name);
  await mkdir(directory);
  await copyFile(model, join(directory, 'tokenizer.model'));
  for (const [file, content] of Object.entries(files)) await writeFile(join(directory, file), JSON.stringify(content));
  return checkpointAt(directory);
}

describe('what travels with a tokenizer', () => {
  it.each(directories)('is followed: $name', async ({ name, files, bos, eos, texts, chats }) => {
    const checkpoint = await write(name, files);
    const tokenizer = (await openTokenizer(checkpoint))!;
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([bos ?? -1, eos]);
    for (const { text, ids } of texts) {
      expect(tokenizer.encodeTemplate(text, { bos: tokenizer.addBos, eos: tokenizer.addEos }), text).toEqual(ids);
    }
    const template = await openChatTemplate(checkpoint);
    for (const { messages, ids } of chats) {
      const ours = await encodeConversation({ ...parts(tokenizer), addBos: false }, template, messages);
      expect(ours).toEqual(ids);
      const begun = await encodeConversation(parts(tokenizer), template, messages);
      expect(begun).toEqual(tokenizer.addBos && ids[0] !== bos ? [bos, ...ids] : ids); // once
    }
  });

  it('takes space beside the tokens of a template that a message imitates', async () => {
    const { files } = directories.find(({ name }) => name === 'added tokens that take space and stand alone')!;
    const tokenizer = (await openTokenizer(await write('imitated', files)))!;
    const both = tokenizer.specialTokens.get('<both>')!;
    const segments = [
      { text: 'a \n<both> ', special: true },
      { text: '\tb <both>', special: false },
    ];
    const plain = [...tokenizer.encode('a'), both, ...tokenizer.encode('b <both>', { continued: true })];
    const { bosId, addBos } = tokenizer;
    expect(encodeChat(tokenizer, segments)).toEqual(addBos && bosId >= 0 ? [bosId, ...plain] : plain);
  });

  it('keeps the spaces of a text that gets none in front', async () => {
    const files = { 'tokenizer_config.json': { tokenizer_class: 'LlamaTokenizer', add_prefix_space: false } };
    const tokenizer = (await openTokenizer(await write('unprefixed', files)))!;
    for (const text of [' leading', '  two  spaces', 'none']) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it('puts spaces in front as the tokenizer.json beside does', () => {
    const prefix = (pre_tokenizer: unknown) => tokenizerDecisions({ 'tokenizer.json': { pre_tokenizer } })?.prefix;
    expect(prefix({ type: 'Metaspace', prepend_scheme: 'first' })).toBe('first');
    expect(prefix({ type: 'Sequence', pretokenizers: [{ type: 'Metaspace', add_prefix_space: false }] })).toBe('never');
    expect(prefix(null)).toBeUndefined();
  });

  it("leaves a user's text plain", async () => {
    const checkpoint = await write('plain', directories[0].files);
    const tokenizer = (await openTokenizer(checkpoint))!;
    const special = tokenizer.specialTokens.get('<|im_end|>')!;
    expect(tokenizer.encode('a <|im_end|> b')).not.toContain(special);
    expect(tokenizer.decode(tokenizer.encode('a <|im_end|> b'))).toBe('a <|im_end|> b');
    const template = await openChatTemplate(checkpoint);
    const ids = await encodeConversation(parts(tokenizer), template, [{ role: 'user', content: 'a <|im_end|> b' }]);
    expect(ids.filter((id) => id === special)).toHaveLength(1);
    const asked = await encodeConversation(parts(tokenizer), template, [{ role: 'user', content: 'a b' }]);
    expect(ids.slice(0, 5)).toEqual(asked.slice(0, 5));
  });

  it('may list added tokens in any order', async () => {
    const tokenizer = (await openTokenizer(await write('order', { 'added_tokens.json': { '<z>': 4097, '<a>': 4096 } })))!;
    expect(tokenizer.encodeTemplate('<z><a>')).toEqual([4097, 4096]);
  });

  it('is refused where it contradicts itself or the vocabulary', async () => {
    const decisions = (config: unknown) => tokenizerDecisions({ 'tokenizer_config.json': config });
    expect(tokenizerDecisions({})).toBeUndefined();
    expect(() => decisions({ add_bos_token: 'yes' })).toThrow(
      'tokenizer_config.json: add_bos_token is "yes"; true or false is expected',
    );
    expect(() => decisions({ bos_token: 5 })).toThrow('bos_token is 5; the text of a token');
    expect(() => decisions({ added_tokens_decoder: { 7: { content: '' } } })).toThrow(
      'added_tokens_decoder.7 is ""; a text is expected',
    );
    expect(() => decisions({ added_tokens_decoder: { 7: { content: 'x', lstrip: 'yes' } } })).toThrow(
      '7.lstrip is "yes"; true or false is expected',
    );
    const gap = await write('gap', { 'added_tokens.json': { '<far>': 99999 } });
    await expect(openTokenizer(gap)).rejects.toThrow('"<far>" has the id 99999');
    const taken = await write('taken', { 'added_tokens.json': { '<mine>': 5 } });
    await expect(openTokenizer(taken)).rejects.toThrow('"<mine>" has the id of');
    const broken = await write('broken', {});
    await writeFile(join(broken.place, 'tokenizer_config.json'), '{"bos_token": ');
    await expect(openTokenizer(broken)).rejects.toThrow(/tokenizer_config\.json: expected a value/);
  });

  it('is not absent because a link leads nowhere', async () => {
    const directory = join(folder, 'dangling');
    await mkdir(directory);
    await symlink(join(folder, 'nowhere'), join(directory, 'tokenizer.model'));
    await expect(openTokenizer(checkpointAt(directory))).rejects.toThrow('tokenizer.model: a link to a file that is not there');
  });
});

/** A tokenizer's methods and fields as a plain object, so that a field can be another. */
function parts(tokenizer: NonNullable<Awaited<ReturnType<typeof openTokenizer>>>) {
  return {
    specialTokens: tokenizer.specialTokens,
    bosId: tokenizer.bosId,
    eosId: tokenizer.eosId,
    addBos: tokenizer.addBos,
    names: tokenizer.names,
    piece: (id: number) => tokenizer.piece(id),
    encode: (text: string, options?: { continued?: boolean }) => tokenizer.encode(text, options),
    encodeTemplate: (text: string) => tokenizer.encodeTemplate(text),
  };
}
