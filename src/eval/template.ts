// Task templates: Jinja as lm-evaluation-harness sets it up (its utils.py), where a missing name is an error, a trailing newline
// stays. The engine is template/'s, which chat templates share.

import { InputError, messageOf } from '../errors.js';
import { bind, intArgument, textArgument } from '../python/arguments.js';
import { spend } from '../python/budget.js';
import { pythonRegex, substitute } from '../python/regex.js';
import { isText, type Keywords, textOf, typeName, UndefinedError, type Value } from '../python/values.js';
import type { Host } from '../template/host.js';
import type { Settings } from '../template/interpreter.js';
import { Template } from '../template/template.js';
import { watched } from './watched.js';

interface TemplateOptions {
  /** Jinja's own default drops one newline at the end; the harness keeps it since 0.4.9. */
  readonly keepTrailingNewline?: boolean;
}

const settings: Settings = {
  sandboxed: false,
  strict: true,
  globals: new Map(),
  filters: new Map([['regex_replace', regexReplace]]),
  missing: (what, object, name) =>
    what === 'name'
      ? `there is no column "${name}"`
      : what === 'field'
        ? `there is no field "${name}"`
        : `an index is out of range: ${object} has no ${name}`,
};

/** The harness's own filter: `re.sub(pattern, repl, string, count)`. */
function regexReplace(_: Host, input: Value, args: readonly Value[], keywords: Keywords): Value {
  const [pattern, repl, count] = bind('regex_replace', 'pattern, repl, count?', args, keywords);
  if (!isText(input)) throw new InputError(`expected string or bytes-like object, got '${typeName(input)}'`);
  const [text, by, most] = [textOf(input), textArgument(repl, 'repl'), intArgument(count, 0)];
  spend(16 * text.length);
  const expression = pythonRegex(textArgument(pattern, 'pattern'));
  const made = watched(() => substitute(expression, by, text, most));
  spend(made.length);
  return made;
}

const compiled = new Map<string, Template>();

/** Parsed once per source; throws `InputError` when it is not Jinja. */
function compile(source: string, keepTrailingNewline: boolean): Template {
  const key = `${keepTrailingNewline} ${source}`;
  let template = compiled.get(key);
  if (!template) {
    try {
      template = new Template(source, { keepTrailingNewline }, settings);
    } catch (error) {
      throw new InputError(`the template ${shown(source)} is not valid Jinja: ${messageOf(error)}`);
    }
    compiled.set(key, template);
  }
  return template;
}

function shown(source: string): string {
  return JSON.stringify(source.slice(0, 60));
}

/** Throws `InputError` when `source` is not a template that can be parsed. */
export function checkTemplate(source: string): void {
  compile(source, true);
}

/** The template's text with the document's columns as its variables. Throws `InputError` for a column that is not there. */
export function renderTemplate(source: string, doc: Readonly<Record<string, unknown>>, options: TemplateOptions = {}): string {
  const template = compile(source, options.keepTrailingNewline ?? true);
  try {
    return template.render(doc);
  } catch (error) {
    if (!(error instanceof InputError) || error instanceof UndefinedError) throw error;
    throw new InputError(`the template ${shown(source)} fails: ${error.message}`);
  }
}
