// `openelm pull`, `list` and `remove` against a hub in miniature and a cache of their own.

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FakeHub } from '../io/node/hub-server.js';
import { run } from './terminal.js';

const embedded = fileURLToPath(new URL('../../models/tales-6m/', import.meta.url));
let hub: FakeHub;
let cacheDir: string;

beforeEach(async () => {
  for (const name of ['HF_TOKEN', 'HF_TOKEN_PATH', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE']) vi.stubEnv(name, undefined);
  cacheDir = await mkdtemp(join(tmpdir(), 'openelm-models-'));
  vi.stubEnv('HF_HOME', cacheDir);
  const names = ['config.json', 'tokenizer.model', 'model.safetensors'];
  const files = await Promise.all(names.map(async (name) => [name, await readFile(join(embedded, name))] as const));
  hub = await new FakeHub('acme/tales', new Map(files)).start();
  vi.stubEnv('HF_ENDPOINT', hub.endpoint);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  await rm(cacheDir, { recursive: true });
});

it('downloads a model, lists it, runs it offline and removes it', async () => {
  const pulled = await run(['pull', 'acme/tales']);
  expect(pulled.code).toBe(0);
  const directory = pulled.stdout.trimEnd();
  expect(await readdir(directory)).toEqual(['config.json', 'model.safetensors', 'tokenizer.model']);

  const listed = await run(['list']);
  expect(listed).toMatchObject({ code: 0, stderr: '' });
  expect(listed.stdout).toMatch(/^acme\/tales {2}11\.\d MB {2}c0ffee00\n$/);

  vi.stubEnv('HF_HUB_OFFLINE', '1');
  expect(await run(['run', 'Once upon a time', '-m', 'acme/tales', '-n', '3'])).toMatchObject({ code: 0, stderr: '' });

  const removed = await run(['remove', 'acme/tales']);
  expect(removed.stdout).toMatch(/^removed acme\/tales: 11\.\d MB free again\n$/);
  expect(await readdir(join(cacheDir, 'hub'))).toEqual(['.locks']);
  expect(await run(['list'])).toMatchObject({ code: 0, stdout: '', stderr: /no OpenELM model in/ });
});

it('says what is incomplete, and hides models of other kinds unless asked', async () => {
  const place = async (id: string, config: string): Promise<void> => {
    const folder = join(cacheDir, 'hub', `models--${id.replace('/', '--')}`);
    const commit = 'a'.repeat(40);
    await mkdir(join(folder, 'refs'), { recursive: true });
    await mkdir(join(folder, 'snapshots', commit), { recursive: true });
    await writeFile(join(folder, 'refs', 'main'), commit);
    await writeFile(join(folder, 'snapshots', commit, 'config.json'), config);
  };
  await place('acme/half', '{"model_type": "openelm"}');
  await place('acme/bert', '{"model_type": "bert"}');
  await place('acme/torn', '{"model_type": "open');
  const half = { id: 'acme/half', commit: 'a'.repeat(40), missing: 'model.safetensors', openelm: true };
  const { stdout } = await run(['list', '--json']);
  const torn = { id: 'acme/torn', openelm: null, problem: expect.stringMatching(/config\.json: the text ends inside a string/) };
  expect(JSON.parse(stdout)).toMatchObject({ models: [half, torn] });
  const all = await run(['list', '--all']);
  expect(all.stdout).toContain('acme/half');
  expect(all.stdout).toContain('incomplete: lacks model.safetensors');
  expect(all.stdout).toMatch(/acme\/bert .* not an OpenELM/);
  expect(all.stdout).toMatch(/acme\/torn .*config\.json: /);
  expect((await run(['list'])).stderr).toBe('openelm: 1 of other kinds not shown; --all does\n');
});

it('refuses in one sentence', async () => {
  expect(await run(['pull', 'OpenELM-270M'])).toMatchObject({
    code: 1,
    stderr: /names a shape; its weights are apple\/OpenELM-270M/,
  });
  expect(await run(['pull', '../x'])).toMatchObject({ code: 1, stderr: /no model id of the hub/ });
  expect(await run(['remove', 'acme/tales'])).toMatchObject({ code: 1, stderr: /acme\/tales is not in the cache at / });
  expect(await run(['remove', '..'])).toMatchObject({ code: 1, stderr: /is not in the cache/ });
  expect((await stat(cacheDir)).isDirectory()).toBe(true);
});
