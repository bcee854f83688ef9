// The house rules, checked on the sources themselves: which room may import which, no cycles, platform code only at the edges,
// files of readable size. It parses import lines only; what they are used for is up to review.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { bundle } from '../tools/bundle.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = join(root, 'src');

/** Files that every room may import. */
const leaves = ['errors', 'options', 'python-float', 'python-random'];

/** Rooms that the doors and the command line join. */
const underDoor = ['tensor', 'io', 'io/node', 'backends', 'formats', 'tokenizer', 'data', 'model', 'train', 'infer', 'eval'];

/** What each room may import besides itself and the leaves. Types of `io/bytes` are the ground that tensors stand on. */
const allowed: Record<string, readonly string[]> = {
  errors: [],
  options: [],
  'python-float': [],
  'python-random': [],
  python: [],
  template: ['python'],
  io: [],
  formats: ['io', 'model', 'tokenizer'],
  report: [],
  'io/browser': ['io'],
  browser: ['io', 'io/browser', 'formats', 'tensor', 'tokenizer', 'model', 'train', 'infer', 'backends'],
  'io/node': ['io', 'tokenizer', 'data', 'model', 'train', 'eval', 'grammar'],
  tensor: ['io'],
  backends: ['tensor', 'io'],
  tokenizer: ['io'],
  data: ['tokenizer', 'io', 'report'],
  model: ['tensor', 'io'],
  grammar: [],
  infer: ['tensor', 'io', 'model', 'tokenizer', 'grammar', 'python', 'template'],
  train: ['tensor', 'io', 'model', 'data'],
  quantize: ['tensor', 'io', 'model', 'train'],
  eval: ['tensor', 'io', 'model', 'infer', 'report', 'python', 'template'],
  page: ['door'],
  server: ['tokenizer', 'infer', 'python'],
  door: [...underDoor, 'browser', 'io/browser', 'server'],
  app: [...underDoor, 'door', 'quantize', 'report'],
};

/** Files and rooms that may use the platform. */
const platform = /^(io\/node\/|app\/|backends\/(native|wasm-node|webgpu\/node))/;

function filesUnder(folder: string, pattern: RegExp): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return name === 'build' ? [] : filesUnder(path, pattern);
    return pattern.test(name) ? [path] : [];
  });
}

const files = filesUnder(sources, /\.ts$/).map((path) => {
  const text = readFileSync(path, 'utf8');
  const statements = /^\s*(?:import|export)\b[^;]*?\bfrom\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)|^import\s+'([^']+)'/gm;
  const imports = [...text.matchAll(statements)].map((match) => match[1] ?? match[2] ?? match[3]);
  return { path, name: relative(sources, path), text, imports };
});

function roomOf(name: string): string {
  const leaf = leaves.find((file) => name === `${file}.ts`);
  if (leaf) return leaf;
  for (const room of ['io/node', 'io/browser']) if (name.startsWith(`${room}/`)) return room;
  return name.includes('/') ? name.split('/')[0] : 'door';
}

function target(from: string, specifier: string): string {
  return relative(sources, resolve(dirname(from), specifier)).replace(/\.js$/, '.ts');
}

describe('architecture', () => {
  it('finds the sources and their imports', () => {
    expect(files.length).toBeGreaterThan(20);
    expect(files.reduce((sum, file) => sum + file.imports.length, 0)).toBeGreaterThan(60);
  });

  it('lets imports point one way, and no other than there are', () => {
    const wrong: string[] = [];
    const unused = new Map(Object.entries(allowed).map(([room, others]) => [room, new Set(others)]));
    for (const { path, name, imports } of files) {
      const room = roomOf(name);
      expect(allowed[room], `${name} lies in no known room`).toBeDefined();
      for (const specifier of imports.filter((item) => item.startsWith('.'))) {
        const other = roomOf(target(path, specifier));
        unused.get(room)!.delete(other);
        if (other !== room && !leaves.includes(other) && !allowed[room].includes(other))
          wrong.push(`${name} imports ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
    expect([...unused].flatMap(([room, others]) => [...others].map((other) => `${room} may import ${other}`))).toEqual([]);
  });

  it('bundles for browsers without Node, and small', async () => {
    const made = await bundle(false);
    const outputs = Object.fromEntries(made.flatMap(({ metafile }) => Object.entries(metafile.outputs)));
    expect(Object.values(outputs).flatMap(({ imports }) => imports.filter((item) => item.external))).toEqual([]);
    const inputs = made.flatMap(({ metafile }) => Object.keys(metafile.inputs));
    expect(inputs.filter((name) => /src\/(io\/node|app|server)\/|native\.ts|wasm-node|webgpu\/node/.test(name))).toEqual([]);
    const files = made.flatMap(({ outputFiles }) => outputFiles);
    const sizes = new Map(files.map(({ path, contents }) => [basename(path), gzipSync(contents).length]));
    const needed = (entry: string): string[] => {
      const output = Object.entries(outputs).find(([name]) => basename(name) === entry)![1];
      const chunks = output.imports.filter(({ kind }) => kind === 'import-statement').map(({ path }) => basename(path));
      return [entry, ...chunks];
    };
    // Requests one after another are what a first visit waits for.
    expect(['browser.js', 'worker.js', 'tools.js', 'web.js', 'serve.js'].map((entry) => needed(entry).length)).toEqual([
      2, 2, 1, 1, 1,
    ]);
    const loaded = (entry: string): number => needed(entry).reduce((sum, name) => sum + sizes.get(name)!, 0);
    const [page, prompts, worker] = ['browser.js', 'language-model.js', 'worker.js'].map(loaded);
    console.log(`gzipped: ${page} bytes on the page, ${prompts} with LanguageModel, ${worker} in its worker`);
    expect(page).toBeLessThan(8_000);
    expect(prompts).toBeLessThan(14_250);
    expect(worker).toBeLessThan(97_000);
  });

  it('has no cycles', () => {
    const graph = new Map(
      files.map(({ path, name, imports }) => [
        name,
        imports.filter((item) => item.startsWith('.')).map((item) => target(path, item)),
      ]),
    );
    const done = new Set<string>();
    const visit = (name: string, way: string[]): void => {
      if (way.includes(name)) throw new Error(`cycle: ${[...way.slice(way.indexOf(name)), name].join(' -> ')}`);
      if (done.has(name)) return;
      for (const next of graph.get(name) ?? []) visit(next, [...way, name]);
      done.add(name);
    };
    for (const name of graph.keys()) visit(name, []);
  });

  it('keeps the platform at the edges', () => {
    const wrong = files.filter(({ name, imports }) => !platform.test(name) && imports.some((item) => item.startsWith('node:')));
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });

  it('writes notices in one place, which shows control characters', () => {
    const own = ['app/terminal.ts', 'app/cli.ts'];
    const others = files.filter(({ name }) => name.startsWith('app/') && !own.includes(name));
    const wrong = others.filter(({ text }) => /stderr\.write\([`'"]openelm: /.test(text));
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });

  it('counts things by a number with its noun, so that none is "1 documents"', () => {
    const nouns =
      'answer candidate character checkpoint day document example file layer line minute module pair parameter piece prompt question ' +
      'request row second sequence step task tensor text thread token turn';
    const plural = new RegExp(`\\$\\{[^}]*[^A-Z_}]\\} (?:[a-z/-]+ )?(?:${nouns.replaceAll(' ', '|')})s\\b`, 'g');
    const said = files.flatMap(({ name, text }) =>
      /^(app|browser|data|eval|infer|page|server)\//.test(name) ? (text.match(plural) ?? []) : [],
    );
    expect(said.filter((item) => !/toFixed|more \? /.test(item))).toEqual([]);
  });

  it('keeps files readable', () => {
    const all = [...files.map(({ path }) => path), ...filesUnder(join(root, 'native'), /\.(cc|h|mjs)$/)];
    const long = all.map((path) => [relative(root, path), readFileSync(path, 'utf8').split('\n').length - 1] as const);
    expect(long.filter(([, lines]) => lines > 600)).toEqual([]);
    const limits = { 'src/model/openelm.ts': 300, 'src/tensor/backend.ts': 150 };
    for (const [name, limit] of Object.entries(limits)) expect(long.find(([path]) => path === name)![1]).toBeLessThan(limit);
  });

  it("has a place for everything on the README's map", () => {
    const map = /```\nsrc\/\n(.*?)```/s.exec(readFileSync(join(root, 'README.md'), 'utf8'))![1];
    const folders = (path: string, pattern: RegExp): string[] =>
      readdirSync(path, { withFileTypes: true }).flatMap(({ name }) => (pattern.test(name) ? [name] : []));
    const isFolder = (path: string) => (name: string) => statSync(join(path, name)).isDirectory();
    const inside = folders(sources, /^\w/).map((name) => (isFolder(sources)(name) ? `${name}/` : name));
    const hidden = [...leaves.map((leaf) => `${leaf}.ts`)];
    const outside = folders(root, /^(?!node_modules$|dist$|coverage$|runs$)\w/).filter(isFolder(root));
    const missing = [...inside.filter((name) => !hidden.includes(name)), ...outside.map((name) => `${name}/`)];
    expect(missing.filter((name) => !new RegExp(`(^|[\\s,])${name.replace('.', '\\.')}`, 'm').test(`src/\n${map}`))).toEqual([]);
  });

  it('says in each head what the file is', () => {
    expect(files.filter(({ text }) => !/^(#!.*\n)?\/\/ /.test(text)).map(({ name }) => name)).toEqual([]);
  });

  it('says of all that a door exports what it is', () => {
    const undocumented: string[] = [];
    for (const { path, name: door, text } of files.filter(({ name }) => roomOf(name) === 'door')) {
      for (const [, names, from] of text.matchAll(/^export (?:type )?\{([^}]*)\} from '(\.[^']+)'/gm)) {
        const folder = dirname(target(path, from));
        const texts = files.filter(({ name }) => dirname(name) === folder).map(({ text }) => text);
        for (const name of names.split(',').flatMap((item) => /(?:type )?(\w+)/.exec(item.trim())?.[1] ?? [])) {
          const declared = new RegExp(`\\*/\nexport (?:abstract |async )?(?:function\\*?|class|interface|type|const) ${name}\\b`);
          if (!texts.some((text) => declared.test(text))) undocumented.push(`${door}: ${name}`);
        }
      }
    }
    expect(undocumented).toEqual([]);
  });

  it('exports nothing by default and names no any', () => {
    const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    expect(files.filter(({ text }) => /^export default|:\s*any\b|<any>/m.test(code(text))).map(({ name }) => name)).toEqual([]);
  });
});
