// `openelm chat`: a conversation on the terminal, or a line a turn from a pipe. Answers go to stdout, all else to stderr. The
// whole transcript is encoded anew each turn; what of it the engine has in its cache is not computed again.

import { createInterface } from 'node:readline';
import { Command } from 'commander';
import { counted, InputError, nearest } from '../errors.js';
import { type ChatMessage, defaultChatModel, defaultModel, type Model, type TextResult } from '../index.js';
import type { ConstraintOptions } from '../infer/constraint.js';
import { sentenceOf } from './failure.js';
import { openModel } from './loading.js';
import {
  addGenerationOptions,
  addModelOptions,
  constraintOptions,
  type GenerationOptions,
  generationOptions,
  type ModelOptions,
  modelArgument,
} from './options.js';
import { Interrupted, type Terminal, tell } from './terminal.js';

interface ChatOptions extends ModelOptions, GenerationOptions {
  readonly system?: string;
}

const help = `
A line is a turn. /reset forgets the conversation, /exit (or Ctrl-D) leaves, /help lists these. Ctrl-C stops the answer; twice,
or at the prompt, it leaves. When stdin is no terminal each of its lines is a turn and only the answers are written to stdout.
When the context is full the oldest turns are dropped. Without a model it is tales-6m-instruct in the package, which
writes a story about what it is asked.

Example:
  $ openelm chat --model apple/OpenELM-270M-Instruct --system "Answer in one sentence."`;

const commands = ['/reset', '/exit', '/help'];

/** The verb with its options. */
export function chatCommand(terminal: Terminal): Command {
  const command = new Command('chat')
    .argument('[model]', 'the model; the same as --model')
    .option('-s, --system <text>', 'what the model is told before the conversation');
  addModelOptions(command, undefined, `the embedded ${defaultChatModel}`);
  return addGenerationOptions(command, { maxTokens: 512, temperature: 0.7, topP: 0.9 })
    .addHelpText('after', help)
    .action((word: string | undefined, options: ChatOptions) =>
      chat(terminal, { ...options, model: modelArgument(word, options.model) }),
    );
}

async function chat(terminal: Terminal, options: ChatOptions): Promise<void> {
  const constraint = await constraintOptions(options);
  const { adapter } = options; // without a model, its base is taken
  const { model } = await openModel(terminal, { ...options, model: options.model ?? (adapter ? undefined : defaultChatModel) });
  try {
    if (model.checkpoint.name === defaultModel && adapter === undefined) {
      const what = `${defaultModel} is a story model without instruction tuning: it goes on with your text rather than answers`;
      tell(terminal, `note: ${what}`);
    }
    await converse(terminal, model, options, constraint);
  } finally {
    await model.dispose();
  }
}

async function converse(terminal: Terminal, model: Model, options: ChatOptions, constraint: ConstraintOptions): Promise<void> {
  const { stdin, stdout, stderr } = terminal;
  const interactive = Boolean(stdin.isTTY);
  const template = model.hasChatTemplate ? "the model's own template" : "Apple's template for instructions (the model has none)";
  tell(terminal, `${model.checkpoint.name}, by ${template}${interactive ? '; /help lists commands, Ctrl-D leaves' : ''}`);
  const conversation = new Conversation(model, options, constraint, (note) => tell(terminal, `note: ${note}`));
  const input = createInterface({ input: stdin, output: interactive ? stderr : undefined, terminal: interactive });
  let answering: AbortController | undefined;
  let left = false;
  let interrupts = 0;
  const onInterrupt = (): void => {
    // Lines from a pipe follow at once: there the second Ctrl-C leaves, whichever answer it meets.
    const stops = answering !== undefined && !answering.signal.aborted && (interactive || interrupts === 0);
    interrupts++;
    answering?.abort();
    if (stops) return;
    left = true;
    input.close();
  };
  // A terminal in raw mode hands Ctrl-C to readline; from elsewhere it is a signal.
  input.on('SIGINT', onInterrupt);
  const forget = terminal.onInterrupt(onInterrupt);
  const lines = input[Symbol.asyncIterator]();
  let failure: InputError | undefined;
  try {
    while (!left) {
      if (interactive) input.prompt();
      const line = await lines.next();
      if (line.done || left) break;
      const text = line.value.trim();
      if (text === '') continue;
      if (text === '/exit') break;
      if (/^\/[a-z]+$/.test(text)) {
        stderr.write(`${obey(text, conversation)}\n`);
        continue;
      }
      answering = new AbortController();
      try {
        const result = await conversation.answer(text, answering.signal, (piece) => stdout.write(piece));
        stdout.write('\n');
        const end = endOf(result, model, options);
        if (end !== undefined || interactive) stderr.write(`(${end ?? 'it ended by itself'})\n`);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        tell(terminal, sentenceOf(error));
        failure = error;
      } finally {
        answering = undefined;
      }
    }
  } finally {
    forget();
    input.close();
    if (interactive) stderr.write('\n');
  }
  if (left) throw new Interrupted();
  if (failure && !interactive) throw new InputError('not every line got an answer');
}

/** Why an answer ended, unless it ended by itself. */
function endOf({ finishReason, ids, promptIds }: TextResult, { engine }: Model, { maxTokens }: ChatOptions): string | undefined {
  if (finishReason === 'abort') return 'stopped';
  if (finishReason === 'stop') return undefined;
  if (ids.length >= maxTokens) return `cut at ${counted(maxTokens, 'token')}: --max-tokens allows more`;
  return `the context of ${counted(engine.context, 'token')} is full: ${promptIds.length} of the conversation, ${ids.length} of the answer`;
}

/** A line that is a command; returns what to say. */
function obey(command: string, conversation: Conversation): string {
  if (command === '/reset') {
    conversation.reset();
    return 'the conversation starts anew';
  }
  if (command === '/help') return '/reset  forget the conversation\n/exit   leave\nCtrl-C  stop the answer; twice, leave';
  const guess = nearest(command, commands);
  return `openelm: there is no command ${command}; ${guess ? `did you mean ${guess}?` : '/help lists them'}`;
}

/** The turns so far, and how the next one is answered. */
class Conversation {
  private turns: ChatMessage[] = [];

  constructor(
    private readonly model: Model,
    private readonly options: ChatOptions,
    private readonly constraint: ConstraintOptions,
    private readonly note: (text: string) => void,
  ) {}

  reset(): void {
    this.turns = [];
  }

  /** Answers, piece by piece. An answer that is cut short stays as far as it came; a turn that fails is taken back. */
  async answer(text: string, signal: AbortSignal, write: (piece: string) => void): Promise<TextResult> {
    const before = this.turns;
    this.turns = [...before, { role: 'user', content: text }];
    try {
      const ids = await this.fit();
      // With `continuation` the text keeps a leading space, so that encoding it again gives the ids that are in the cache.
      const pieces = this.model.generate(ids, {
        ...generationOptions(this.options),
        ...this.constraint,
        ...(this.turns.length > 1 ? { promptCache: undefined } : {}),
        signal,
        continuation: true,
      });
      let begun = false;
      for (;;) {
        const next = await pieces.next();
        if (next.done) {
          const { text: content, finishReason } = next.value;
          if (content === '' && finishReason === 'abort') this.turns = before;
          else this.turns.push({ role: 'assistant', content });
          return next.value;
        }
        const shown: string = begun ? next.value.text : next.value.text.trimStart();
        begun ||= shown !== '';
        if (shown !== '') write(shown);
      }
    } catch (error) {
      this.turns = before;
      throw error;
    }
  }

  /** The prompt's ids, with the oldest turns dropped until there is room for an answer. */
  private async fit(): Promise<readonly number[]> {
    const { context } = this.model.engine;
    const room = Math.min(this.options.maxTokens, Math.floor(context / 4));
    const system: ChatMessage[] = this.options.system ? [{ role: 'system', content: this.options.system }] : [];
    for (let dropped = 0; ; dropped++) {
      const ids = await this.model.encodePrompt([...system, ...this.turns]);
      if (ids.length + room <= context || this.turns.length === 1) {
        if (dropped > 0)
          this.note(
            `the context of ${counted(context, 'token')} is full: the oldest ${dropped === 1 ? 'turn' : counted(dropped, 'turn')} dropped`,
          );
        return ids;
      }
      this.turns = this.turns.slice(2);
    }
  }
}
