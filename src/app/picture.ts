// Pictures into files: SVG as it was drawn, or PNG (white, two pixels to one) by resvg in WebAssembly with a font of its own, so
// that it looks the same on a machine without fonts. Both are loaded only when a PNG is asked for. Draws nothing itself.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { writeWhole } from '../io/node/files.js';
import { UsageError } from './terminal.js';

/** Throws `UsageError` unless a file's ending names a kind of picture; to be called before long work. */
export function checkPictureName(file: string): void {
  if (!/\.(svg|png)$/i.test(file)) throw new UsageError(`${file}: only SVG and PNG are written; name it .svg or .png`);
}

/** Writes a picture, given as SVG, as what the file's ending says. Throws `UsageError` as above, `InputError` when it cannot. */
export async function writePicture(file: string, svg: string): Promise<void> {
  checkPictureName(file);
  await writeWhole(file, /\.png$/i.test(file) ? await pngOf(svg) : svg);
}

const family = 'PT Sans';
const fonts = ['400Regular/PTSans_400Regular.ttf', '700Bold/PTSans_700Bold.ttf'];

let renderer: Promise<typeof import('@resvg/resvg-wasm')> | undefined;

async function pngOf(svg: string): Promise<Uint8Array> {
  const packaged = (path: string): Promise<Uint8Array> => readFile(createRequire(import.meta.url).resolve(path));
  renderer ??= (async () => {
    const resvg = await import('@resvg/resvg-wasm');
    await resvg.initWasm(packaged('@resvg/resvg-wasm/index_bg.wasm') as Promise<BufferSource>); // once a process, it insists
    return resvg;
  })();
  const { Resvg } = await renderer;
  const fontBuffers = await Promise.all(fonts.map((font) => packaged(`@expo-google-fonts/pt-sans/${font}`)));
  const image = new Resvg(svg, {
    background: '#ffffff',
    fitTo: { mode: 'zoom', value: 2 },
    font: { fontBuffers, defaultFontFamily: family, sansSerifFamily: family },
  });
  return image.render().asPng();
}
