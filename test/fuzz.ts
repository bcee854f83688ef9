// Damaged files of every kind that is read from outside (fuzz-kinds.ts), from a seed: each is read, or refused in one sentence, in time,
// and without taking more memory than the file has bytes and 64 MB. `npm run fuzz -- --count N --seed N --kind NAME --only NUMBER` is the
// nightly size (20,000 of each kind), each kind in a process of its own, so that a crash or a hang is a finding too; the tests take a few.

import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { kinds } from './fuzz-kinds.js';
import { seededRandom } from './io/build.js';

type Random = () => number;

const below = (random: Random, limit: number): number => Math.floor(random() * limit);
const oneOf = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)];

const largeNumbers = [2 ** 16, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 33, 2 ** 53, 2 ** 63].map(BigInt);

/** One or two places changed: a bit, a byte, a run of bytes, a cut, a piece doubled, a number made large, in binary or in digits. */
function damage(bytes: Uint8Array, random: Random): Uint8Array {
  let result = new Uint8Array(bytes); // a Buffer's slice would be the same memory
  for (let times = 1 + below(random, 2); times > 0 && result.length > 0; times--) {
    const at = below(random, result.length);
    const to = Math.min(result.length, at + 1 + below(random, 16));
    switch (below(random, 12)) {
      case 0:
      case 1:
      case 2:
        result[at] ^= 1 << below(random, 8);
        break;
      case 3:
        result[at] = oneOf(random, [0, 1, 0x7f, 0x80, 0xff, below(random, 256)]);
        break;
      case 4:
        result.fill(below(random, 256), at, to);
        break;
      case 5:
        result = result.slice(0, at);
        break;
      case 6:
        result = new Uint8Array([...result.subarray(0, at), ...result.subarray(to)]);
        break;
      case 7:
        result = new Uint8Array([...result.subarray(0, to), ...result.subarray(at)]);
        break;
      case 8:
      case 9: {
        const number = Buffer.alloc(8);
        number.writeBigUInt64LE(oneOf(random, largeNumbers));
        result.set(number.subarray(0, Math.min(oneOf(random, [4, 8]), result.length - at)), at);
        break;
      }
      case 10: {
        const digit = result.findIndex((byte, i) => i >= at && byte >= 0x30 && byte <= 0x39);
        if (digit < 0) break;
        const nines = new Array(1 + below(random, 12)).fill(0x39);
        result = new Uint8Array([...result.subarray(0, digit), ...nines, ...result.subarray(digit + below(random, 2))]);
        break;
      }
      default:
        result.set(result.slice(at, to), below(random, result.length - (to - at) + 1));
    }
  }
  return result;
}

/** JSON that is well-formed but has another value, or none, in one place. */
function damageJson(value: unknown, random: Random): Uint8Array {
  const copy = structuredClone(value);
  const places: [Record<string, unknown>, string][] = [];
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    for (const key of Object.keys(node)) {
      places.push([node as Record<string, unknown>, key]);
      walk((node as Record<string, unknown>)[key]);
    }
  };
  walk(copy);
  const [parent, key] = oneOf(random, places);
  const other = oneOf(random, places);
  const values = [
    ...[null, true, -1, 0, 0.5, 3, 1e308, 2 ** 31, 2 ** 40, 2 ** 53, '', 'x', '\0', '1e9', 'x'.repeat(300)],
    ...[[], {}, [[]], [1, 2], [null], { a: 1 }, JSON.parse('{"__proto__": {"x": 1}}'), other[0][other[1]]],
  ];
  const choice = below(random, values.length + 2);
  if (choice < values.length) parent[key] = structuredClone(values[choice]);
  else if (choice === values.length) delete parent[key];
  else parent[key] = '@deep';
  const deep = oneOf(random, [100, 3000, 100_000]);
  return Buffer.from(JSON.stringify(copy).replace('"@deep"', `${'['.repeat(deep)}${']'.repeat(deep)}`));
}

function parsed(bytes: Uint8Array): unknown {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString());
    return typeof value === 'object' && value !== null && Object.keys(value).length > 0 ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The most memory that was taken since `begin`, in bytes: of pages, and of arrays that have none yet. Linux only; elsewhere of arrays. */
class Memory {
  private pages = 0;
  private arrays = 0;

  begin(): void {
    this.arrays = process.memoryUsage().arrayBuffers;
    if (process.platform !== 'linux') return;
    writeFileSync('/proc/self/clear_refs', '5'); // the peak starts anew
    this.pages = this.status('VmRSS');
  }

  end(): number {
    const arrays = process.memoryUsage().arrayBuffers - this.arrays;
    return Math.max(arrays, process.platform === 'linux' ? this.status('VmHWM') - this.pages : 0);
  }

  private status(key: string): number {
    return Number(new RegExp(`${key}:\\s*(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
  }
}

export interface Outcome {
  readonly read: number;
  readonly refused: number;
  /** Milliseconds of the slowest, and bytes of memory of the largest. */
  readonly slowest: number;
  readonly largest: number;
}

/** Reads the undamaged inputs of a kind. */
export async function readAll(name: string): Promise<void> {
  await inFolder(async (path) => {
    for (const input of kinds[name].inputs) await kinds[name].read(input, path);
  });
}

async function inFolder(work: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'openelm-fuzz-'));
  try {
    await work(join(directory, 'x'));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Throws where one is neither read nor refused in one sentence, or takes too much memory, naming seed and number; `only`: that number alone. */
export async function fuzz(
  name: string,
  count: number,
  seed: number,
  { only, onNumber }: { only?: number; onNumber?: (i: number) => void } = {},
): Promise<Outcome> {
  const { inputs, read, room = 64e6 } = kinds[name];
  const values = inputs.map(parsed);
  const random = seededRandom(seed);
  const outcome = { read: 0, refused: 0, slowest: 0, largest: 0 };
  const memory = new Memory();
  await inFolder(async (path) => {
    for (let i = 0; i < count; i++) {
      const input = i % inputs.length;
      const bytes = values[input] && random() < 0.5 ? damageJson(values[input], random) : damage(inputs[input], random);
      if (only !== undefined && i !== only) continue;
      onNumber?.(i);
      const fail = (what: string): never => {
        throw new Error(`${name}, seed ${seed}, number ${i}: ${what}\n${Buffer.from(bytes).toString('base64').slice(0, 4000)}`);
      };
      for (let tries = 1; ; tries++) {
        memory.begin();
        const started = performance.now();
        let refused = false;
        try {
          await read(bytes, path);
        } catch (error) {
          const { name: kind, message, stack } = error as Error;
          refused = true;
          if (kind !== 'InputError' || message.includes('\n') || message.length > 1000) fail(String(stack ?? error));
        }
        const milliseconds = performance.now() - started;
        const bytesTaken = memory.end();
        // Garbage of others may fall into the time of one: three times it does not.
        if (bytesTaken > bytes.length + room && tries < 3) continue;
        if (bytesTaken > bytes.length + room) fail(`took ${(bytesTaken / 1e6).toFixed(0)} MB for ${bytes.length} bytes`);
        outcome[refused ? 'refused' : 'read']++;
        outcome.slowest = Math.max(outcome.slowest, milliseconds);
        outcome.largest = Math.max(outcome.largest, bytesTaken);
        break;
      }
    }
  });
  return outcome;
}

const patience = 60_000;

/** A kind in a process of its own; what became of it in a line, and whether it is sound. */
function inProcess(name: string, args: string[]): Promise<{ sound: boolean; line: string }> {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), ['--kind', name, '--child', ...args], {
    execArgv: [...process.execArgv, '--max-old-space-size=512'],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let number = -1;
  let result = '';
  let errors = '';
  let hung = false;
  const wait = () => setTimeout(() => (hung = child.kill('SIGKILL')), patience);
  let timer = wait();
  child.on('message', (message: number | string) => {
    if (typeof message === 'string') result = message;
    else number = message;
    clearTimeout(timer);
    timer = wait();
  });
  child.stderr!.on('data', (chunk) => (errors += chunk));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const ended = hung ? `hung for ${patience / 1000} s` : `ended with ${signal ?? code}`;
      resolve(
        code === 0 && result !== ''
          ? { sound: true, line: result }
          : { sound: false, line: `number ${number} ${ended}\n${errors.trim()}` },
      );
    });
  });
}

async function command(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '20000' },
      seed: { type: 'string', default: '1' },
      kind: { type: 'string' },
      only: { type: 'string' },
      child: { type: 'boolean', default: false },
    },
  });
  const { count, seed, kind, only, child } = values;
  if (child) {
    process.on('unhandledRejection', (error) => {
      throw error;
    });
    const onNumber = (i: number): void => void process.send!(i);
    const each = await fuzz(kind!, Number(count), Number(seed), {
      only: only === undefined ? undefined : Number(only),
      onNumber,
    });
    const { read, refused, slowest, largest } = each;
    const line = `${read} read, ${refused} refused, at most ${Math.round(slowest)} ms and ${(largest / 1e6).toFixed(1)} MB`;
    process.send!(line, () => process.disconnect());
    return;
  }
  for (const name of Object.keys(kinds).filter((known) => kind === undefined || known === kind)) {
    const { sound, line } = await inProcess(name, [
      '--count',
      count,
      '--seed',
      seed,
      ...(only === undefined ? [] : ['--only', only]),
    ]);
    process.stdout.write(`${name.padEnd(31)} ${line}\n`);
    if (!sound) process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await command();
