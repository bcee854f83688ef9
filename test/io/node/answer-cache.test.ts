// The file of answers: what was flushed is there again, whatever a killed process left at its end; and the hash that names a model.

import { appendFileSync, cpSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../../src/errors.js';
import { modelHash, openEvalCache } from '../../../src/io/node/answer-cache.js';
import { temporaryFolder } from '../../temporary.js';

const temporary = temporaryFolder();

describe('evaluation cache', () => {
  it('finds again what was stored', async () => {
    const path = join(temporary, 'deep/er/cache.jsonl');
    const store = await openEvalCache(path);
    expect(store.loaded).toBe(0);
    store.set('a long prompt', { logprob: -1.5, greedy: true });
    store.set('line\nbreak', 'te\nxt');
    expect(store.get('a long prompt')).toEqual({ logprob: -1.5, greedy: true });
    await store.flush();
    expect(readFileSync(path, 'utf8').split('\n').length).toBe(3);
    store.set('late', -0.25);
    store.set('a long prompt', 7);
    await store.close();
    const again = await openEvalCache(path);
    expect(again.loaded).toBe(3);
    expect(['a long prompt', 'line\nbreak', 'late', 'other'].map((key) => again.get(key))).toEqual([
      7,
      'te\nxt',
      -0.25,
      undefined,
    ]);
    await again.close();
  });

  it('passes over a line cut short at any byte and goes on after it', async () => {
    const path = join(temporary, 'cut.jsonl');
    const store = await openEvalCache(path);
    store.set('one', 1);
    await store.flush();
    const first = readFileSync(path).length;
    store.set('two', { logprob: -2, greedy: false });
    await store.close();
    const whole = readFileSync(path);
    for (let length = first; length < whole.length; length++) {
      writeFileSync(path, whole);
      truncateSync(path, length);
      const cut = await openEvalCache(path);
      expect(cut.get('one')).toBe(1);
      cut.set('three', 3);
      await cut.close();
      const after = await openEvalCache(path);
      expect([after.get('one'), after.get('three')]).toEqual([1, 3]);
      await after.close();
    }
  });

  it('notices a flipped bit anywhere, and says which line has it', async () => {
    const path = join(temporary, 'flipped.jsonl');
    const store = await openEvalCache(path);
    for (const key of ['one', 'two', 'three']) store.set(key, { logprob: -12.75, greedy: true });
    await store.close();
    const whole = readFileSync(path);
    const [first, second] = [whole.indexOf(10), whole.indexOf(10, whole.indexOf(10) + 1)];
    for (let at = first + 1; at < second; at++) {
      for (const bit of [1, 4, 32, 128]) {
        const bytes = Buffer.from(whole);
        bytes[at] ^= bit;
        writeFileSync(path, bytes);
        const { damaged, get, close } = await openEvalCache(path);
        expect(damaged.first).toBe(2);
        expect([get('one'), get('two'), get('three')]).toEqual([get('one'), undefined, get('one')]);
        await close();
      }
    }
  });

  it('shares a file with another process and ignores foreign lines', async () => {
    const path = join(temporary, 'shared.jsonl');
    const [a, b] = [await openEvalCache(path), await openEvalCache(path)];
    a.set('a', 1);
    b.set('b', 2);
    await a.close();
    await b.close();
    appendFileSync(path, 'nonsense\n{"key":1}\n[1,2]\n["too","many","parts"]\n');
    const both = await openEvalCache(path);
    expect([both.loaded, both.get('a'), both.get('b')]).toEqual([2, 1, 2]);
    await both.close();
  });

  it('says when the place cannot be used', async () => {
    await expect(openEvalCache(temporary)).rejects.toThrow(InputError);
    writeFileSync(join(temporary, 'file'), '');
    await expect(openEvalCache(join(temporary, 'file', 'cache.jsonl'))).rejects.toThrow(InputError);
  });
});

describe('model hash', () => {
  it('changes with a weight and with the config, not with the place or other files', async () => {
    const golden = fileURLToPath(new URL('../../golden/eval/model', import.meta.url));
    const directory = join(temporary, 'model');
    cpSync(golden, directory, { recursive: true });
    const hash = () => modelHash({ directory, weights: directory });
    const first = await modelHash({ directory: golden, weights: golden });
    expect(first).toMatch(/^[0-9a-f]{16}$/);
    writeFileSync(join(directory, 'README.md'), 'hello');
    expect(await hash()).toBe(first);
    appendFileSync(join(directory, 'config.json'), '\n');
    const second = await hash();
    expect(second).not.toBe(first);
    const weights = join(directory, 'model.safetensors');
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(weights, bytes);
    expect(await hash()).not.toBe(second);
    expect(await modelHash({ directory, weights })).toMatch(/^[0-9a-f]{16}$/);
    await expect(modelHash({ directory: join(temporary, 'none'), weights: join(temporary, 'none') })).rejects.toThrow(InputError);
  });
});
