// Bundles the browser's door, its worker and the tools of pages into dist/bundle, for pages without a bundler and for those with one: what is loaded
// now and then (LLaMA's vocabulary, chat templates, hashes) in files of their own. Run by `npm run compile`; the tests ask it for sizes.
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** What esbuild made: its metafile, and the files in memory unless they were written. */
export function bundle(write) {
  if (write) rmSync(join(root, 'dist/bundle'), { recursive: true, force: true });
  return build({
    absWorkingDir: root,
    entryPoints: {
      ...{ browser: 'src/browser.ts', worker: 'src/browser/worker.ts', tools: 'src/browser/tools.ts' },
      'language-model': 'src/language-model.ts',
    },
    outdir: 'dist/bundle',
    bundle: true,
    splitting: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    metafile: true,
    write,
    logLevel: 'warning',
    legalComments: 'linked',
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle(true);
