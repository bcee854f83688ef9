// Which tokens a tokenizer.json's post-processor puts around every text: one in front at most, one behind it at most. What they are called
// elsewhere, and putting them there, is others'.

import { InputError, shown } from '../errors.js';
import { type Json, Reader } from './json-file.js';

/** The texts of the tokens; undefined where none is put. */
export interface Edges {
  readonly begins?: string;
  readonly ends?: string;
}

/** `file` is named in messages. Throws `InputError` for what changes ids and is not done here. */
export function edgesOf(postProcessor: unknown, file: string): Edges {
  const reader = new Reader(file);
  const token = (value: unknown, key: string): string => reader.text(value, key, 'the text of a token is expected');
  let [front, back]: [string[], string[]] = [[], []];
  const template = (step: Json, key: string): void => {
    const items = reader.list(step.single, `${key}.single`).map((item, i) => reader.object(item, `${key}.single[${i}]`));
    const at = items.findIndex((item) => 'Sequence' in item);
    if (at < 0 || items.filter((item) => 'Sequence' in item).length > 1)
      reader.fail(`${key}.single`, step.single, 'a template that holds the text once is expected');
    const tokens = (part: readonly Json[]): string[] =>
      part.flatMap((item) => {
        const id = token(reader.object(item.SpecialToken, `${key}.single`).id, `${key}.single`);
        const named = reader.object(
          reader.object(step.special_tokens, `${key}.special_tokens`)[id],
          `${key}.special_tokens.${id}`,
        );
        return reader
          .list(named.tokens, `${key}.special_tokens.${id}.tokens`)
          .map((one) => token(one, `${key}.special_tokens.${id}`));
      });
    front = [...tokens(items.slice(0, at)), ...front];
    back = [...back, ...tokens(items.slice(at + 1))];
  };
  const walk = (value: unknown, key: string): void => {
    const step = reader.object(value, key);
    const pair = (name: string): string => token(reader.list(step[name], `${key}.${name}`)[0], `${key}.${name}`);
    if (step.type === 'Sequence') {
      for (const [i, one] of reader.list(step.processors, `${key}.processors`).entries()) walk(one, `${key}.processors[${i}]`);
    } else if (step.type === 'TemplateProcessing') template(step, key);
    else if (step.type === 'BertProcessing' || step.type === 'RobertaProcessing') {
      front = [pair('cls'), ...front];
      back = [...back, pair('sep')];
    } else if (step.type !== 'ByteLevel')
      reader.fail(
        `${key}.type`,
        step.type,
        'only TemplateProcessing, BertProcessing, RobertaProcessing and ByteLevel are supported',
      );
  };
  if (postProcessor != null) walk(postProcessor, 'post_processor');
  for (const [tokens, place] of [
    [front, 'in front of'],
    [back, 'behind'],
  ] as const) {
    if (tokens.length > 1)
      throw new InputError(
        `${file}: post_processor puts ${tokens.map(shown).join(' ')} ${place} a text; only one token is supported`,
      );
  }
  return { begins: front[0], ends: back[0] };
}
