// What an answer's text must be: OpenAI's `response_format`, as an option of the generation.

import { shown } from '../../errors.js';
import type { TextOptions } from '../../infer/text.js';
import { badField } from '../errors.js';
import { isObject } from '../fields.js';

/** Throws `ApiError` 400 on a format that there is not, or malformed; what a schema may say is checked when it is used. `param`: the field's name. */
export function readFormat(format: unknown, param = 'response_format'): TextOptions {
  if (format === undefined || format === null) return {};
  const type = isObject(format) ? format.type : undefined;
  if (type === 'text') return {};
  if (type === 'json_object') return { jsonSchema: { type: 'object' } };
  if (!isObject(format) || type !== 'json_schema')
    throw badField(param, `${param} is ${shown(format)}; expected {"type": "text"}, "json_object" or "json_schema"`);
  // Chat completions have the schema in an object of its own, responses beside the type.
  const schema = isObject(format.json_schema) ? format.json_schema.schema : format.schema;
  if (!isObject(schema))
    throw badField(param, `${param} has no schema; expected {"type": "json_schema", "json_schema": {"schema": {...}}}`);
  return { jsonSchema: schema };
}
