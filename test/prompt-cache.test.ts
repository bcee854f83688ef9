// Prompt caches: the same ids with and without, what is reused, and what is made of files that are absent, cut, changed, of another
// model, or something else altogether.

import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type LoadOptions, load, type Model } from '../src/index.js';
import { run } from './app/terminal.js';
import { temporaryFolder } from './temporary.js';

const prompt = 'Once upon a time there was a little girl who lived with her mother near a dark wood. One day';
const notices: string[] = [];
const folder = temporaryFolder();
let file: string;
let model: Model;
const open = (options: LoadOptions = {}): Promise<Model> =>
  load(undefined, { ...options, slots: 1, onNotice: (text) => notices.push(text) });

beforeAll(async () => {
  model = await open();
});
beforeEach(() => {
  notices.length = 0;
});
afterAll(async () => {
  await model.dispose();
});

const options = { maxTokens: 12, temperature: 0.8, seed: 5 };
let number = 0;
const fresh = (): string => join(folder, `${number++}.cache`);

/** A cache as a new process would find it, of the prompt. */
async function written(): Promise<string> {
  const own = fresh();
  await using first = await open();
  await first.complete(prompt, { ...options, promptCache: own });
  return own;
}

describe('a prompt cache', () => {
  it('spares the prompt in another process, and changes no id', async () => {
    const plain = await model.complete(prompt, options);
    file = await written();
    expect(notices).toEqual([]);
    const before = await stat(file);
    await using again = await open();
    const result = await again.complete(prompt, { ...options, promptCache: file });
    expect(result.ids).toEqual(plain.ids);
    expect(result.timings.reusedTokens).toBe(plain.promptIds.length - 1);
    // What goes on differently shares the beginning; the file is kept.
    await using third = await open();
    const other = `${prompt} a wolf came`;
    const shared = await third.complete(other, { ...options, promptCache: file });
    expect(shared.timings.reusedTokens).toBeGreaterThan(plain.promptIds.length - 3);
    expect(shared.ids).toEqual((await model.complete(other, options)).ids);
    expect((await stat(file)).mtimeMs).toBe(before.mtimeMs);
    expect(notices).toEqual([]);
  });

  it('keeps an 8-bit cache, in about half the bytes, and is told from one in f16', async () => {
    const own = fresh();
    const coded = { cacheType: 'q8' } as const;
    await using first = await open(coded);
    const { ids } = await first.complete(prompt, { ...options, promptCache: own });
    await using second = await open(coded);
    const again = await second.complete(prompt, { ...options, promptCache: own });
    expect(again.ids).toEqual(ids);
    expect(again.timings.reusedTokens).toBe(again.promptIds.length - 1);
    expect((await stat(own)).size).toBeLessThan(0.6 * (await stat(await written())).size);
    expect(notices).toEqual([]);
    await using third = await open();
    expect((await third.complete(prompt, { ...options, promptCache: own })).timings.reusedTokens).toBe(0);
    expect(notices).toEqual([expect.stringMatching(/it was made with f16 weights, q8 cache; it is written anew$/)]);
  });

  it('is written anew where most of a prompt is not in it', async () => {
    const own = await written();
    const before = await readFile(own);
    const other = 'The king of that country had three sons, and the youngest of them was called Hans.';
    await using second = await open();
    expect((await second.complete(other, { ...options, promptCache: own })).timings.reusedTokens).toBe(0);
    expect(Buffer.compare(before, await readFile(own))).not.toBe(0);
    expect(notices).toEqual([]);
  });

  it('is not used but written anew when it is damaged or of something else', async () => {
    const own = await written();
    const whole = await readFile(own);
    const plain = await model.complete(prompt, options);
    const use = async (said: RegExp | undefined, opened: LoadOptions = {}): Promise<void> => {
      notices.length = 0;
      await using second = await open(opened);
      const result = await second.complete(prompt, { ...options, promptCache: own });
      if (Object.keys(opened).length === 0) expect(result.ids).toEqual(plain.ids);
      expect(notices).toEqual(said ? [expect.stringMatching(said)] : []);
      if (said) expect(result.timings.reusedTokens).toBe(0);
      expect(existsSync(own)).toBe(true);
    };
    const changed = Buffer.from(whole);
    changed[whole.length - 1000] ^= 1;
    for (const bytes of [
      changed,
      whole.subarray(0, whole.length - 7),
      whole.subarray(0, 30),
      Buffer.concat([whole, Buffer.of(0)]),
    ]) {
      await writeFile(own, bytes);
      await use(/^.*\.cache: it is damaged \(.*\); it is written anew$/);
    }
    await use(undefined);
    await use(/it was made with f16 weights, f16 cache; it is written anew$/, { dtype: 'q8' });
    await use(/it was made with q8 \(int8 activations\) weights, f16 cache;/, { cacheType: 'f32', dtype: 'f16' });
    await writeFile(own, '');
    await use(undefined);
  });

  it('is told from other files, which are left as they are', async () => {
    const own = fresh();
    await writeFile(own, 'a text of mine');
    await expect(model.complete(prompt, { promptCache: own })).rejects.toThrow(
      'no prompt cache but something else, which is left as it is: name another file',
    );
    expect(await readFile(own, 'utf8')).toBe('a text of mine');
    await expect(model.complete(prompt, { promptCache: join(own, 'x') })).rejects.toThrow('something of that name is in the way');
    await expect(model.complete(prompt, { promptCache: 7 as never })).rejects.toThrow('promptCache is 7; expected a text');
  });

  it('serves run and chat', async () => {
    const own = fresh();
    const args = ['run', prompt, '-n', '8', '--prompt-cache', own, '--verbose'];
    const [first, second] = [await run(args), await run(args)];
    expect(second.stdout).toBe(first.stdout);
    expect(first.stderr).not.toContain('known');
    expect(second.stderr).toMatch(/^prompt +(\d+) tokens \((\d+) of them known\)/m);
    const chat = [
      'chat',
      '--system',
      'You tell stories to children, and all of them end well.',
      '--prompt-cache',
      fresh(),
      '-n',
      '8',
      '-t',
      '0',
    ];
    expect(await run(chat, { stdin: 'A wolf.\nA bear.\n' })).toEqual(await run(chat, { stdin: 'A wolf.\nA bear.\n' }));
    expect(existsSync(chat[4])).toBe(true);
  });
});
