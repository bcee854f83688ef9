// What an answer's text must be: OpenAI's `response_format`, as an option of the generation.

import type { TextModel, TextOptions } from '../../infer/text.js';
import { badField } from '../errors.js';
import { isObject } from '../fields.js';

/** Throws `ApiError` 400 on a format that is not supported, or malformed. `param`: the field's name. */
export function readFormat(_model: TextModel, format: unknown, param = 'response_format'): TextOptions {
  if (format === undefined || format === null) return {};
  const type = isObject(format) ? format.type : undefined;
  if (type === 'text') return {};
  if (type === 'json_schema' || type === 'json_object')
    throw badField(param, `${param} of type ${type} is not supported: only text is`);
  throw badField(param, `${param} must be {"type": "text"}`);
}
