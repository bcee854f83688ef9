// Other engines than Chromium's as Debian has them, started at an address with a profile of their own: Firefox (headless) and WebKitGTK, which
// is Safari's engine (its MiniBrowser, on a display of its own). What they are asked is remote-page.ts's.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Engine {
  readonly name: string;
  /** Where it is; undefined: not here. */
  readonly path: string | undefined;
  /** Whether it has private files, in windows that are not private. */
  readonly keeps: boolean;
  /** What installs it. */
  readonly packages: string;
  readonly needsDisplay?: boolean;
  /** Another half of what has been tried: what it does with threads is of interest. */
  readonly half?: boolean;
  /** With what it is started at an address, in a window that keeps or in a private one. */
  start(profile: string, url: string, isPrivate: boolean): { args: string[]; env?: NodeJS.ProcessEnv };
}

/** Nothing that is first seen, asked, updated or told to the maker. */
const firefoxPreferences = {
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.aboutwelcome.enabled': false,
  'browser.newtabpage.enabled': false,
  'browser.safebrowsing.downloads.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.search.update': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.homepage_override.mstone': 'ignore',
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.ipc.processPrelaunch.enabled': false,
  'extensions.update.enabled': false,
  'extensions.systemAddon.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'termsofuse.bypassNotification': true,
  'toolkit.telemetry.reportingpolicy.firstRun': false,
};

const firefox: Engine = {
  name: 'Firefox',
  path: firstOf(process.env.FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox'),
  packages: 'firefox-esr',
  keeps: true,
  start(profile, url, isPrivate) {
    const lines = Object.entries(firefoxPreferences).map(
      ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
    );
    writeFileSync(join(profile, 'user.js'), lines.join(''));
    return { args: ['--headless', '--no-remote', '--profile', profile, ...(isPrivate ? ['--private-window'] : []), url] };
  },
};

const libraries = '/usr/lib';
const miniBrowsers = existsSync(libraries)
  ? readdirSync(libraries).map((name) => join(libraries, name, 'webkit2gtk-4.1/MiniBrowser'))
  : [];
const xvfb = firstOf('/usr/bin/Xvfb');
const webkit: Engine = {
  name: 'WebKitGTK',
  path: xvfb && firstOf(process.env.WEBKIT, ...miniBrowsers),
  packages: 'libwebkit2gtk-4.1-0 xvfb',
  keeps: false, // FileSystem and AccessHandle are off, and their files cannot be passed to a page's process there
  needsDisplay: true,
  start: (_profile, url, isPrivate) => ({
    args: [...(isPrivate ? ['--private'] : []), url],
    env: { GDK_BACKEND: 'x11', LIBGL_ALWAYS_SOFTWARE: '1', NO_AT_BRIDGE: '1' },
  }),
};
/** What Safari has and Debian's leaves off; and what JavaScriptCore has of relaxed SIMD, which is not all. */
const webkitAsSafari: Engine = {
  ...webkit,
  name: 'WebKitGTK with shared memory',
  half: true,
  start(...given) {
    const { args, env } = webkit.start(...given);
    return { args, env: { ...env, JSC_useSharedArrayBuffer: '1', JSC_useWasmRelaxedSIMD: '1' } };
  },
};

export const engines: readonly Engine[] = [firefox, webkit, webkitAsSafari];

function firstOf(...paths: (string | undefined)[]): string | undefined {
  return paths.find((path): path is string => path !== undefined && existsSync(path));
}

export interface Started {
  /** As the program says it. */
  readonly version: string;
  /** What it has said so far. */
  readonly said: () => string;
  close(): Promise<void>;
}

/** `ended` is told why, if it ends by itself. */
export async function startEngine(
  engine: Engine,
  url: string,
  isPrivate: boolean,
  ended: (error: Error) => void,
): Promise<Started> {
  const path = engine.path!;
  const screen = engine.needsDisplay ? await startScreen() : undefined;
  const profile = mkdtempSync(join(tmpdir(), 'openelm-engine-'));
  const { args, env: own } = engine.start(profile, url, isPrivate);
  const env = { ...process.env, HOME: profile, XDG_RUNTIME_DIR: profile, ...(screen && { DISPLAY: screen.display }), ...own };
  const program = spawn(path, args, { env, detached: true });
  let said = '';
  for (const stream of [program.stdout, program.stderr]) {
    stream.on('data', (data: Buffer) => {
      said = (said + data).slice(-100_000);
    });
  }
  let closing = false;
  const over = new Promise<void>((resolve) => {
    const end = (how: string): void => {
      if (!closing) ended(new Error(`${engine.name} ended (${how}): ${said.slice(-2000)}`));
      resolve();
    };
    program.on('error', (error) => end(error.message));
    program.on('exit', (code, signal) => end(`${signal ?? code}`));
  });
  return {
    version: execFileSync(path, ['--version'], { encoding: 'utf8', env }).trim(),
    said: () => said,
    async close() {
      closing = true;
      endGroup(program);
      await over;
      screen?.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}

/** One that nobody looks at. */
async function startScreen(): Promise<{ display: string; close(): void }> {
  const server = spawn(xvfb!, ['-displayfd', '1', '-screen', '0', '1280x1000x24', '-nolisten', 'tcp'], { detached: true });
  const display = await new Promise<string>((resolve, reject) => {
    server.stdout.once('data', (data: Buffer) => resolve(`:${data.toString().trim()}`));
    server.once('error', reject);
    server.once('exit', (code) => reject(new Error(`Xvfb ended (${code})`)));
  });
  return { display, close: () => endGroup(server) };
}

/** With the processes that it started. */
function endGroup({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, 'SIGKILL');
  } catch {} // it has ended
}
