import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fileError, makeDirectory, openFile, readJson, writeAtomic } from '../../../src/io/node/files.js';
import { kindOf, readIfThere } from '../../../src/io/node/paths.js';
import { temporaryFolder } from '../../temporary.js';

const directory = temporaryFolder();
const at = (name: string) => join(directory, name);
const inputError = (message: string | RegExp) => ({ name: 'InputError', message: expect.stringMatching(message) });
const isRoot = process.getuid?.() === 0;

describe('what is not there', () => {
  test('is told from what cannot be looked at', async () => {
    expect(await kindOf(at('nothing'))).toBeUndefined();
    expect(await readIfThere(at('nothing'))).toBeUndefined();
    expect(await kindOf(`${at('nothing')}/deeper`)).toBeUndefined();
    expect(await kindOf('x'.repeat(5000))).toBeUndefined(); // no file can have such a name
    symlinkSync('gone', at('dangling'));
    await expect(kindOf(at('dangling'))).rejects.toMatchObject(inputError(/dangling: a link to a file that is not there$/));
    await expect(readIfThere(at('dangling'))).rejects.toMatchObject(inputError(/a link to a file that is not there$/));
    symlinkSync('circle', at('circle'));
    await expect(kindOf(at('circle'))).rejects.toMatchObject(inputError(/too many symbolic links$/));
    await expect(kindOf('a\0b')).rejects.toMatchObject(inputError(/^"a\\u0000b" cannot be the name of a file$/));
  });

  test.skipIf(isRoot)('and may not be looked into is told', async () => {
    mkdirSync(at('closed'));
    chmodSync(at('closed'), 0);
    await expect(kindOf(join(at('closed'), 'file'))).rejects.toMatchObject(inputError(/permission denied$/));
    await expect(makeDirectory(join(at('closed'), 'a', 'b'))).rejects.toMatchObject(inputError(/permission denied$/));
  });

  test('is made with what is above it, or it is said why not', async () => {
    await makeDirectory(at('a/b/c'));
    await makeDirectory(at('a/b/c'));
    expect(await kindOf(at('a/b/c'))).toBe('directory');
    writeFileSync(at('plain'), '');
    await expect(makeDirectory(join(at('plain'), 'x'))).rejects.toMatchObject(inputError(/not a directory$/));
  });
});

describe('openFile', () => {
  test('reads ranges, several at once, and says where the file is', async () => {
    const content = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7) & 255);
    writeFileSync(at('data'), content);
    const source = await openFile(at('data'));
    expect(source).toMatchObject({ name: at('data'), file: at('data'), size: 100_000 });
    const ranges = [
      [0, 100_000],
      [99_999, 1],
      [100_000, 0],
      [5, 70_000],
    ];
    const parts = await Promise.all(ranges.map(([offset, length]) => source.read(offset, length)));
    parts.forEach((part, i) => {
      expect(Buffer.compare(part, content.subarray(ranges[i][0], ranges[i][0] + ranges[i][1]))).toBe(0);
      expect(part.byteOffset).toBe(0); // its own memory: typed arrays can lie over it
    });
    await source.close();
  });

  test('ranges outside, or that are no range, are refused before anything is allocated', async () => {
    writeFileSync(at('ten'), '0123456789');
    const source = await openFile(at('ten'));
    for (const [offset, length] of [
      [5, 6],
      [11, 0],
      [0, 2 ** 52],
    ])
      await expect(source.read(offset, length)).rejects.toMatchObject(inputError(/lie outside its 10 bytes/));
    for (const [offset, length] of [
      [-1, 1],
      [0.5, 1],
      [0, -1],
      [Number.NaN, 1],
    ])
      await expect(source.read(offset, length)).rejects.toMatchObject(inputError(/cannot read/));
    await source.close();
  });

  test('a file that is cut while it is read is told', async () => {
    writeFileSync(at('cut'), '0123456789');
    const source = await openFile(at('cut'));
    truncateSync(at('cut'), 4);
    await expect(source.read(2, 6)).rejects.toMatchObject(inputError(/ended at byte 4, expected 10 bytes as when it was opened/));
    await source.close();
  });

  test('what is no readable file is refused in one sentence', async () => {
    writeFileSync(at('plain'), '');
    symlinkSync('loop', at('loop'));
    await expect(openFile(at('nothing'))).rejects.toMatchObject(inputError(/nothing: cannot read it: no such file or directory/));
    await expect(openFile(directory)).rejects.toMatchObject(inputError(/a directory, expected a file/));
    await expect(openFile(at('plain/x'))).rejects.toMatchObject(inputError(/not a directory/));
    await expect(openFile(at('loop'))).rejects.toMatchObject(inputError(/too many symbolic links/));
    await expect(openFile(at('x'.repeat(300)))).rejects.toMatchObject(inputError(/the name is too long/));
    if (process.platform !== 'win32')
      await expect(openFile('/dev/null')).rejects.toMatchObject(inputError(/null: a device or socket, not a regular file: save/));
  });

  test.skipIf(isRoot || process.platform === 'win32')('a file without permission is refused', async () => {
    writeFileSync(at('secret'), 'x');
    chmodSync(at('secret'), 0);
    await expect(openFile(at('secret'))).rejects.toMatchObject(inputError(/permission denied/));
  });
});

describe('writeAtomic', () => {
  const fresh = (name: string) => {
    mkdirSync(at(name));
    writeFileSync(at(`${name}/file`), 'old');
    return at(`${name}/file`);
  };
  const text = (value: string) => new TextEncoder().encode(value);

  test('the new content appears when it is whole, and only then', async () => {
    const path = fresh('whole');
    await writeAtomic(path, async (sink) => {
      await sink.write(text('new '));
      expect(readFileSync(path, 'utf8')).toBe('old');
      await sink.write(text('content'));
    });
    expect(readFileSync(path, 'utf8')).toBe('new content');
    expect(readdirSync(at('whole'))).toEqual(['file']);
  });

  test('an error or an abort leaves the old file and nothing else', async () => {
    const path = fresh('broken');
    const controller = new AbortController();
    await expect(
      writeAtomic(path, async (sink) => {
        await sink.write(text('x'));
        throw new Error('defect');
      }),
    ).rejects.toThrow('defect');
    const aborted = writeAtomic(
      path,
      async (sink) => {
        await sink.write(text('x'));
        controller.abort();
        await sink.write(text('y'));
      },
      { signal: controller.signal },
    );
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
    const full = Object.assign(new Error('write'), { code: 'ENOSPC', syscall: 'write' });
    await expect(
      writeAtomic(path, async () => {
        throw full;
      }),
    ).rejects.toMatchObject(inputError(/file: cannot write it: the disk is full/));
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(at('broken'))).toEqual(['file']);
  });

  test('a place that cannot be written is refused in one sentence', async () => {
    await expect(writeAtomic(at('no/such/file'), async () => {})).rejects.toMatchObject(inputError(/no such file or directory/));
    mkdirSync(at('folder/inside'), { recursive: true });
    await expect(writeAtomic(at('folder'), async () => {})).rejects.toMatchObject(inputError(/folder: cannot write it: /));
    expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

test('errors that are no file system errors stay as they are', () => {
  const defect = new TypeError('x is undefined');
  expect(fileError(defect, 'p', 'read')).toBe(defect);
  expect(fileError(Object.assign(new Error('EPIPE: broken'), { code: 'EPIPE', syscall: 'write' }), 'p', 'write')).toMatchObject({
    name: 'InputError',
    message: 'p: cannot write it: EPIPE: broken',
  });
});

test('readJson gives the value, or one sentence with the place', async () => {
  writeFileSync(at('good.json'), '{"a": [1]}');
  writeFileSync(at('bad.json'), '{\n"a": tru\n}');
  writeFileSync(at('binary.json'), Uint8Array.of(0x7b, 0xff));
  expect(await readJson(at('good.json'))).toEqual({ a: [1] });
  await expect(readJson(at('bad.json'))).rejects.toMatchObject(
    inputError(/bad\.json: expected a value, found "tru\\n}" \(line 2, column 6\)/),
  );
  await expect(readJson(at('binary.json'))).rejects.toMatchObject(inputError(/not valid UTF-8/));
  await expect(readJson(at('good.json'), { maxBytes: 9 })).rejects.toMatchObject(
    inputError(/10 bytes is too large for a JSON file here \(at most 9\)/),
  );
  await expect(readJson(at('missing.json'))).rejects.toMatchObject(inputError(/no such file/));
});

test('a directory is made with those above it, or the system says why not', async () => {
  const root = mkdtempSync(join(tmpdir(), 'openelm-directory-'));
  await Promise.all([1, 2, 3].map(() => makeDirectory(join(root, 'a/b/c'))));
  await makeDirectory(join(root, 'a/b/c'));
  writeFileSync(join(root, 'file'), '');
  await expect(makeDirectory(join(root, 'file/x/y'))).rejects.toThrow('a part of the path is not a directory');
  if (process.platform === 'linux')
    await expect(makeDirectory('/proc/none/x')).rejects.toThrow(/^\/proc\/none\/x: cannot write it: /);
  rmSync(root, { recursive: true });
});
