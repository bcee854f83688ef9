// `openelm serve`: models behind OpenAI's and Ollama's interfaces and a chat page, on a port of this machine. It has the socket, the
// signals and the log; what is answered is server/handler.ts.

import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import { Command, InvalidArgumentError, type Option } from 'commander';
import { counted, InputError } from '../errors.js';
import { openBackend } from '../index.js';
import { availableMemory } from '../io/node/memory.js';
import { defaultChatModel, defaultModel } from '../locate.js';
import {
  createHandler,
  defaultServerSlots,
  loopbackHosts,
  type ModelSource,
  type RequestLog,
  type ServedModel,
  sourceOf,
} from '../server.js';
import { bracketed, listen } from './listening.js';
import { hubOptions } from './loading.js';
import { addComputeOptions, type ModelOptions, wholeNumber } from './options.js';
import { formatBytes, progressBar } from './progress.js';
import { readConfigFile } from './serve-config.js';
import { pageAssets } from './serve-page.js';
import { Interrupted, type Terminal, tell, UsageError, writeJson } from './terminal.js';
import { version } from './version.js';

interface ServeOptions extends Omit<ModelOptions, 'adapter'> {
  readonly host: string;
  readonly port: number;
  readonly adapter?: readonly string[];
  readonly maxConcurrent: number;
  readonly queue: number;
  readonly timeout: number;
  readonly grace: number;
  readonly maxTokens?: number;
  readonly maxBody: number;
  readonly memory?: number;
  readonly apiKey?: readonly string[];
  readonly cors?: readonly string[];
  readonly allowHost?: readonly string[];
  readonly config?: string;
  readonly log: boolean;
  readonly logBodies?: boolean;
}

const help = `
A MODEL is what other commands take with --model; name=MODEL gives it a name for clients. Several are loaded when they are first
asked for, and put away, the longest unused first, when the next does not fit into --memory. Without one the models in the package
are served: tales-6m-instruct and tales-6m.

It answers OpenAI's /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /v1/models; Ollama's /api/chat, /api/generate,
/api/embed, /api/tags, /api/show, /api/ps; /health, /ready, /metrics (Prometheus); and a chat page at /.
Each request is a line of JSON on stdout, without what was asked and answered. Options may also stand in a YAML file (--config, by
their names without the dashes) or in the environment (OPENELM_PORT, OPENELM_API_KEY, ...); the command line comes first, then the
environment.

Examples:
  $ openelm serve
  $ openelm serve apple/OpenELM-270M-Instruct --dtype q8 --port 8080
  $ openelm serve base=apple/OpenELM-270M --adapter stories=./my-adapter    # clients ask for base and base:stories`;

/** Parses a comma-separated list, which may be given again. */
function list(text: string, before: readonly string[] = []): string[] {
  return [...before, ...text.split(',').map((item) => item.trim())].filter((item) => item !== '');
}

/** `4GB`, `500MB`, or bytes. */
function bytes(text: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)\s*(k|m|g|t)?i?b?$/i.exec(text) ?? [];
  if (digits === undefined) throw new InvalidArgumentError('It must be a size like 4GB or 500MB.');
  return Number(digits) * 1000 ** ' kmgt'.indexOf(unit.toLowerCase() || ' ');
}

/** As `list`: keys, none of them empty, as that would let everybody in. Not shown, as they are secret. */
function keys(text: string, before?: readonly string[]): string[] {
  if (text.split(',').some((key) => key.trim() === ''))
    throw new UsageError('--api-key (OPENELM_API_KEY): a key must not be empty');
  return list(text, before);
}

/** As `list`: what browsers call the origin of a page, or of an extension. */
function origins(text: string, before?: readonly string[]): string[] {
  if (!list(text).every((origin) => /^(?:\*|null|[a-z][a-z\d+.-]*:\/\/[^\s/]+)$/i.test(origin)))
    throw new InvalidArgumentError('It must be * or origins like https://example.org, without a path.');
  return list(text, before);
}

function bodySize(text: string): number {
  const size = bytes(text);
  if (size < 1024) throw new InvalidArgumentError('No request is smaller than 1024 bytes.');
  return size;
}

function options(): readonly Option[] {
  const command = new Command()
    .option('-m, --model <model>', 'a model; the same as a word')
    .option('--host <address>', 'the address to listen at; 0.0.0.0 is every one of this machine', '127.0.0.1')
    .option('--port <n>', 'the port; 0 takes a free one', wholeNumber(0, 65535), 8383);
  addComputeOptions(command)
    .option('--adapter <name=directory>', 'an adapter of the first model, asked for as model:name; may be repeated', list)
    .option('--max-concurrent <n>', 'answers computed at once, for each model', wholeNumber(1, 256), defaultServerSlots)
    .option('--queue <n>', 'answers that may wait; beyond them clients get 429', wholeNumber(0), 64)
    .option('--timeout <s>', 'seconds that an answer may take, waiting included', wholeNumber(1), 600)
    .option('--grace <s>', 'seconds that answers under way have at the end (Ctrl-C)', wholeNumber(0), 10)
    .option('--max-tokens <n>', 'tokens of an answer at most, whatever is asked for', wholeNumber(1))
    .option('--max-body <size>', 'the largest body of a request', bodySize, 8 << 20)
    .option('--memory <size>', 'what loaded models may take, with their caches (default: what is free)', bytes)
    .option('--api-key <key>', 'ask for this key; may be repeated (better: OPENELM_API_KEY, which other users cannot see)', keys)
    .option('--cors <origins>', 'pages of these origins may ask from a browser; * are all (default: none)', origins)
    .option('--allow-host <names>', 'other names that this server is called by (default: only those of this machine)', list)
    .option('--config <file>', 'a YAML file with these options')
    .option('--no-log', 'no line for each request')
    .option('--log-bodies', 'put what is asked into the log');
  return command.options;
}

/** The verb with its options, each also a variable of the environment. */
export function serveCommand(terminal: Terminal): Command {
  const command = new Command('serve').argument('[models...]', 'models, or name=MODEL');
  for (const option of options()) {
    const name = option.long!.slice(2);
    command.addOption(
      option.required && name !== 'config' ? option.env(`OPENELM_${name.replaceAll('-', '_').toUpperCase()}`) : option,
    );
  }
  return command.addHelpText('after', help).action(async (models: string[], { config }: ServeOptions) => {
    const named = config === undefined ? [] : await readConfigFile(command, config);
    await serve(terminal, models.length > 0 ? models : named, command.opts<ServeOptions>());
  });
}

async function serve(terminal: Terminal, words: readonly string[], options: ServeOptions): Promise<void> {
  const sources = await openSources(terminal, words, options);
  const { host, port, apiKey, cors, timeout, grace, memory, log } = options;
  const onRequest = log ? (entry: RequestLog): void => writeJson(terminal, entry) : undefined;
  const handler = createHandler({
    ...{ models: sources, queue: options.queue, timeout: timeout * 1000, maxBody: options.maxBody, maxTokens: options.maxTokens },
    ...{ memory: memory ?? availableMemory(), apiKeys: apiKey, origins: cors, hosts: hostsOf(options) },
    assets: await pageAssets(),
    ...{ onRequest, logBodies: options.logBodies, version: version(), residentMemory: () => process.memoryUsage.rss() },
    onDefect: (error) =>
      tell(terminal, `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
  });
  const server = createAdaptorServer({ fetch: (request) => handler.fetch(request), overrideGlobalObjects: false }) as Server;
  server.headersTimeout = 20_000;
  server.requestTimeout = 60_000;
  const url = await listen(server, host, port).catch(async (error: unknown) => {
    await handler.stop();
    throw error;
  });
  tell(terminal, `serving ${sources.map(({ id }) => id).join(', ')} at ${url} ${await described(sources, options)}`);
  const signal = await ended(terminal);
  if (handler.active > 0)
    tell(terminal, `stopping: ${handler.active} under way may take ${grace} s more; Ctrl-C again ends them now`);
  const hurry = new Promise<number>((now) => {
    const forget = terminal.onInterrupt(() => now(0));
    server.once('close', forget);
  });
  const closed = new Promise((done) => server.close(done));
  server.closeIdleConnections();
  await Promise.race([handler.stop(grace * 1000), hurry.then(() => handler.stop(0))]);
  server.closeAllConnections();
  await closed;
  if (signal === 'SIGINT') throw new Interrupted();
}

/** Models as sources, their files found; what is wrong with one is said before the port is taken. */
async function openSources(terminal: Terminal, words: readonly string[], options: ServeOptions): Promise<ModelSource[]> {
  const { backend, gpu, arithmetic, dtype, activations, threads, context, maxConcurrent, cacheType } = options;
  const named = [...(options.model === undefined ? [] : [options.model]), ...words];
  const bar = progressBar(terminal.stderr);
  const hub = hubOptions(bar);
  const shared = {
    backend,
    gpu,
    arithmetic,
    dtype,
    activations,
    threads,
    context,
    cacheType,
    hub,
    onNotice: hub.onNotice,
    slots: maxConcurrent,
  };
  const adapters = Object.fromEntries((options.adapter ?? []).map(adapterOf));
  const sources: ModelSource[] = [];
  try {
    for (const [i, word] of (named.length > 0 ? named : [defaultChatModel, defaultModel]).entries()) {
      const served: ServedModel = { ...shared, ...modelOf(word), ...(i === 0 ? { adapters } : {}) };
      const source = await sourceOf(served);
      if (options.memory !== undefined && source.bytes > options.memory) {
        throw new InputError(
          `${source.id} takes ${formatBytes(source.bytes)} with its cache for ${counted(maxConcurrent, 'answer')} at once, more than --memory, ` +
            `${formatBytes(options.memory)}: raise it, or lower --dtype, --context or --max-concurrent`,
        );
      }
      sources.push(source);
    }
  } finally {
    bar.finish();
  }
  return sources;
}

/** `name=value`. */
function pairIn(word: string): [name: string, value: string] | undefined {
  const [, name, value] = /^([\w.-]+)=(.+)$/s.exec(word) ?? [];
  return name === undefined ? undefined : [name, value];
}

function modelOf(word: string): ServedModel {
  const [name, model] = pairIn(word) ?? [undefined, word];
  return { name, model };
}

function adapterOf(word: string): [name: string, directory: string] {
  const found = pairIn(word);
  if (!found) throw new UsageError(`--adapter ${word}: expected name=directory`);
  return found;
}

/** On an address of this machine alone only its own names are answered to. */
function hostsOf({ host, allowHost }: ServeOptions): readonly string[] | undefined {
  const local = host === 'localhost' || host === '::1' || host.startsWith('127.');
  if (!local) return allowHost && [...allowHost, ...loopbackHosts, bracketed(host)];
  return [...loopbackHosts, bracketed(host), ...(allowHost ?? [])].map((name) => name.toLowerCase());
}

/** Precision, memory and what computes. */
async function described(sources: readonly ModelSource[], options: ServeOptions): Promise<string> {
  const { backend } = await openBackend(options.backend, options, Math.max(...sources.map(({ bytes }) => bytes)));
  const text = backend.description;
  await backend.dispose();
  const each = sources.map(({ bytes, details }) => `${details!.dtype} ${formatBytes(bytes)}`);
  return `on ${text}; memory with the cache of ${counted(options.maxConcurrent, 'answer')} at once: ${each.join(', ')}; Ctrl-C ends it`;
}

/** Ctrl-C, or a polite end from outside, which is no failure. */
function ended(terminal: Terminal): Promise<'SIGINT' | 'SIGTERM'> {
  return new Promise((resolve) => {
    const forget = terminal.onInterrupt(() => end('SIGINT'));
    const terminate = (): void => end('SIGTERM');
    const end = (signal: 'SIGINT' | 'SIGTERM'): void => {
      forget();
      process.off('SIGTERM', terminate);
      resolve(signal);
    };
    process.on('SIGTERM', terminate);
  });
}
