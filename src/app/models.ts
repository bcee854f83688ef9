// `openelm pull`, `list` and `remove`: models of the hub in the cache of this machine. Three verbs in one file, as they are the three
// sides of one thing; the cache itself is io/node's.

import { Command } from 'commander';
import { InputError } from '../errors.js';
import { configNames } from '../model/config.js';
import { hubOptions } from './loading.js';
import { formatBytes, progressBar } from './progress.js';
import { interruptible, type Terminal, tell, UsageError, writeJson, writeLine } from './terminal.js';

const pullHelp = `
Writes the directory of the downloaded model to stdout. What is there already is not downloaded again, an interrupted download goes
on where it stopped, and every file is checked by size and hash. HF_TOKEN, HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are honoured.

Example:
  $ openelm pull apple/OpenELM-270M-Instruct`;

/** Downloads a model. */
export function pullCommand(terminal: Terminal): Command {
  return new Command('pull')
    .argument('<id>', 'hub id, as apple/OpenELM-270M-Instruct')
    .option('--revision <name>', 'branch, tag or commit (default: main)')
    .addHelpText('after', pullHelp)
    .action(async (id: string, { revision }: { revision?: string }) => {
      if (configNames.includes(id)) throw new InputError(`${id} names a shape; its weights are apple/${id}`);
      const { downloadModel } = await import('../io/node/hub.js');
      const bar = progressBar(terminal.stderr);
      const directory = await interruptible(terminal, (signal) =>
        downloadModel(id, { ...hubOptions(bar), revision, signal }),
      ).finally(() => bar.finish());
      writeLine(terminal, directory);
    });
}

const listHelp = `
Lists the OpenELM models in the Hugging Face cache; other models that lie there (it is shared with Python) only with --all.

With --json the output is {"cache", "models": [{"id", "bytes", "commit" (of main; or null), "missing" (the first file that main
lacks; null when it can be loaded), "problem" (why its config cannot be read; or null), "openelm" (null when its config is not
there, or cannot be read)}]}.

Example:
  $ openelm list`;

/** Shows what is cached. */
export function listCommand(terminal: Terminal): Command {
  return new Command('list')
    .option('--all', 'models of other kinds too')
    .option('--json', 'write one JSON object')
    .addHelpText('after', listHelp)
    .action((options: { all?: boolean; json?: boolean }) => list(terminal, options));
}

async function list(terminal: Terminal, { all, json }: { all?: boolean; json?: boolean }): Promise<void> {
  const { cachedModels } = await import('../io/node/hub-models.js');
  const { cacheDir, models } = await cachedModels();
  const shown = models.filter(({ isOpenElm }) => all || isOpenElm !== false);
  if (json) {
    const rows = shown.map(({ id, bytes, commit = null, missing = null, problem = null, isOpenElm = null }) => ({
      ...{ id, bytes, commit, missing, problem, openelm: isOpenElm },
    }));
    writeJson(terminal, { cache: cacheDir, models: rows });
    return;
  }
  const width = Math.max(0, ...shown.map(({ id }) => id.length));
  for (const { id, bytes, commit, missing, problem, isOpenElm } of shown) {
    const state = [
      commit === undefined ? 'main is not here' : missing === undefined ? '' : `incomplete: lacks ${missing}`,
      isOpenElm === false ? 'not an OpenELM' : '',
      problem ?? '',
    ].filter((text) => text !== '');
    const cells = [id.padEnd(width), formatBytes(bytes).padStart(7), commit?.slice(0, 8) ?? '-'.padEnd(8), state.join(', ')];
    writeLine(terminal, cells.join('  ').trimEnd());
  }
  const others = models.length - shown.length;
  if (shown.length === 0) tell(terminal, `no OpenELM model in ${cacheDir}; \`openelm pull ID\` downloads one`);
  if (others > 0) tell(terminal, `${others} of other kinds not shown; --all does`);
}

const removeHelp = `
Removes the model from the Hugging Face cache, which Python's tools share, and says what that frees.

Example:
  $ openelm remove apple/OpenELM-270M-Instruct`;

/** Removes models from the cache. */
export function removeCommand(terminal: Terminal): Command {
  return new Command('remove')
    .argument('<id...>', 'hub ids, as `openelm list` shows them')
    .option('--json', 'write one JSON object: {"removed": [{"id", "bytes"}]}')
    .addHelpText('after', removeHelp)
    .action(async (ids: string[], { json }: { json?: boolean }) => {
      if (new Set(ids).size < ids.length) throw new UsageError('a model is named twice');
      const { removeCachedModel } = await import('../io/node/hub-models.js');
      const removed: { id: string; bytes: number }[] = [];
      for (const id of ids) {
        removed.push({ id, bytes: await removeCachedModel(id) });
        if (!json) writeLine(terminal, `removed ${id}: ${formatBytes(removed.at(-1)!.bytes)} free again`);
      }
      if (json) writeJson(terminal, { removed });
    });
}
