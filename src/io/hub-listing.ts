// What a Hugging Face hub says of a model's repository, and which of its files a model needs. How it is asked, and where the
// files go, is Node's (io/node/hub*.ts) or the browser's (io/browser/).

import { InputError } from '../errors.js';
import { quoted } from './json.js';
import { INDEX_FILE, WEIGHTS_FILE } from './weights-files.js';

/** Whether a text is a hub id, `name` or `owner/name`; anything else never reaches a path or an address. */
export function isRepoId(text: string): boolean {
  return text.length <= 96 && /^(?:[A-Za-z0-9][\w.-]*\/)?[A-Za-z0-9_][\w.-]*$/.test(text) && !/--|\.\.|[-.](?:\/|$)/.test(text);
}

export const COMMIT = /^[0-9a-f]{40}$/;

/** What the hub says of one commit. */
export interface Listing {
  readonly commit: string;
  readonly files: Map<string, { bytes?: number; etag?: string }>;
}

/** Throws `InputError` when it is no such answer. */
export function readListing(value: unknown, url: string): Listing {
  const wrong = (what: string) => new InputError(`${url}: not an answer of a Hugging Face hub: ${what}`);
  const { sha, siblings } = (value ?? {}) as { sha?: unknown; siblings?: unknown };
  if (typeof sha !== 'string' || !COMMIT.test(sha)) throw wrong('its sha is no commit');
  if (!Array.isArray(siblings)) throw wrong('its siblings are no list');
  const files: Listing['files'] = new Map();
  for (const sibling of siblings as unknown[]) {
    const { rfilename, size, blobId, lfs } = (sibling ?? {}) as Record<string, unknown>;
    if (typeof rfilename !== 'string') throw wrong('a file has no name');
    const { sha256, size: lfsSize } = (lfs ?? {}) as Record<string, unknown>;
    const etag = lfs ? sha256 : blobId;
    const bytes = lfs ? (lfsSize ?? size) : size;
    files.set(rfilename, {
      bytes: Number.isSafeInteger(bytes) ? (bytes as number) : undefined,
      etag: typeof etag === 'string' ? etag : undefined,
    });
  }
  return { commit: sha, files };
}

/** What may lie beside the weights, and is read where it does. */
export const TEXT_FILES = [
  'generation_config.json',
  'tokenizer.model',
  'tokenizer.json',
  'tokenizer_config.json',
  'added_tokens.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];

/** Where the template for tools lies, beside the usual one. */
export const TOOL_TEMPLATE = 'additional_chat_templates/tool_use.jinja';

/** What goes with a model from directory to directory. Pages, whose files have no folders, do without the last. */
export const CARRIED_FILES = [...TEXT_FILES, TOOL_TEMPLATE];

const onlyFile = /\.(gguf|pt|pth)$|(^|\/)pytorch_model\.bin$/i;
const partOfSeveral = /-\d{5}-of-\d{5}\./;

/** The files among these that hold a whole model each (GGUF, PyTorch's). */
export function wholeModels(names: Iterable<string>): string[] {
  return [...names].filter((name) => onlyFile.test(name) && !partOfSeveral.test(name)).sort();
}

/** `org/name/FILE`, cut apart; undefined when the text is none. */
export function repoFile(text: string): { repoId: string; file: string } | undefined {
  const parts = text.split('/');
  const [owner, name, ...rest] = parts;
  const file = rest.join('/');
  const isName = (part: string): boolean => /^[\w.-]+$/.test(part) && !/^\.+$/.test(part);
  return wholeModels([file]).length === 1 && rest.every(isName) && isRepoId(`${owner}/${name}`)
    ? { repoId: `${owner}/${name}`, file }
    : undefined;
}

/** Whether a folder with these files holds a model in Hugging Face's layout (or MLX's, which is that). */
export function hasLayout(names: { has(name: string): boolean }): boolean {
  return names.has('config.json') && (names.has(WEIGHTS_FILE) || names.has(INDEX_FILE));
}

/**
 * The one file of a repository that holds its model, where that is not in Hugging Face's layout; undefined where it is, or there is none.
 * Throws `InputError` when there are several.
 */
export function onlyModelFile({ files }: Listing, repoId: string): string | undefined {
  if (hasLayout(files)) return undefined;
  const found = wholeModels(files.keys());
  if (found.length < 2) return found[0];
  const more = found.length > 4 ? ', ...' : '';
  throw new InputError(
    `${repoId} holds ${found.length} models (${found.slice(0, 4).join(', ')}${more}): name one of them, like ${repoId}/${found[0]}`,
  );
}

/** What of a repository makes a model. */
export interface FilesOfModel {
  /** The small files. */
  readonly first: readonly string[];
  /** Its weights, or the index of their shards. */
  readonly weights: string;
  /** The same where it is one file, not in Hugging Face's layout. */
  readonly single?: string;
}

/**
 * The files of the model in `file` or, without it, of the one that there is; `texts`: what is taken along, where it is there. Throws
 * `InputError` when there is none that can be loaded.
 */
export function filesOfModel(listing: Listing, repoId: string, texts: readonly string[], file?: string): FilesOfModel {
  const { files } = listing;
  const has = (name: string) => files.has(name);
  if (file !== undefined && !has(file))
    throw new InputError(`${repoId} has no file ${file}; it has ${wholeModels(files.keys()).join(', ')}`);
  const single = file ?? onlyModelFile(listing, repoId);
  const first = ['config.json', ...texts].filter(has);
  if (single !== undefined) return { first: /\.gguf$/i.test(single) ? [] : first, weights: single, single }; // GGUF holds all of it
  const weights = [WEIGHTS_FILE, INDEX_FILE].find(has);
  if (!has('config.json')) throw new InputError(`${repoId} has no config.json: it holds no model that can be loaded`);
  if (!weights) {
    const other = [...files.keys()].filter((name) => /\.(bin|pt|pth|safetensors|gguf)$/.test(name)).slice(0, 3);
    throw new InputError(
      `${repoId} has no ${WEIGHTS_FILE} and no ${INDEX_FILE}${other.length > 0 ? ` (only ${other.map(quoted).join(', ')})` : ''}: there is nothing to load`,
    );
  }
  return { first, weights };
}
