// Chat templates as transformers runs them (its chat_template_utils.py): an immutable sandbox, trim_blocks and lstrip_blocks on,
// `break` and `continue`, `generation` blocks, raise_exception and strftime_now at hand, `documents` None.

import { InputError, messageOf } from '../errors.js';
import { builtin } from '../python/arguments.js';
import { strftime } from '../python/strftime.js';
import { str, type Value } from '../python/values.js';
import type { Settings } from '../template/interpreter.js';
import { Template } from '../template/template.js';

const settings: Settings = {
  sandboxed: true,
  strict: false,
  globals: new Map<string, Value>([
    [
      'raise_exception',
      builtin('raise_exception', 'message', (message) => {
        throw new InputError(str(message!));
      }),
    ],
    ['strftime_now', builtin('strftime_now', 'format', (format) => strftime(new Date(), str(format!)))],
  ]),
  missing: (what, object, name) =>
    what === 'name'
      ? `'${name}' is undefined`
      : what === 'field'
        ? `'${object}' has no attribute '${name}'`
        : `${object} has no element ${name}`,
};

/** Special tokens by the names that templates have for them: `bos_token`, `eos_token` and the like. */
type TemplateTokens = Readonly<Record<string, string>>;

/**
 * Reads a template; the function renders messages with it. Both throw `InputError`: with the place where the source is no template,
 * with the template's own message where it fails or refuses, and when it asks for too much work.
 */
export function compileChat(
  source: string,
): (
  messages: readonly { role: string; content: string }[],
  addGenerationPrompt: boolean,
  tokens: TemplateTokens,
  tools?: readonly unknown[],
) => string {
  let template: Template;
  try {
    template = new Template(source, { trimBlocks: true, lstripBlocks: true, chatTags: true }, settings);
  } catch (error) {
    throw new InputError(`the model's chat template cannot be read: ${messageOf(error)}`);
  }
  return (messages, addGenerationPrompt, tokens, tools) => {
    try {
      return template.render({
        ...tokens,
        messages: messages.map((message) => ({ ...message })),
        ...{ tools: tools ?? null, documents: null, add_generation_prompt: addGenerationPrompt },
      });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw new InputError(`the model's chat template fails on these messages: ${error.message}`);
    }
  };
}
