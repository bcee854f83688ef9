// Bundles what browsers run. Into dist/bundle the browser's door, its worker and the tools of pages, for pages without a bundler and for
// those with one: what is always needed in one file, what is loaded now and then (LLaMA's vocabulary, chat templates, hashes) in files of
// their own. Into dist/page the code of both pages, a file each. Run by `npm run compile`; the tests ask it for sizes.
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const settings = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  metafile: true,
  logLevel: 'warning',
  legalComments: 'linked',
};

/** What esbuild made: metafiles, and the files in memory unless they were written. */
export async function bundle(write) {
  if (write) await rm(join(root, 'dist/bundle'), { recursive: true, force: true });
  const library = { ...settings, write, outdir: 'dist/bundle', splitting: true };
  // What marked's licence asks for; its comment is none that is kept.
  const banner = { js: '/*! With marked, (c) 2018-2026 MarkedJS, (c) 2011-2018 Christopher Jeffrey, MIT License */' };
  const page = { ...settings, write, outdir: 'dist/page' };
  return Promise.all(
    [
      { ...library, ...afterAll('src/browser.ts', { browser: 'src/browser.ts', 'language-model': 'src/language-model.ts' }) },
      { ...library, ...afterAll('src/browser/worker.ts', { worker: 'src/browser/worker.ts' }) },
      { ...library, entryPoints: { tools: 'src/browser/tools.ts' } },
      { ...page, banner, entryPoints: { serve: 'src/page/main.ts' } },
      { ...page, banner, entryPoints: { web: 'src/page/main.ts' }, plugins: [computesItself] },
      { ...page, entryPoints: { 'service-worker': 'src/page/service-worker.ts' } },
    ].map(build),
  );
}

/**
 * esbuild makes a file of each set of modules that the same entries need, and what `import()` names is an entry: twenty small files before
 * the first byte of a model. What comes by and by comes when `core` is there; where it says so, by an import, all that `core` needs is one.
 */
function afterAll(core, entryPoints) {
  const first = JSON.stringify(join(root, core));
  const plugin = {
    name: 'core first',
    setup(build) {
      build.onResolve({ filter: /^\./ }, async ({ path, kind, resolveDir }) => {
        if (kind !== 'dynamic-import') return undefined;
        const found = await build.resolve(path, { kind: 'import-statement', resolveDir });
        return { path: found.path, namespace: 'later' };
      });
      build.onLoad({ filter: /./, namespace: 'later' }, ({ path }) => ({
        contents: `import ${first};\nexport * from ${JSON.stringify(path)};`,
        resolveDir: root,
      }));
    },
  };
  return { entryPoints, plugins: [plugin] };
}

/** The page of `openelm web` has its models in itself, where that of `openelm serve` asks its server. */
const computesItself = {
  name: 'local client',
  setup(build) {
    build.onResolve({ filter: /^\.\/client\.js$/ }, () => ({ path: join(root, 'src/page/local-client.ts') }));
  },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle(true);
