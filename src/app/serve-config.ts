// The options of a verb out of a YAML file: the same names, the same parsers, the same sentences. The command line and the environment
// come first.

import { type Command, InvalidArgumentError, type Option } from 'commander';
import { InputError, nearest, shown } from '../errors.js';
import { parseYaml } from '../io/config.js';
import { isObject } from '../io/json.js';
import { readTextFile } from './terminal.js';

/** Sets the command's options from the file, where nothing else set them, and returns its `models`. Throws `InputError`. */
export async function readConfigFile(command: Command, file: string): Promise<string[]> {
  const value = parseYaml(await readTextFile(file), file);
  if (!isObject(value)) throw new InputError(`${file}: expected keys and values, as in "port: 8383"`);
  let models: string[] = [];
  for (const [key, given] of Object.entries(value)) {
    if (given === null) continue; // nothing behind it: not given
    const where = `${file}: ${key}`;
    if (key === 'models') {
      models = [given].flat().map((item) => scalar(item, where));
      continue;
    }
    const long = key.replaceAll('_', '-');
    const option = command.options.find((known) => known.long === `--${long}` || known.long === `--no-${long}`);
    if (!option || key === 'config') {
      const guess = nearest(key, ['models', ...command.options.map((known) => known.long!.slice(2))]);
      throw new InputError(`${file}: there is no option ${key}${guess ? `; did you mean ${guess}?` : ''}`);
    }
    const source = command.getOptionValueSource(option.attributeName());
    if (source !== 'cli' && source !== 'env')
      command.setOptionValueWithSource(option.attributeName(), read(option, given, where), 'config');
  }
  return models;
}

/** The value as the command line would have it. */
function read(option: Option, given: unknown, where: string): unknown {
  if (!option.required) {
    if (typeof given === 'boolean') return given;
    throw new InputError(`${where} is ${shown(given)}; expected true or false`);
  }
  const texts = [given].flat().map((item) => scalar(item, where));
  try {
    return texts.reduce<unknown>((before, text) => (option.parseArg ? option.parseArg(text, before as never) : text), undefined);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new InputError(`${where} is ${shown(given)}. ${error.message}`);
  }
}

function scalar(value: unknown, where: string): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  throw new InputError(`${where} is ${shown(value)}; expected a text or a number`);
}
