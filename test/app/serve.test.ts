// `openelm serve` as a command: what it says, its settings from line, environment and file, a taken port, the end.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { main } from '../../src/app/main.js';
import type { Terminal } from '../../src/app/terminal.js';
import { temporaryFolder } from '../temporary.js';
import { run } from './terminal.js';

const folder = temporaryFolder();

interface Serving {
  readonly url: string;
  readonly line: string;
  stop(): Promise<{ code: number; stdout: string; stderr: string }>;
}

/** Starts a server and waits until it says where. */
async function start(...argv: string[]): Promise<Serving> {
  let interrupt = (): void => {};
  let said = (_: string): void => {};
  const written = { stdout: '', stderr: '' };
  const line = new Promise<string>((resolve) => {
    said = (text) => /openelm: serving/.test(text) && resolve(text);
  });
  const stream = (name: 'stdout' | 'stderr') =>
    ({
      write: (text: string) => {
        written[name] += text;
        said(text);
        return true;
      },
    }) as unknown as Terminal['stdout'];
  const terminal: Terminal = {
    ...{ stdin: process.stdin, stdout: stream('stdout'), stderr: stream('stderr') },
    onInterrupt(listener) {
      interrupt = listener;
      return () => {};
    },
  };
  const code = main(['serve', '--port', '0', ...argv], terminal);
  const text = await Promise.race([line, code.then(() => written.stderr)]);
  return {
    ...{ line: text, url: /at (http:\S+)\//.exec(text)?.[1] ?? '' },
    stop: async () => {
      interrupt();
      return { code: await code, ...written };
    },
  };
}

describe('serve', () => {
  it('says in one line what is served, answers, logs, and ends at Ctrl-C', async () => {
    const server = await start();
    expect(server.line).toMatch(
      /^openelm: serving tales-6m-instruct, tales-6m at http:\/\/127\.0\.0\.1:\d+\/ on .+; memory with the cache of 8 answers at once: f16 [\d.]+ MB, f16 [\d.]+ MB; Ctrl-C ends it\n$/,
    );
    const { data } = await (await fetch(`${server.url}/v1/models`)).json();
    expect(data).toHaveLength(2);
    const page = await (await fetch(`${server.url}/`)).text();
    for (const file of [...page.matchAll(/(?:src|href)="(\/page\/[^"]+)"/g)].map((match) => match[1])) {
      const answer = await fetch(server.url + file);
      expect([file, answer.status]).toEqual([file, 200]);
      for (const [, name] of (await answer.text()).matchAll(/ from '\.\/([\w.]+)'/g))
        expect((await fetch(`${server.url}/page/${name}`)).status, name).toBe(200);
    }
    const taken = await run(['serve', '--port', new URL(server.url).port]);
    expect(taken).toMatchObject({ code: 1, stdout: '' });
    expect(taken.stderr).toMatch(
      /^openelm: port \d+ of 127\.0\.0\.1 is in use, perhaps by another openelm: choose another with --port\n$/,
    );
    const { code, stdout } = await server.stop();
    expect(code).toBe(130);
    expect(JSON.parse(stdout.split('\n')[0])).toMatchObject({ method: 'GET', path: '/v1/models', status: 200 });
  });

  it('takes settings from a file, under the environment, under the command line', async () => {
    const config = join(folder, 'serve.yaml');
    writeFileSync(config, 'models: [stories=tales-6m]\nmax-concurrent: 2\ntimeout:\nqueue: 7\napi_key: [one, two]\nlog: false\n');
    process.env.OPENELM_MAX_CONCURRENT = '3';
    try {
      const server = await start('--config', config);
      expect(server.line).toContain('serving stories at');
      expect(server.line).toContain('3 answers at once');
      const status = async (key: string) =>
        (await fetch(`${server.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).status;
      expect([await status('one'), await status('two'), await status('three')]).toEqual([200, 200, 401]);
      expect((await server.stop()).stdout).toBe('');
    } finally {
      delete process.env.OPENELM_MAX_CONCURRENT;
    }
  });

  it.each([
    ['port: 99999', /serve.yaml: port is 99999. It must be a whole number from 0 to 65535/],
    ['prot: 1', /there is no option prot; did you mean port\?/],
    ['log: 3', /log is 3; expected true or false/],
    ['[1]', /expected keys and values/],
  ])('refuses %s', async (text, message) => {
    const config = join(folder, 'serve.yaml');
    writeFileSync(config, text);
    const { code, stderr } = await run(['serve', '--config', config]);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
  });

  it.each([
    [['a=tales-6m', 'a=tales-6m-instruct'], 1, /two models are called a/],
    [['no/such/model/here'], 1, /no such directory or file/],
    [['--memory', 'much'], 2, /It must be a size like 4GB/],
    [['--adapter', 'nameless'], 2, /expected name=directory/],
    [['--adapter', 'none=no/such'], 1, /no\/such: no such directory; an adapter is one in PEFT's layout/],
    [['--context', '999999'], 1, /a context of 999999 tokens is out of range: this model takes 2 to \d+/],
    [['--memory', '1kB'], 1, /tales-6m-instruct takes .* with its cache for 8 answers at once, more than --memory, 1\.0 kB/],
    [['--api-key', ''], 2, /^openelm: --api-key \(OPENELM_API_KEY\): a key must not be empty/],
    [['--cors', 'https://a.b/'], 2, /It must be \* or origins like https:\/\/example\.org, without a path/],
    [['--max-body', '0'], 2, /No request is smaller than 1024 bytes/],
  ])('refuses %j', async (argv, code, message) => {
    const outcome = await run(['serve', '--port', '0', ...argv]);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toMatch(message);
  });
});
