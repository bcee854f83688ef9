// Gathers src/backends/webgpu/shaders/*.wgsl into one module that every bundler takes, without comments and indentation; a line
// `// include NAME` is replaced by shaders/include/NAME.wgsl. Run by `npm run generate`; a test checks that the committed module is
// current. Nothing is compiled here.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../src/backends/webgpu/shaders/', import.meta.url));
export const modulePath = fileURLToPath(new URL('../src/backends/webgpu/wgsl.ts', import.meta.url));

export function shaderModule(): string {
  const names = readdirSync(folder).filter((name) => name.endsWith('.wgsl'));
  const lines = names.sort().map((name) => `  ${name.replace('.wgsl', '')}: ${quoted(textOf(name))},`);
  return [
    '// Generated from shaders/*.wgsl by `npm run generate`: do not edit.',
    '',
    '/** What stands before every shader. */',
    '// biome-ignore format: a line a shader',
    `export const common: string = ${quoted(textOf('include/common.wgsl'))};`,
    '',
    '/** What stands before those whose invocations make sums together, with subgroups and without. */',
    '// biome-ignore format: a line a text',
    `export const subgroups: string = ${quoted(textOf('include/subgroups.wgsl'))};`,
    '// biome-ignore format: a line a text',
    `export const noSubgroups: string = ${quoted(textOf('include/noSubgroups.wgsl'))};`,
    '',
    '// biome-ignore format: a line a shader',
    'export const shaders = {',
    ...lines,
    '} satisfies Record<string, string>;',
    '',
    'export type ShaderName = keyof typeof shaders;',
    '',
  ].join('\n');
}

function textOf(name: string): string {
  const lines = readFileSync(folder + name, 'utf8').split('\n');
  const shortened = lines.map((line) => {
    const included = /^\/\/ include (\w+)$/.exec(line)?.[1];
    return included ? textOf(`include/${included}.wgsl`) : line.replace(/\/\/.*/, '').trim();
  });
  return shortened.filter((line) => line !== '').join('\n');
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n')}'`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(modulePath, shaderModule());
