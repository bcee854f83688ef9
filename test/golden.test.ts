// The project's own copies of golden numbers, judged on every backend that this machine has; and the judge itself: it must see
// a wrong number, and a folder with nothing to judge must not pass.

import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { loadNative } from '../src/backends/native.js';
import { packagePath } from '../src/io/node/paths.js';
import { fixture } from './fixtures.js';
import { golden } from './golden.js';
import { temporaryFolder } from './temporary.js';

const copies = fileURLToPath(new URL('golden', import.meta.url));
const native = loadNative();
const isas = 'addon' in native ? native.addon.isas.map((isa) => `native:${isa}`) : [];
const backends = ['reference', ...(isas.length ? ['native'] : [])];
const temporary = temporaryFolder();

async function judge(...args: Parameters<typeof golden>): Promise<{ good: boolean; said: string }> {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    const good = await golden(...args);
    return { good, said: log.mock.calls.flat().join('\n') };
  } finally {
    log.mockRestore();
  }
}

describe('golden numbers', () => {
  for (const item of ['configs.json', 'models/tiny-elm', 'models/tiny-gpt', 'generate', 'tokenizer', 'train', 'peft', 'data']) {
    it(`${item} on ${backends.join(' and ')}`, async () => {
      const { good, said } = await judge([join(copies, item)], backends);
      expect(said).not.toMatch(/FAIL/);
      expect(good).toBe(true);
    });
  }

  // What evaluation computes is judged on the reference backend by the models: it would take most of this file's time.
  it(`eval on ${backends.at(-1)}`, async () => {
    const { good, said } = await judge([join(copies, 'eval')], backends.slice(-1));
    expect(said).not.toMatch(/FAIL/);
    expect(good).toBe(true);
  });

  it.each([...isas, 'wasm'])('small models compute, train and write on %s', async (isa) => {
    const items = ['models/tiny-elm', 'generate', 'train', 'eval/tiny-elm'].map((item) => join(copies, item));
    const { good, said } = await judge(items, [isa]);
    expect(said).not.toMatch(/FAIL/);
    expect(good).toBe(true);
  });

  it('the embedded model writes its greedy stories', async () => {
    const dir = join(temporary, 'stories');
    cpSync(packagePath('models/tales-6m'), dir, { recursive: true });
    cpSync(join(copies, 'tales-6m/golden_greedy.json'), join(dir, 'golden_greedy.json'));
    const { good, said } = await judge([dir], [...isas, 'wasm']);
    expect(said).toMatch(/^ok/);
    expect(good).toBe(true);
  });

  const stories = fixture('models/stories-6m');
  it.runIf(stories.isThere)('a model of the same shape writes what Apple’s code made it write', async () => {
    const { good, said } = await judge([stories.path], backends.slice(-1));
    expect(said).toMatch(/^ok/);
    expect(good).toBe(true);
  });
});

describe('the judge', () => {
  it('fails on one wrong number', async () => {
    const dir = join(temporary, 'wrong');
    cpSync(join(copies, 'models/tiny-gpt'), dir, { recursive: true });
    const file = join(dir, 'golden.safetensors');
    const bytes = readFileSync(file);
    const header = 8 + Number(bytes.readBigUInt64LE(0));
    const logits = JSON.parse(bytes.toString('utf8', 8, header)).logits.data_offsets[0];
    bytes.writeFloatLE(bytes.readFloatLE(header + logits) + 1e-2, header + logits);
    writeFileSync(file, bytes);
    const { good, said } = await judge([dir], ['reference']);
    expect(said).toMatch(/FAIL reference .*\n +logits: /);
    expect(good).toBe(false);
  });

  it('takes another id only where it is as good', async () => {
    const dir = join(temporary, 'ties');
    const model = join(dir, 'models/tiny-elm');
    cpSync(join(copies, 'models/tiny-elm'), model, { recursive: true });
    for (const name of ['golden.safetensors', 'golden_quant.safetensors']) rmSync(join(model, name));
    const file = join(copies, 'generate/greedy.json');
    const golden: { continuation: number[] } = JSON.parse(readFileSync(file, 'utf8'));
    const judgeIds = (continuation: number[]): ReturnType<typeof judge> => {
      writeFileSync(join(dir, 'greedy.json'), JSON.stringify({ ...golden, continuation }));
      return judge([dir], backends.slice(-1));
    };
    // The embedding is the head: of two ids with one row each is as good as the other, and so is what follows.
    const ids = golden.continuation;
    const last = ids.lastIndexOf(ids[40]);
    const twin = Array.from({ length: 320 }, (_, id) => id).find((id) => id > ids[40] && !ids.includes(id))!;
    const weights = join(model, 'model.safetensors');
    const bytes = readFileSync(weights);
    const header = 8 + Number(bytes.readBigUInt64LE(0));
    const { data_offsets: range, shape } = JSON.parse(bytes.toString('utf8', 8, header))['transformer.token_embeddings.weight'];
    const row = (range[1] - range[0]) / shape[0];
    const at = (id: number): number => header + range[0] + id * row;
    bytes.copy(bytes, at(twin), at(ids[40]), at(ids[40]) + row);
    writeFileSync(weights, bytes);
    const tied = await judgeIds(ids.map((id, i) => (i === last ? twin : id)));
    expect(tied.said).toMatch(/^ok/);
    expect(tied.good).toBe(true);
    const wrong = await judgeIds(ids.map((id, i) => (i === 70 ? (id + 1) % 320 : id)));
    expect(wrong.said).toMatch(new RegExp(`FAIL .*\\n +continuation, id 70: ${ids[70]} for ${ids[70] + 1}: `));
    expect(wrong.good).toBe(false);
  });

  it('wants the model of evaluation goldens that have none', async () => {
    const dir = join(temporary, 'nameless');
    cpSync(join(copies, 'eval/tiny-elm'), dir, { recursive: true });
    const without = await judge([dir], backends.slice(-1));
    expect(without.good).toBe(false);
    expect(without.said).toMatch(/name one with --model DIR\n.*nothing was judged/);
    const { good, said } = await judge([dir], backends.slice(-1), join(copies, 'models/tiny-elm'));
    expect(said).toMatch(/^ok/);
    expect(good).toBe(true);
  });

  it('does not pass when nothing was judged', async () => {
    const { good, said } = await judge([join(copies, 'tales-6m')], ['reference']);
    expect(good).toBe(false);
    expect(said).toMatch(/FAIL|nothing was judged/);
  });
});
