// What settings there are, from the schema that checks them: keys, types, defaults and what each is for (its `describe`), as text for
// people. It knows no particular setting; values are checked in config.ts.

import { z } from 'zod';

interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema | false;
  readonly prefixItems?: readonly JsonSchema[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
}

/** One setting, as people need to know it. */
export interface Setting {
  /** With dots between keys, and [] after a list's. */
  readonly key: string;
  readonly type: string;
  readonly required: boolean;
  readonly default?: unknown;
  readonly description?: string;
}

/** All settings of an object schema, in its order; a group comes before what is in it. */
export function settingsOf(schema: z.ZodType): Setting[] {
  return walk(jsonSchemaOf(schema), '');
}

/** A line a setting, its type and default, and what it is for below. */
export function explainSettings(schema: z.ZodType): string {
  const lines = settingsOf(schema).map(({ key, type, required, default: value, description }) => {
    const facts = [type, required ? 'required' : value === undefined ? 'optional' : `default ${JSON.stringify(value)}`];
    return `${key}  (${facts.filter((fact) => fact !== '').join(', ')})\n${description ? `    ${description}\n` : ''}`;
  });
  return lines.join('');
}

/** What a value may be: `none or lora or dora or keys and values`. */
export function typeText(schema: z.ZodType): string {
  return typeOf(jsonSchemaOf(schema));
}

/** The keys of an object schema, those that must be there first and marked: `max (required), schedule, min`. */
export function partsOf(schema: z.ZodType): string {
  const { properties = {}, required = [] } = jsonSchemaOf(schema);
  const optional = Object.keys(properties).filter((key) => !required.includes(key));
  return [...required.map((key) => `${key} (required)`), ...optional].join(', ');
}

function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
}

function walk(schema: JsonSchema, prefix: string): Setting[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const list = property.type === 'array' && property.items ? property.items : undefined;
    const key = `${prefix}${name}${list ? '[]' : ''}`;
    const isGroup = property.properties !== undefined || list?.properties !== undefined;
    const either = (property.anyOf ?? []).filter(({ properties }) => properties);
    // Of several groups one is given: what it must hold is then not required by itself.
    const groups = [list ?? property, ...(either.length > 1 ? either.map((group) => ({ ...group, required: [] })) : either)];
    const setting: Setting = {
      key,
      type: isGroup ? (list ? 'list of groups' : 'group') : typeOf(property),
      required: schema.required?.includes(name) ?? false,
      default: isGroup ? undefined : property.default,
      description: property.description,
    };
    return [setting, ...groups.flatMap((group) => walk(group, `${key}.`))];
  });
}

const names: Record<string, string> = { string: 'text', integer: 'whole number', number: 'number', boolean: 'true or false' };

function typeOf(schema: JsonSchema): string {
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return [...new Set(either.map(typeOf))].join(' or ');
  if (schema.enum) return schema.enum.join(' or ');
  if (schema.const !== undefined) return String(schema.const);
  if (schema.prefixItems) return `list of ${schema.prefixItems.length}: ${schema.prefixItems.map(typeOf).join(', ')}`;
  if (schema.type === 'array') return `list of ${schema.items ? typeOf(schema.items) : 'values'}`;
  if (schema.type === 'object') return 'keys and values';
  const { minimum, exclusiveMinimum, maximum } = schema;
  const upper = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  const range = [
    ...(minimum === undefined ? [] : [`from ${minimum}`]),
    ...(exclusiveMinimum === undefined ? [] : [`above ${exclusiveMinimum}`]),
    ...(upper === undefined ? [] : [`to ${upper}`]),
  ];
  return [names[schema.type ?? ''] ?? 'any value', ...range].join(' ');
}
