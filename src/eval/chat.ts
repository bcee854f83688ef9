// What a prompt is made of, turn by turn, and the two ways to write it: end to end as plain text, or as a model's chat template does
// (lm-evaluation-harness's api/utils.py and `HFLM.apply_chat_template`; transformers' `continue_final_message`). What the turns say is
// requests.ts's, and what of a template's text becomes special tokens is encoding.ts's: every name of one, as in Hugging Face's tokenizers.

import { InputError } from '../errors.js';
import { type ChatTemplates, chosenTemplate, defaultChatTemplate, type TokenNames, templateTokens } from '../infer/chat.js';
import { rstrip, strip } from '../python/text.js';

/** What one side says. */
export interface Turn {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
  /** What plain text has behind it. */
  readonly delimiter: string;
}

/** Asks as in a conversation. */
export interface ChatPrompts {
  /** The template's source. */
  readonly template: string;
  /** Examples are turns of their own; else all of them and the question are one turn of the user. */
  readonly multiturn: boolean;
  /** The text of a conversation that ends where the answer begins, or goes on when its last turn is the assistant's. */
  write(turns: readonly Pick<Turn, 'role' | 'content'>[]): string;
}

/** How conversations are written. */
export interface ChatPromptsOptions {
  /** Default true, as in the harness. */
  readonly multiturn?: boolean;
  /** Told once when the template takes no system turn, which is then left out, as in the harness. */
  readonly onNotice?: (message: string) => void;
}

/** transformers' mark behind the text that is to go on; a template may trim the space at its end. */
const mark = 'CONTINUE_FINAL_MESSAGE_TAG ';

/**
 * Prompts by a model's own template, or by OpenELM-Instruct's where it has none, as `openelm chat` talks. Throws `InputError` when
 * the template cannot be read, and in `write` when it fails.
 */
export async function chatPrompts(
  tokenizer: TokenNames,
  templates: ChatTemplates | undefined,
  { multiturn = true, onNotice }: ChatPromptsOptions = {},
): Promise<ChatPrompts> {
  const { compileChat } = await import('../infer/chat-template.js');
  const template = chosenTemplate(templates) ?? defaultChatTemplate;
  const render = compileChat(template);
  const tokens = templateTokens(tokenizer);
  const begin = (turns: Parameters<ChatPrompts['write']>[0]): string => {
    const last = turns.at(-1);
    if (last?.role !== 'assistant') return render(turns, true, tokens);
    const marked = render([...turns.slice(0, -1), { ...last, content: last.content + mark }], false, tokens);
    const end = marked.lastIndexOf(rstrip(mark));
    if (end < 0 || !marked.includes(strip(last.content)))
      throw new InputError("the model's chat template leaves out how the answer begins");
    const text = marked.slice(0, end);
    return marked.startsWith(mark, end) ? text : rstrip(text);
  };
  let told = false;
  return {
    template,
    multiturn,
    write(turns) {
      try {
        return begin(turns);
      } catch (error) {
        const others = turns.filter(({ role }) => role !== 'system');
        if (!(error instanceof InputError) || others.length === turns.length) throw error;
        const text = begin(others);
        if (!told) onNotice?.(`the system's turn is left out, as ${error.message}`);
        told = true;
        return text;
      }
    },
  };
}

/** The turns as a prompt. */
export function written(turns: readonly Turn[], chat: ChatPrompts | undefined): string {
  if (!chat) return plain(turns);
  return chat.write((chat.multiturn ? turns : singleTurn(turns)).map(({ role, content }) => ({ role, content })));
}

function plain(turns: readonly Turn[]): string {
  return turns.map(({ content, delimiter }) => content + delimiter).join('');
}

/** All but what the system says, and the answer's beginning, as one turn of the user. */
function singleTurn(turns: readonly Turn[]): Turn[] {
  const system = turns.filter(({ role }, i) => i === 0 && role === 'system');
  const begun = turns.slice(-1).filter(({ role }) => role === 'assistant');
  const user = turns.slice(system.length, turns.length - begun.length);
  const last = user.at(-1)!;
  return [
    ...system,
    { role: 'user', content: plain([...user.slice(0, -1), { ...last, delimiter: '' }]), delimiter: '' },
    ...begun,
  ];
}
