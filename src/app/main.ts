// The command line as a function: arguments and streams in, exit code out. 0: done; 1: bad input, in one sentence, or a defect;
// 2: usage; 130: Ctrl-C; 143: SIGTERM. A verb's own file is imported only when it is called, so that `run` waits for nothing else.

import { Command } from 'commander';
import { visible } from '../errors.js';
import { oneLine, tellFailure } from './failure.js';
import type { Terminal } from './terminal.js';
import { version } from './version.js';

interface Verb {
  readonly name: string;
  readonly description: string;
  /** The command with its options and its action. */
  load(terminal: Terminal): Promise<Command>;
}

const verbs: readonly Verb[] = [
  { name: 'run', description: 'continue a text', load: async (t) => (await import('./run.js')).runCommand(t) },
  { name: 'chat', description: 'talk with a model, turn by turn', load: async (t) => (await import('./chat.js')).chatCommand(t) },
  {
    name: 'serve',
    description: "models behind OpenAI's and Ollama's interfaces, and a chat page",
    load: async (t) => (await import('./serve.js')).serveCommand(t),
  },
  {
    name: 'web',
    description: 'a chat page whose models run in the browser',
    load: async (t) => (await import('./web.js')).webCommand(t),
  },
  {
    name: 'bench',
    description: 'how fast a model answers here',
    load: async (t) => (await import('./bench.js')).benchCommand(t),
  },
  {
    name: 'score',
    description: 'log-probabilities of tokens, and perplexity',
    load: async (t) => (await import('./score.js')).scoreCommand(t),
  },
  {
    name: 'embed',
    description: 'vectors of texts, a line each',
    load: async (t) => (await import('./embed.js')).embedCommand(t),
  },
  {
    name: 'info',
    description: 'layers, parameters and sizes of a model, and what computes here',
    load: async (t) => (await import('./info.js')).infoCommand(t),
  },
  {
    name: 'pull',
    description: 'download a model from the Hugging Face hub',
    load: async (t) => (await import('./models.js')).pullCommand(t),
  },
  {
    name: 'list',
    description: 'downloaded models and their sizes',
    load: async (t) => (await import('./models.js')).listCommand(t),
  },
  {
    name: 'remove',
    description: 'remove downloaded models',
    load: async (t) => (await import('./models.js')).removeCommand(t),
  },
  {
    name: 'init',
    description: 'write a randomly initialised checkpoint',
    load: async (t) => (await import('./init.js')).initCommand(t),
  },
  {
    name: 'eval',
    description: "a model's accuracies as lm-evaluation-harness measures them",
    load: async (t) => (await import('./eval.js')).evalCommand(t),
  },
  {
    name: 'tokenize',
    description: 'text to token ids and back',
    load: async (t) => (await import('./tokenize.js')).tokenizeCommand(t),
  },
  {
    name: 'data',
    description: 'what is in corpora (data stats)',
    load: async (t) => (await import('./data.js')).dataCommand(t),
  },
  {
    name: 'tokenizer',
    description: 'learn a vocabulary from corpora (tokenizer train)',
    load: async (t) => (await import('./tokenizer.js')).tokenizerCommand(t),
  },
  {
    name: 'pretrain',
    description: 'train a model from raw texts',
    load: async (t) => (await import('./pretrain.js')).pretrainCommand(t),
  },
  {
    name: 'tune',
    description: 'teach a model to answer, from conversations or preferences',
    load: async (t) => (await import('./tune.js')).tuneCommand(t),
  },
  {
    name: 'merge',
    description: 'a model with an adapter put into its weights',
    load: async (t) => (await import('./merge.js')).mergeCommand(t),
  },
  {
    name: 'convert',
    description: 'a model in another format: Hugging Face, CoreNet, GGUF, MLX',
    load: async (t) => (await import('./convert.js')).convertCommand(t),
  },
  {
    name: 'quantize',
    description: 'a model in few bits a weight, calibrated on text',
    load: async (t) => (await import('./quantize.js')).quantizeCommand(t),
  },
  {
    name: 'plot',
    description: 'loss, learning rate and throughput of training runs as a picture',
    load: async (t) => (await import('./plot.js')).plotCommand(t),
  },
  {
    name: 'average',
    description: "the mean of a run's last checkpoints as a model",
    load: async (t) => (await import('./average.js')).averageCommand(t),
  },
];

/** Runs one command line (without `node` and the script) and returns its exit code; throws nothing. */
export async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  try {
    const program = await createProgram(argv, terminal);
    // Help of what is no command would be the help of all: as a command it is refused, with the nearest.
    const words =
      argv[0] === 'help' && argv.length > 1 && !program.commands.some((of) => of.name() === argv[1]) ? argv.slice(1) : argv;
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync(words, { from: 'user' });
    return 0;
  } catch (error) {
    return tellFailure(error, terminal);
  }
}

async function createProgram(argv: readonly string[], terminal: Terminal): Promise<Command> {
  const program = new Command('openelm')
    .description('Train and run OpenELM language models.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .enablePositionalOptions() // so that a verb and its subcommands may have options of the same name
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.stdout.write(text),
      writeErr: (text) => terminal.stderr.write(text),
      getOutHelpWidth: () => terminal.stdout.columns ?? 100,
      getErrHelpWidth: () => terminal.stderr.columns ?? 100,
      outputError: (text, write) => write(`openelm: ${visible(oneLine(text.replace(/^error: /, '')))}\n`),
    })
    .addHelpText('after', '\nExample:\n  $ openelm run "Once upon a time"');
  const called = argv[0] === 'help' ? argv[1] : argv[0];
  for (const { name, description, load } of verbs) {
    const command = name === called ? await load(terminal) : new Command(name);
    program.addCommand(inherit(command, program).description(description));
  }
  return program;
}

/** Exit codes, messages and widths of the program, for a verb and for its subcommands, which were added to it before. */
function inherit(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent);
  for (const nested of command.commands) inherit(nested, command);
  return command;
}
