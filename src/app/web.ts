// `openelm web`: the chat page with models that run in the page. Finds the models and serves files until Ctrl-C; the server is
// web-server.ts, what computes is openelm/browser.

import { basename } from 'node:path';
import { Command } from 'commander';
import { InputError } from '../errors.js';
import { defaultChatModel, defaultModel, openCheckpoint } from '../index.js';
import { hubOptions } from './loading.js';
import { addModelOption, wholeNumber } from './options.js';
import { progressBar } from './progress.js';
import { Interrupted, interruptible, type Terminal, tell, untilInterrupted } from './terminal.js';
import { exportWeb, type WebModel } from './web-files.js';
import { serveWeb } from './web-server.js';

const help = `
MODELS are directories with safetensors weights, or hub ids, which are downloaded first; without any, the two in the package. They run in
the browser that opens the page, on its device: this server sends files and computes nothing. The page is isolated, so its models have
threads; it is kept by the browser and opens without this server too.

With --export the page and the models' files are written into a folder that any static host can serve, below any path; where the host sends no
headers the page isolates itself (docs/browser.md).

Examples:
  $ openelm web apple/OpenELM-270M-Instruct --port 8080
  $ openelm web --export site`;

interface WebOptions {
  readonly model?: string;
  readonly host: string;
  readonly port: number;
  readonly export?: string;
}

/** The verb with its options. */
export function webCommand(terminal: Terminal): Command {
  return addModelOption(
    new Command('web').argument('[models...]', 'the models that the page offers, the first at once'),
    'the two in the package',
  )
    .option(
      '--host <address>',
      'the address to listen at; pages from elsewhere than this machine need https for threads',
      '127.0.0.1',
    )
    .option('--port <n>', 'the port; 0 takes a free one', wholeNumber(0, 65535), 8484)
    .option('--export <folder>', 'write the page into a folder for any static host instead of serving it')
    .addHelpText('after', help)
    .action(async (words: string[], { model, host, port, export: folder }: WebOptions) => {
      const named = [...(model === undefined ? [] : [model]), ...words];
      const models = await found(terminal, named.length > 0 ? named : [defaultChatModel, defaultModel]);
      if (folder !== undefined) {
        await interruptible(terminal, (signal) => exportWeb(models, folder, signal), { writes: true });
        tell(terminal, `${folder} has the page and ${models.map(({ id }) => id).join(', ')}; a static host serves it as it is`);
        return;
      }
      const server = await serveWeb(models, host, port);
      tell(terminal, `${models.map(({ id }) => id).join(', ')} at ${server.url}, computed in the browser; Ctrl-C ends it`);
      await untilInterrupted(terminal);
      await server.close();
      throw new Interrupted();
    });
}

async function found(terminal: Terminal, words: readonly string[]): Promise<WebModel[]> {
  const bar = progressBar(terminal.stderr);
  const models: WebModel[] = [];
  try {
    for (const word of words) {
      const { directory, format } = await openCheckpoint(word, hubOptions(bar));
      if (format !== 'hf')
        throw new InputError(
          `${word}: pages are offered folders with safetensors, not ${format}: \`openelm convert\` it, or open it in the page`,
        );
      const id = /^[\w.-]+\/[\w.-]+$/.test(word) || !/[/\\]/.test(word) ? word : basename(directory);
      if (models.some((model) => model.id === id)) throw new InputError(`two models are called ${id}: rename one's directory`);
      models.push({ id, directory });
    }
  } finally {
    bar.finish();
  }
  return models;
}
