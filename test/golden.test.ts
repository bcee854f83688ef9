// The project's own copies of golden numbers, judged on every backend that this machine has; and the judge itself: it must see
// a wrong number, and a folder with nothing to judge must not pass.

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { loadNative } from '../src/backends/native.js';
import { packagePath } from '../src/io/node/paths.js';
import { golden } from './golden.js';

const copies = fileURLToPath(new URL('golden', import.meta.url));
const backends = ['reference', ...('addon' in loadNative() ? ['native'] : [])];
const temporary = mkdtempSync(join(tmpdir(), 'openelm-golden-'));
afterAll(() => rmSync(temporary, { recursive: true }));

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
  for (const item of ['configs.json', 'models/tiny-elm', 'models/tiny-gpt', 'generate', 'tokenizer', 'eval', 'train', 'data']) {
    it(`${item} on ${backends.join(' and ')}`, async () => {
      const { good, said } = await judge([join(copies, item)], backends);
      expect(said).not.toMatch(/FAIL/);
      expect(good).toBe(true);
    });
  }

  it('the embedded model writes its greedy stories', async () => {
    const dir = join(temporary, 'stories');
    cpSync(packagePath('models/tales-6m'), dir, { recursive: true });
    cpSync(join(copies, 'tales-6m/golden_greedy.json'), join(dir, 'golden_greedy.json'));
    const { good, said } = await judge([dir], backends.slice(-1));
    expect(said).toMatch(/^ok/);
    expect(good).toBe(true);
  });

  const stories = packagePath('../shared/models/stories-6m');
  it.runIf(existsSync(stories))('a model of the same shape writes what Apple’s code made it write', async () => {
    const { good, said } = await judge([stories], backends.slice(-1));
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
