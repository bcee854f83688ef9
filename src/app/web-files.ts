// What the page of `openelm web` consists of, as paths below the folder that it is served from: the page, the code and the modules that it
// runs with, the models' files. web-server.ts serves them; `exportWeb` writes them for any static host.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { InputError } from '../errors.js';
import { writeNewDirectory } from '../io/node/checkpoints.js';
import { makeDirectory, writeAtomic } from '../io/node/files.js';
import { kindOf, namesIn, packagePath } from '../io/node/paths.js';
import type { WriteFile } from '../model/write.js';

export interface WebModel {
  readonly id: string;
  readonly directory: string;
}

/** A file's path, or what makes its text. */
export type WebFile = string | (() => Promise<string>);

const worker = 'service-worker.js';

/** Nothing comes from elsewhere but models of the hub, when they are asked for; the page may share memory with its workers. */
const policy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co; img-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'none'";
export const headers = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'content-security-policy': policy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

const modelFile =
  /^(config|generation_config|tokenizer|tokenizer_config|added_tokens|special_tokens_map)\.json$|^tokenizer\.model$|\.jinja$|\.safetensors(\.index\.json)?$/;

/** The files by their path. Throws `InputError` where the package is not compiled, or a model has no files that a page could load. */
export async function webFiles(models: readonly WebModel[]): Promise<Map<string, WebFile>> {
  const files = new Map<string, WebFile>([
    ['manifest.webmanifest', packagePath('dist/page/manifest.webmanifest')],
    ['page/train/tales.txt', packagePath('recipes/data/tales.txt')],
    ['page/main.js', packagePath('dist/page/web.js')],
  ]);
  const own = [
    ['dist/page', 'page', /\.(css|svg|png)$/],
    ['dist/bundle', 'openelm/bundle', /\.js$/],
    ['native/wasm', 'openelm/wasm', /\.wasm$/],
  ] as const;
  for (const [folder, place, kind] of own) {
    const names = await readdir(packagePath(folder), { recursive: true }).catch(() => []);
    for (const name of names) {
      if (kind.test(name)) files.set(`${place}/${name.replaceAll('\\', '/')}`, packagePath(`${folder}/${name}`));
    }
  }
  if (!files.has('openelm/bundle/browser.js')) throw new InputError('dist/bundle is missing: npm run compile makes it');
  const index = await indexPage();
  files.set('index.html', async () => index);
  const page = new Map(files);
  files.set(worker, () => serviceWorker(page));

  const offered: { id: string; address: string; files: readonly string[] }[] = [];
  for (const { id, directory } of models) {
    const names = (await readdir(directory)).filter((name) => modelFile.test(name));
    if (!names.includes('config.json') || !names.some((name) => name.endsWith('.safetensors')))
      throw new InputError(`${directory} has no config.json with safetensors weights beside it: a page loads no others`);
    for (const name of names) files.set(`models/${id}/${name}`, join(directory, name));
    const address = `models/${id.split('/').map(encodeURIComponent).join('/')}/`;
    offered.push({ id, address, files: names });
  }
  files.set('models.json', async () => JSON.stringify(offered));
  return files;
}

/** With its tabs, which this page has and that of `openelm serve` has not; they have the name. A key is for a server, which it has not. */
async function indexPage(): Promise<string> {
  const text = await readFile(packagePath('dist/page/index.html'), 'utf8');
  return text
    .replace(/^.*name="key".*\n/m, '')
    .replace('<body>', '<body class="tabbed">')
    .replace('<header id="top" hidden>', '<header id="top">')
    .replace('class="brand">openelm<', 'class="brand">Conversations<');
}

/** The worker that keeps `page` as it is now, in front of it what it is. */
async function serviceWorker(page: ReadonlyMap<string, WebFile>): Promise<string> {
  const hash = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  const digests: Record<string, string> = {};
  for (const [path, file] of page) digests[path] = hash(typeof file === 'string' ? await readFile(file) : await file());
  const code = await readFile(packagePath(`dist/page/${worker}`), 'utf8');
  const kept = { version: hash(JSON.stringify([digests, headers, code])).slice(0, 16), files: digests, headers };
  const before = Object.entries(kept).map(([name, value]) => `const ${name} = ${JSON.stringify(value)};\n`);
  return before.join('') + code;
}

/**
 * Writes the page into a folder, which any static host can serve: a new one whole or not at all, one of before file by file. Throws
 * `InputError` when something else is there.
 */
export async function exportWeb(models: readonly WebModel[], folder: string, signal?: AbortSignal): Promise<void> {
  const files = await webFiles(models);
  // Browsers that have an older version find the new one by its worker, which therefore comes last.
  const fill = async (write: WriteFile): Promise<void> => {
    for (const path of [...[...files.keys()].filter((name) => name !== worker), worker]) {
      const file = files.get(path)!;
      await write(path, async (sink) => {
        if (typeof file === 'string') for await (const chunk of createReadStream(file)) await sink.write(chunk as Buffer);
        else await sink.write(new TextEncoder().encode(await file()));
      });
    }
  };
  if ((await kindOf(folder)) === undefined) return writeNewDirectory(folder, fill, signal);
  const there = await namesIn(folder);
  if (there.length > 0 && !there.includes(worker))
    throw new InputError(`${folder} is not empty and no page that was exported before: name another folder`);
  await fill(async (path, write) => {
    const target = join(folder, path);
    await makeDirectory(dirname(target));
    await writeAtomic(target, write, { signal });
  });
}
