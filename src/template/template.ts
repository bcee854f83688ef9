// Jinja templates as Python runs them, the one engine of chat templates (as transformers sets Jinja up) and of evaluation tasks (as
// lm-evaluation-harness does). A template is parsed once; a render has a budget of work, so that a stranger's cannot hang the program.
// What the values mean is infer/chat.ts's and eval/template.ts's.

import { InputError, messageOf } from '../errors.js';
import { withBudget } from '../python/budget.js';
import { charactersIn } from '../python/values.js';
import { Interpreter, type Settings } from './interpreter.js';
import { type ParserOptions, parse } from './parser.js';
import type { Statement } from './tree.js';

/** Longer sources are no templates. */
const MAX_SOURCE = 1 << 20;

export class Template {
  private readonly body: readonly Statement[];

  /** Throws `InputError` that says where `source` is no template. */
  constructor(
    source: string,
    options: ParserOptions,
    private readonly settings: Settings,
  ) {
    if (source.length > MAX_SOURCE)
      throw new InputError(`it has ${source.length} characters; ${MAX_SOURCE} are the most that a template may have`);
    this.body = shallow(() => parse(source, options));
  }

  /** The template's text for the variables. Throws `InputError` with the reason when it fails or asks for too much work. */
  render(variables: Readonly<Record<string, unknown>>): string {
    return withBudget(charactersIn(variables), () => shallow(() => new Interpreter(this.settings, variables).run(this.body)));
  }
}

/** A chain of thousands of operators or a value inside itself can exhaust the stack: that is the template's fault, said as such. */
function shallow<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError) throw new InputError(`it is nested too deeply or grows too large (${messageOf(error)})`);
    throw error;
  }
}
