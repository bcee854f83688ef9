// `npm run bench -- NAME [options]`: runs bench/NAME.bench.ts, whose exported `run(args)` gets the rest of the line.
// Without a name it lists them. Exits with 2 when there is no such benchmark, with 1 when it fails.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InputError, messageOf, nearest } from '../src/errors.js';

interface Benchmark {
  run(args: string[]): Promise<void>;
}

const suffix = '.bench.ts';
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .sort();

const [name, ...args] = process.argv.slice(2);
if (name === undefined) {
  console.log(`npm run bench -- NAME [options], where NAME is one of:\n${names.map((known) => `  ${known}`).join('\n')}`);
} else if (!names.includes(name)) {
  const guess = nearest(name, names);
  console.error(`There is no benchmark '${name}'${guess ? `; did you mean '${guess}'?` : `: choose from ${names.join(', ')}.`}`);
  process.exitCode = 2;
} else {
  try {
    const benchmark = (await import(pathToFileURL(join(import.meta.dirname, name + suffix)).href)) as Benchmark;
    await benchmark.run(args);
  } catch (error) {
    console.error(error instanceof InputError ? error.message : error instanceof Error ? error.stack : messageOf(error));
    process.exitCode = 1;
  }
}
