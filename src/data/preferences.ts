// Pairs of answers to one prompt, one preferred: rows in the forms that TRL takes (plain texts or conversations, the prompt given or
// hidden in what both answers begin with) and UltraFeedback's Parquet, to token ids, cut by TRL's rule. What is learned from a pair
// is an objective's (train/); rows of single answers are examples.ts.

import { commonPrefix } from '../tokenizer/prefix.js';
import {
  callTools,
  conversationField,
  type Message,
  messagesAt,
  missing,
  type PromptFormat,
  type RowEncoders,
  splitText,
  textAt,
} from './examples.js';
import type { FileRow } from './readers.js';

/** A prompt and two ways to go on: `chosen` is the better one. */
export interface Pair {
  /** At least one token. */
  readonly prompt: Int32Array;
  readonly chosen: Int32Array;
  readonly rejected: Int32Array;
  /** `file:row`. */
  readonly document: string;
  /** Prompt or answers were too long and were cut. */
  readonly cut: boolean;
}

/** How rows become pairs, by TRL's rules of lengths. */
export interface PairOptions {
  /** How pairs of plain texts are put to the model; `auto` and `text`: as they are (TRL's standard format). */
  readonly prompt: PromptFormat;
  /** Tokens of the prompt with its longer answer at most; beyond it the prompt keeps its last `maxPromptLength`. */
  readonly maxLength: number;
  readonly maxPromptLength: number;
  /** Which part of a prompt that is too long is kept; TRL's `truncation_mode`. */
  readonly keep: 'end' | 'start';
  /** Puts an empty system message in front where a conversation has none, as alignment-handbook's recipes did. */
  readonly emptySystemMessage?: boolean;
}

/** Why a row gives no pair, in words that follow a count. */
export type PairDropped =
  | 'chosen equals rejected'
  | 'chosen and rejected have different prompts'
  | 'an empty answer'
  | 'with calls of tools'
  | 'no room for an answer within max_length';

interface PairIds {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/** A row's pair. Throws `InputError` naming file, row and the fields that are there when it has no `chosen` and `rejected`. */
export async function pairOf(row: FileRow, encoders: RowEncoders, options: PairOptions): Promise<Pair | PairDropped> {
  const { value } = row;
  if (value.chosen === undefined || value.rejected === undefined) throw missing(row, 'chosen and rejected (and prompt)');
  if (callTools(row)) return 'with calls of tools';
  const conversation = [value.chosen, value.rejected, value.prompt].some((part) => typeof part === 'object' && part !== null);
  const whole = conversation ? await conversationIds(row, encoders, options) : await textIds(row, encoders, options);
  if (typeof whole === 'string') return whole;
  const fitted = truncatePair(whole, options);
  const [prompt, chosen, rejected] = [fitted.prompt, fitted.chosen, fitted.rejected].map((ids) => Int32Array.from(ids));
  if (prompt.length === 0 || chosen.length === 0 || rejected.length === 0) return 'no room for an answer within max_length';
  // Also where the cut took what told them apart.
  if (commonPrefix(chosen, rejected) === Math.max(chosen.length, rejected.length)) return 'chosen equals rejected';
  const cut = fitted !== whole;
  return { prompt, chosen, rejected, document: `${row.file}:${row.row}`, cut };
}

/**
 * TRL's rule (`DPOTrainer.tokenize_row` up to 0.11, which OpenELM's recipe ran): a prompt that does not fit together with the longer
 * answer is cut to `maxPromptLength`; answers that still do not fit are cut to what is left beside that. Returns what it was given
 * when all fits.
 */
export function truncatePair(pair: PairIds, { maxLength, maxPromptLength, keep }: Omit<PairOptions, 'prompt'>): PairIds {
  const longer = Math.max(pair.chosen.length, pair.rejected.length);
  if (pair.prompt.length + longer <= maxLength) return pair;
  const prompt = keep === 'end' ? pair.prompt.slice(-maxPromptLength) : pair.prompt.slice(0, maxPromptLength);
  if (prompt.length + longer <= maxLength) return { ...pair, prompt };
  const room = Math.max(0, maxLength - maxPromptLength);
  return { prompt, chosen: pair.chosen.slice(0, room), rejected: pair.rejected.slice(0, room) };
}

async function textIds(row: FileRow, encoders: RowEncoders, options: PairOptions): Promise<PairIds | PairDropped> {
  const [chosen, rejected] = [textAt(row, 'chosen'), textAt(row, 'rejected')];
  if (chosen === rejected) return 'chosen equals rejected';
  if (chosen.trim() === '' || rejected.trim() === '') return 'an empty answer';
  const given = row.value.prompt !== undefined && row.value.prompt !== null;
  const shared = given ? 0 : sharedText(chosen, rejected);
  if (!given && shared === 0) return 'chosen and rejected have different prompts';
  const prompt = given ? textAt(row, 'prompt') : chosen.slice(0, shared);
  const answers = [chosen.slice(shared), rejected.slice(shared)];
  if (options.prompt === 'chat') {
    const context: Message[] = [{ role: 'user', content: prompt.trim() }];
    const turns = answers.map((content): Message[] => [{ role: 'assistant', content: content.trim() }]);
    return answersAfter(context, turns, encoders, options);
  }
  const ids = answers.map((answer) => splitText(prompt, answer, encoders.tokenizer));
  const end = Math.min(...ids.map((parts) => parts.prompt.length));
  const [better, worse] = ids.map((parts) => [...parts.prompt.slice(end), ...parts.answer]);
  return { prompt: ids[0].prompt.slice(0, end), chosen: better, rejected: worse };
}

/** The length of the prompt that two texts begin with: what they share, less a space at its end (TRL's `extract_prompt`). */
function sharedText(a: string, b: string): number {
  let end = 0;
  while (end < Math.min(a.length, b.length) && a[end] === b[end]) end++;
  return end > 0 && a[end - 1] === ' ' ? end - 1 : end;
}

async function conversationIds(row: FileRow, encoders: RowEncoders, options: PairOptions): Promise<PairIds | PairDropped> {
  const { prompt } = row.value;
  const [chosen, rejected] = ['chosen', 'rejected'].map((field) => messagesAt(row, field, 'assistant'));
  if (JSON.stringify(chosen) === JSON.stringify(rejected)) return 'chosen equals rejected';
  let shared = 0;
  while (shared < Math.min(chosen.length, rejected.length) && sameMessage(chosen[shared], rejected[shared])) shared++;
  // ShareGPT's pairs have the prompt as `conversations`, and one message as each answer.
  const asking = Array.isArray(prompt) ? 'prompt' : chosen[0]?.role === 'assistant' ? conversationField(row) : undefined;
  const context = asking ? messagesAt(row, asking) : chosen.slice(0, shared);
  const turns = asking ? [chosen, rejected] : [chosen.slice(shared), rejected.slice(shared)];
  // UltraFeedback as published: the prompt as text beside whole conversations.
  const asked = typeof prompt === 'string' ? prompt.trim() : undefined;
  const isAsked = asked === undefined || context.some(({ role, content }) => role === 'user' && content.trim() === asked);
  if (!isAsked || !context.some(({ role }) => role === 'user') || turns.some(([first]) => first?.role !== 'assistant')) {
    return 'chosen and rejected have different prompts';
  }
  if (turns.some((messages) => messages.every(({ content }) => content.trim() === ''))) return 'an empty answer';
  return answersAfter(context, turns, encoders, options);
}

const sameMessage = (a: Message, b: Message): boolean => a.role === b.role && a.content === b.content;

async function answersAfter(
  messages: readonly Message[],
  turns: readonly (readonly Message[])[],
  { chat, tokenizer: { eosId } }: RowEncoders,
  { emptySystemMessage }: PairOptions,
): Promise<PairIds> {
  const withSystem = emptySystemMessage && messages[0].role !== 'system';
  const context: readonly Message[] = withSystem ? [{ role: 'system', content: '' }, ...messages] : messages;
  const prompt = await chat(context, true);
  const whole = await Promise.all(turns.map((answer) => chat([...context, ...answer], false)));
  const end = Math.min(...whole.map((ids) => commonPrefix(prompt, ids)));
  const [chosen, rejected] = whole.map((ids) => {
    // What the template writes behind the last end token is nobody's; one that writes none still has to teach to stop.
    const last = eosId < 0 ? -1 : ids.lastIndexOf(eosId);
    return last >= end ? ids.slice(end, last + 1) : [...ids.slice(end), ...(eosId < 0 ? [] : [eosId])];
  });
  return { prompt: prompt.slice(0, end), chosen, rejected };
}
