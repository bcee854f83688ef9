// Starts processes under the MPI launchers of this machine, for the tests here. Where there is none, tests are skipped, and say so.

import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Launcher {
  readonly name: string;
  /** The command that starts so many ranks. */
  command(ranks: number): readonly string[];
}

const openMpi = (program: string): Launcher => ({
  name: 'Open MPI',
  command: (ranks) => [
    program,
    ...(process.getuid?.() === 0 ? ['--allow-run-as-root'] : []),
    '--oversubscribe',
    '-n',
    `${ranks}`,
  ],
});
const mpich = (program: string): Launcher => ({ name: 'MPICH', command: (ranks) => [program, '-n', `${ranks}`] });

/** The launchers that are installed: those of Open MPI and of MPICH. */
export function launchers(): Launcher[] {
  const version = (program: string): string => spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const found: Launcher[] = [];
  const ompi = ['mpirun.openmpi', 'mpirun'].find((program) => /Open MPI|PRRTE/.test(version(program)));
  if (ompi) found.push(openMpi(ompi));
  const hydra = ['mpiexec.hydra', 'mpirun.mpich', 'mpirun'].find((program) => version(program).includes('HYDRA'));
  if (hydra) found.push(mpich(hydra));
  if (found.length === 0)
    process.stderr.write('SKIPPED: neither Open MPI nor MPICH is installed (apt-get install openmpi-bin, or mpich)\n');
  return found;
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Launched {
  readonly pid: number;
  readonly ended: Promise<Outcome>;
  /** What was written to stderr so far. */
  stderr(): string;
}

/** Starts `node ...args` on so many ranks, with one thread each; `plain`: `args` are all of the command. */
export function launch(
  { command }: Launcher,
  ranks: number,
  args: readonly string[],
  env: Record<string, string> = {},
  plain = false,
): Launched {
  const [program, ...rest] = [...command(ranks), ...(plain ? [] : [process.execPath]), ...args];
  const child = spawn(program, rest, {
    cwd: root,
    env: { ...process.env, OPENELM_THREADS: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) child[name].on('data', (text) => (written[name] += text));
  return {
    pid: child.pid!,
    stderr: () => written.stderr,
    ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, ...written }))),
  };
}

/** A TypeScript file as an argument of node. */
export function script(name: string): string[] {
  return ['--import', import.meta.resolve('tsx'), fileURLToPath(new URL(name, import.meta.url))];
}
