// What to read and how, as people write it: CoreNet's keys (README-pretraining.md, general_lm.py, base_lm.py), flat or in
// CoreNet's own nesting, with weights, packing and the like beside them. Checked here; nothing is opened.

import { z } from 'zod';
import { counted, InputError, shown } from '../errors.js';
import { checkConfig, parseYaml } from '../io/config.js';
import { isObject } from '../io/json.js';
import { normalizations } from './ftfy.js';
import type { ProcessOptions } from './process.js';
import type { CorpusFile } from './readers.js';

const count = (least: number) => z.number().int().min(least);

const corpusSchema = z.strictObject({
  file_name: z
    .string()
    .min(1)
    .describe('Path of the files; `{file_id}`, or `{file_id:05d}`, stands for each number of `file_id_range`.'),
  text_key: z.string().min(1).default('text').describe('Column or JSON key of the text.'),
  file_id_range: z
    .tuple([count(0), count(0)])
    .optional()
    .describe('First number, and the one after the last.'),
  weight: z
    .number()
    .positive()
    .optional()
    .describe('Share of the tokens beside other weighted corpora; either all have one or none.'),
  separator: z.string().min(1).optional().describe('Between the documents of plain text files.'),
});

/** The data section of a config, with its defaults: the paper's filters and context. */
export const dataSchema = z.strictObject({
  train_data_info: z.array(corpusSchema).min(1),
  val_data_info: z.array(corpusSchema).min(1).optional(),
  tokenizer: z.string().min(1).optional().describe("`tokenizer.model` or `tokenizer.json`. Default: LLaMA's, of 32,000 pieces."),
  sequence_length: count(1).default(2048).describe('Tokens of a row.'),
  min_characters_per_text: count(0).default(200).describe('Shorter texts are dropped.'),
  min_tokens_per_text: count(0).default(256).describe('Texts of fewer tokens are dropped.'),
  document_split_size: count(1).default(2048).describe('Words at which longer documents are split.'),
  append_sot_token: z.boolean().default(true),
  append_eot_token: z.boolean().default(true),
  normalization: z.enum(normalizations).default('nfc'),
  shuffle_data: z.boolean().default(true),
  random_seed: count(0).default(0),
  packing: z.boolean().default(false).describe('Several documents in one row, none seeing another.'),
  shuffle_buffer: count(0).default(0).describe("Rows held back to draw the next one from (0: the files' order)."),
  skip_bad_files: z.boolean().default(false),
  /** Rows without a document (not JSON, null, another type) that are passed over in an epoch at most. */
  skip_bad_rows: count(0).default(0),
});

/** The settings of corpora, defaults filled in: what `dataConfigFrom` and `parseDataConfig` give. */
export type DataConfig = z.output<typeof dataSchema>;
export type CorpusConfig = z.output<typeof corpusSchema>;

/** A data config from YAML text: flat, under `data:`, or as CoreNet nests it. Throws `InputError` naming the key that is wrong. */
export function parseDataConfig(text: string, name: string): DataConfig {
  return dataConfigFrom(parseYaml(text, name), name);
}

/** A data config from the value that YAML gave; see `parseDataConfig`. */
export function dataConfigFrom(value: unknown, name: string): DataConfig {
  if (!isObject(value)) throw new InputError(`${name}: expected keys and values, as in "train_data_info: [...]"`);
  const own = isObject(value.dataset) ? flattenCoreNet(value, name) : isObject(value.data) ? value.data : value;
  return checkConfig(dataSchema, own, name);
}

// What else stands in CoreNet's files is of the model and its training, or of how its loaders run; none of it changes the texts.
const coreNetSchema = z.looseObject({
  dataset: z.strictObject({
    category: z.literal('language_modeling').optional(),
    name: z.literal('general_lm').optional(),
    root_train: z.unknown().optional(),
    root_val: z.unknown().optional(),
    disable_val: z.unknown().optional(),
    train_batch_size0: z.unknown().optional(),
    val_batch_size0: z.unknown().optional(),
    workers: z.unknown().optional(),
    persistent_workers: z.unknown().optional(),
    pin_memory: z.unknown().optional(),
    language_modeling: z.strictObject({
      sequence_length: z.unknown().optional(),
      min_tokens_per_text: z.unknown().optional(),
      min_characters_per_text: z.unknown().optional(),
      shuffle_data: z.unknown().optional(),
      random_seed: z.unknown().optional(),
      general_lm: z.strictObject({
        train_data_info: z.unknown(),
        val_data_info: z.unknown().optional(),
        document_split_size: z.unknown().optional(),
        reader_chunk_size: z.unknown().optional(),
      }),
    }),
  }),
  text_tokenizer: z
    .strictObject({
      name: z.literal('sentence_piece').optional(),
      sentence_piece: z.strictObject({
        model_path: z.unknown().optional(),
        append_sot_token: z.unknown().optional(),
        append_eot_token: z.unknown().optional(),
        enable_nfc_normalization: z.boolean().optional(),
      }),
    })
    .optional(),
});

// What such a file leaves out is as CoreNet has it; our own defaults are the paper's settings, which its recipes write out.
const coreNetDefaults = {
  ...{ min_tokens_per_text: 0, min_characters_per_text: 0, shuffle_data: false },
  ...{ append_sot_token: false, append_eot_token: false, normalization: 'none' },
};

function flattenCoreNet(value: Record<string, unknown>, name: string): Record<string, unknown> {
  const { dataset, text_tokenizer } = checkConfig(coreNetSchema, value, name);
  const { general_lm, ...common } = dataset.language_modeling;
  const { reader_chunk_size: _, ...corpora } = general_lm;
  const { model_path, enable_nfc_normalization, ...tokens } = text_tokenizer?.sentence_piece ?? {};
  const all = {
    ...common,
    ...corpora,
    ...tokens,
    tokenizer: model_path,
    normalization: enable_nfc_normalization === undefined ? undefined : enable_nfc_normalization ? 'ftfy' : 'none',
  };
  return { ...coreNetDefaults, ...Object.fromEntries(Object.entries(all).filter(([, item]) => item !== undefined)) };
}

const FILE_ID = /\{file_id(?::(0?\d*)d?)?\}/g;

/** The files of one corpus, relative paths put behind `base`. Throws `InputError` when name and range do not go together. */
export function corpusFiles(corpus: CorpusConfig, base = ''): CorpusFile[] {
  const { file_name, text_key, file_id_range, separator } = corpus;
  const wrong = (what: string): InputError => new InputError(`file_name ${shown(file_name)}: ${what}`);
  const numbered = file_name.search(FILE_ID) >= 0;
  if (/[{}]/.test(file_name.replace(FILE_ID, ''))) throw wrong('braces may only hold file_id, as in {file_id:05d}');
  if (numbered && !file_id_range) throw wrong('holds a file_id, so file_id_range must say which, as in [0, 100]');
  const [first, end] = file_id_range ?? [0, 1];
  if (end <= first) throw wrong(`file_id_range [${first}, ${end}] is empty; its end is not part of it`);
  if (!numbered && end - first > 1) throw wrong(`holds no {file_id}, but file_id_range names ${counted(end - first, 'file')}`);
  const isAbsolute = /^(\/|[A-Za-z]:[\\/])/.test(file_name);
  const prefix = isAbsolute || base === '' ? '' : `${base.replace(/\/$/, '')}/`;
  return Array.from({ length: end - first }, (_, i) => {
    const fill = (_whole: string, spec = ''): string => {
      const digits = String(first + i);
      return digits.padStart(Number(spec), spec.startsWith('0') ? '0' : ' ');
    };
    return { path: prefix + file_name.replace(FILE_ID, fill), textKey: text_key, separator };
  });
}

/** The corpora of a list as the sources to draw from: each its own when they are weighted, else all files as one. */
export function mixture(corpora: readonly CorpusConfig[], base = ''): { files: CorpusFile[]; weight: number }[] {
  const weighted = corpora.filter(({ weight }) => weight !== undefined);
  if (weighted.length === 0) return [{ files: corpora.flatMap((corpus) => corpusFiles(corpus, base)), weight: 1 }];
  const without = corpora.find(({ weight }) => weight === undefined);
  if (without) throw new InputError(`file_name ${shown(without.file_name)} has no weight, but others have; give each one`);
  return corpora.map((corpus) => ({ files: corpusFiles(corpus, base), weight: corpus.weight! }));
}

/** How the config's texts become tokens. */
export function processOptions(config: DataConfig): ProcessOptions {
  return {
    minCharacters: config.min_characters_per_text,
    minTokens: config.min_tokens_per_text,
    splitWords: config.document_split_size,
    startToken: config.append_sot_token,
    endToken: config.append_eot_token,
    normalization: config.normalization,
  };
}
