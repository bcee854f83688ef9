// PyTorch's files: CoreNet's own checkpoints (test/golden/train/ckpt, made by its save_checkpoint), files written here, and pickles that
// name what no checkpoint may hold.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { bytesInMemory } from '../../src/io/bytes.js';
import { readPickle } from '../../src/io/pickle.js';
import { readTorch, TorchTensor, writeTorch } from '../../src/io/torch.js';
import { readZip, writeZip } from '../../src/io/zip.js';
import { memorySink } from './build.js';

const checkpoint = readFileSync(new URL('../golden/train/ckpt/training_checkpoint_last.pt', import.meta.url));

test('a training checkpoint is read in place', async () => {
  const { root } = await readTorch(bytesInMemory('x.pt', checkpoint));
  const whole = root as Map<string, unknown>;
  expect([...whole.keys()]).toEqual([
    'iterations',
    'epoch',
    'model_state_dict',
    'optim_state_dict',
    'best_metric',
    'is_interval_ckpt',
  ]);
  expect([whole.get('iterations'), whole.get('best_metric'), whole.get('is_interval_ckpt')]).toEqual([3, 0, true]);
  const weight = (whole.get('model_state_dict') as Map<string, TorchTensor>).get('token_embeddings.weight')!;
  expect(weight).toBeInstanceOf(TorchTensor);
  expect([weight.dtype, weight.shape, weight.place.bytes]).toEqual(['F32', [100, 32], 12800]);
  expect(weight.place.offset % 64).toBe(0);
});

test('a file is read as it was written', async () => {
  const sink = memorySink();
  const tensors = [
    { name: 'a.weight', dtype: 'F32', shape: [2, 3] },
    { name: 'b.weight', dtype: 'BF16', shape: [5] },
  ] as const;
  const extras = [{ name: 'config.json', bytes: new TextEncoder().encode('{}') }];
  await writeTorch(sink, tensors, ({ name }) => [new Uint8Array(name === 'a.weight' ? 24 : 10).fill(name.charCodeAt(0))], extras);
  const source = bytesInMemory('x.pt', sink.bytes());
  const { root, extras: read } = await readTorch(source);
  expect([...read].map(([name, bytes]) => [name, Buffer.from(bytes).toString()])).toEqual([['config.json', '{}']]);
  for (const { name, dtype, shape } of tensors) {
    const found = (root as Map<string, TorchTensor>).get(name)!;
    expect([found.dtype, found.shape]).toEqual([dtype, shape]);
    expect(new Set(await source.read(found.place.offset, found.place.bytes))).toEqual(new Set([name.charCodeAt(0)]));
    expect(found.place.offset % 64).toBe(0);
  }
});

/** A pickle that calls `name` with a text. */
const calling = (module: string, name: string): Uint8Array =>
  Buffer.from(`\x80\x02c${module}\n${name}\nX\x02\0\0\0ls\x85R.`, 'latin1');

test('a pickle that names anything else is refused with that name, and nothing is run', async () => {
  for (const [module, name] of [
    ['os', 'system'],
    ['builtins', 'eval'],
    ['torch', 'load'],
    ['torch._utils', '_rebuild_tensor'],
    ['constructor', 'constructor'],
  ]) {
    const sink = memorySink();
    await writeZip(sink, [{ name: 'archive/data.pkl', data: () => [calling(module, name)] }]);
    await expect(readTorch(bytesInMemory('x.pt', sink.bytes()))).rejects.toThrow(`x.pt: its pickle names "${module}.${name}"`);
  }
});

test('pickles of any protocol are read, and damaged ones refused', () => {
  const rules = { global: () => undefined, persistent: () => null };
  const value = (...bytes: (number | string)[]): unknown =>
    readPickle(
      Uint8Array.from(bytes.flatMap((b) => (typeof b === 'number' ? [b] : [...b].map((c) => c.charCodeAt(0))))),
      'x',
      rules,
    );
  // pickle.dumps({'a': [1, -2, 2**40, 1.5, None, True, (), ('b',)]}, 4)
  const four = 'gASVLQAAAAAAAAB9lIwBYZRdlChLAUr+////igYAAAAAAAFHP/gAAAAAAABOiCmMAWKUhZRlcy4=';
  expect(readPickle(new Uint8Array(Buffer.from(four, 'base64')), 'x', rules)).toEqual(
    new Map([['a', [1, -2, 2 ** 40, 1.5, null, true, [], ['b']]]]),
  );
  expect(() => value('X', 9, 0, 0, 0, 'ab.')).toThrow(/9 bytes at byte 5 go past its end/);
  expect(() => value('R.')).toThrow(/fewer values than it uses/);
  expect(() => value('NNR.')).toThrow(/a call of what cannot be called/);
  expect(() => value('h', 1, '.')).toThrow(/the value 1 before it is made/);
  expect(() => value('i')).toThrow(/the opcode "i" at byte 0, which is not read/);
});

test('compressed, cut and doubled entries are refused', async () => {
  const sink = memorySink();
  await writeZip(sink, [{ name: 'a/data.pkl', data: () => [new Uint8Array([0x4e, 0x2e])] }]);
  const bytes = sink.bytes();
  const central = Buffer.from(bytes).lastIndexOf('PK\x01\x02', undefined, 'latin1');
  const changed = (at: number, value: number): Uint8Array => {
    const copy = bytes.slice();
    copy[at] = value;
    return copy;
  };
  for (const [file, message] of [
    [bytes.slice(0, -30), /damaged, or cut short: the zip archive has no end record/],
    [changed(central + 10, 8), /its entry "a\/data\.pkl" is compressed/],
    [changed(central + 42, 9), /there is no entry "a\/data\.pkl" where it should be/],
    [changed(central, 0), /entry 0 of its directory/],
  ] as const) {
    await expect(readZip(bytesInMemory('x.pt', file))).rejects.toThrow(message);
  }
});
