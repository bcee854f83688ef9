// Draws the page's icons as PNG into dist/page, for systems that take no SVG. Run by `npm run compile`.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { initWasm, Resvg } from '@resvg/resvg-wasm';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const svg = readFileSync(join(root, 'src/page/icon.svg'), 'utf8');
const whole = svg.replace('rx="8"', ''); // systems cut corners of their own
await initWasm(readFileSync(createRequire(import.meta.url).resolve('@resvg/resvg-wasm/index_bg.wasm')));
for (const [name, picture, size] of [
  ['icon-192', svg, 192],
  ['icon-512', svg, 512],
  ['icon-maskable', whole, 512],
]) {
  const image = new Resvg(picture, { fitTo: { mode: 'width', value: size } }).render();
  writeFileSync(join(root, `dist/page/${name}.png`), image.asPng());
}
