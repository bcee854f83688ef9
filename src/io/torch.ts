// PyTorch's files (`torch.save`, since 1.6): a zip archive of a pickle and of the tensors' bytes, which are read in place. What a pickle
// may name is the list here, and nothing of it is run. The writer makes files that `torch.load(weights_only=True)` reads.

import { InputError } from '../errors.js';
import {
  type ByteSink,
  type ByteSource,
  byteLengthOf,
  DTYPE_BYTES,
  elementsOf,
  exactly,
  type Piece,
  type StoredDType,
  type StoredTensor,
} from './bytes.js';
import { decodeUtf8, quoted } from './json.js';
import { type PickleGlobal, readPickle } from './pickle.js';
import { readZip, writeZip, type ZipEntry } from './zip.js';

/** The types of tensors by the name of their storage. */
const storages: Readonly<Record<string, StoredDType>> = {
  ...{ FloatStorage: 'F32', HalfStorage: 'F16', BFloat16Storage: 'BF16', DoubleStorage: 'F64' },
  ...{ LongStorage: 'I64', IntStorage: 'I32', ShortStorage: 'I16', CharStorage: 'I8', ByteStorage: 'U8', BoolStorage: 'BOOL' },
};

const longestExtra = 64 << 20;

/** A tensor in a file, not named yet. */
export class TorchTensor {
  constructor(
    readonly dtype: StoredDType,
    readonly shape: readonly number[],
    readonly place: Piece,
  ) {}

  stored(name: string): StoredTensor {
    return { name, dtype: this.dtype, shape: this.shape, ...this.place };
  }
}

/** A storage that tensors are views of. */
class Storage {
  constructor(
    readonly dtype: StoredDType,
    readonly place: Piece,
  ) {}
}

export interface TorchContents {
  /** What was saved: dicts as Maps, lists and tuples as arrays, tensors as `TorchTensor`. */
  readonly root: unknown;
  /** Small files that were put beside the pickle, by their names. */
  readonly extras: ReadonlyMap<string, Uint8Array>;
}

/** Reads a file's pickle and finds its tensors. Throws `InputError` when it is damaged, or holds what is not allowed (by its name). */
export async function readTorch(source: ByteSource): Promise<TorchContents> {
  const { name: file } = source;
  const magic = source.size < 4 ? '' : String.fromCharCode(...(await source.read(0, 4)));
  if (magic !== 'PK\x03\x04') {
    const old = magic.charCodeAt(0) === 0x80 ? "in PyTorch's format from before 1.6; load and save it with a newer one" : '';
    throw new InputError(`${file}: not a PyTorch file${old ? `, or ${old}` : ': it does not begin as a zip archive'}`);
  }
  const entries = await readZip(source);
  const pickleName = [...entries.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (!pickleName) throw new InputError(`${file}: not a PyTorch checkpoint: there is no data.pkl in the archive`);
  const prefix = pickleName.slice(0, -'data.pkl'.length);
  const read = async (name: string): Promise<Uint8Array | undefined> => {
    const entry = entries.get(prefix + name);
    return entry && source.read(entry.offset, entry.bytes);
  };
  const order = await read('byteorder');
  if (order && decodeUtf8(order, file) !== 'little')
    throw new InputError(`${file}: its tensors are big-endian, which is not read`);
  const label = `${file}: ${pickleName}`;
  const root = readPickle((await read('data.pkl'))!, file, {
    global: (name) => allowed(name, label),
    persistent: (id) => storage(id, (key) => entries.get(`${prefix}data/${key}`), label),
  });
  const extras = new Map<string, Uint8Array>();
  for (const [name, { offset, bytes }] of entries) {
    if (!name.startsWith(`${prefix}extra/`) || bytes > longestExtra) continue;
    extras.set(name.slice(prefix.length + 'extra/'.length), await source.read(offset, bytes));
  }
  return { root, extras };
}

/** All that a checkpoint may name. */
function allowed(name: string, label: string): PickleGlobal | undefined {
  const type = /^torch\.(\w+Storage)$/.exec(name)?.[1];
  if (type !== undefined && Object.hasOwn(storages, type)) return { name };
  if (name === 'collections.OrderedDict') return { name, call: ([items]) => new Map(pairs(items, label)) };
  if (name === 'torch._utils._rebuild_tensor_v2') return { name, call: (args) => rebuild(args, label) };
  if (name === 'torch._utils._rebuild_parameter') return { name, call: ([tensor]) => tensor };
  if (name === 'torch.Size') return { name, call: ([sizes]) => sizes };
  return undefined;
}

function pairs(items: unknown, label: string): [unknown, unknown][] {
  if (items === undefined) return [];
  if (!Array.isArray(items) || !items.every((item) => Array.isArray(item) && item.length === 2)) {
    throw new InputError(`${label}: a dict is made of what are no pairs`);
  }
  return items as [unknown, unknown][];
}

/** ('storage', type, key, device, elements) */
function storage(id: unknown, find: (key: string) => Piece | undefined, label: string): Storage {
  const [kind, type, key, , elements] = Array.isArray(id) ? (id as unknown[]) : [];
  const name = (type as PickleGlobal | undefined)?.name?.replace(/^torch\./, '');
  const dtype = typeof name === 'string' && Object.hasOwn(storages, name) ? storages[name] : undefined;
  if (kind !== 'storage' || !dtype || typeof key !== 'string') throw new InputError(`${label}: a storage of an unknown kind`);
  const place = find(key);
  if (!place) throw new InputError(`${label}: the storage ${quoted(key.slice(0, 80))} is not in the archive`);
  if (typeof elements !== 'number' || elements * DTYPE_BYTES[dtype] > place.bytes) {
    throw new InputError(`${label}: the storage ${quoted(key)} has ${place.bytes} bytes, too few for ${elements} of ${dtype}`);
  }
  return new Storage(dtype, place);
}

/** (storage, first element, sizes, strides, ...) */
function rebuild([of, first, sizes, strides]: readonly unknown[], label: string): TorchTensor {
  const whole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  const list = (value: unknown): value is number[] => Array.isArray(value) && value.length <= 8 && value.every(whole);
  if (!(of instanceof Storage) || !whole(first) || !list(sizes) || !list(strides) || strides.length !== sizes.length) {
    throw new InputError(`${label}: a tensor that is made of unknown parts`);
  }
  let elements = 1;
  for (let i = sizes.length - 1; i >= 0; i--) {
    if (sizes[i] > 1 && strides[i] !== elements) {
      throw new InputError(`${label}: a tensor of [${sizes}] with strides [${strides}]: save it contiguous`);
    }
    elements *= sizes[i];
  }
  const size = DTYPE_BYTES[of.dtype];
  const { source, offset, bytes } = of.place;
  if (!Number.isSafeInteger(elements) || !((first + elements) * size <= bytes)) {
    throw new InputError(`${label}: a tensor of [${sizes}] at ${first} lies outside its storage of ${bytes} bytes`);
  }
  return new TorchTensor(of.dtype, sizes, { source, offset: offset + first * size, bytes: elements * size });
}

/** A tensor to write. */
export interface TorchSpec {
  readonly name: string;
  readonly dtype: 'F32' | 'F16' | 'BF16';
  readonly shape: readonly number[];
}

const utf8 = new TextEncoder();

/**
 * Writes a state_dict, streamed; `extras` are put into the archive beside it, where PyTorch passes over them. `data` is called for
 * one tensor at a time, in order. Throws `InputError` when a tensor gets more or fewer bytes than it takes.
 */
export async function writeTorch<Spec extends TorchSpec>(
  sink: ByteSink,
  tensors: readonly Spec[],
  data: (tensor: Spec) => Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  extras: readonly { readonly name: string; readonly bytes: Uint8Array }[] = [],
): Promise<void> {
  const file = (name: string, bytes: Uint8Array): ZipEntry => ({ name: `archive/${name}`, data: () => [bytes] });
  const text = (name: string, value: string): ZipEntry => file(name, utf8.encode(value));
  await writeZip(sink, [
    file('data.pkl', pickleOf(tensors)),
    text('.format_version', '1'),
    text('byteorder', 'little'),
    ...tensors.map(
      (tensor, key): ZipEntry => ({
        name: `archive/data/${key}`,
        data: () => exactly(`tensor ${tensor.name}: [${tensor.shape}]`, byteLengthOf(tensor), data(tensor)),
      }),
    ),
    text('version', '3\n'),
    ...extras.map(({ name, bytes }) => file(`extra/${name}`, bytes)),
  ]);
}

/** The pickle of a dict of tensors, protocol 2. */
function pickleOf(tensors: readonly TorchSpec[]): Uint8Array {
  const out: number[] = [];
  const op = (text: string): void => {
    for (let i = 0; i < text.length; i++) out.push(text.charCodeAt(i));
  };
  const uint32 = (value: number): void => {
    for (let i = 0; i < 4; i++) out.push((value >>> (8 * i)) & 255);
  };
  const text = (value: string): void => {
    const bytes = utf8.encode(value);
    op('X');
    uint32(bytes.length);
    out.push(...bytes);
  };
  const integer = (value: number): void => {
    if (value < 2 ** 31) {
      op('J');
      uint32(value);
      return;
    }
    op('\x8a\x08');
    for (let rest = BigInt(value), i = 0; i < 8; i++, rest >>= 8n) out.push(Number(rest & 255n));
  };
  const tuple = (values: readonly number[]): void => {
    op('(');
    values.forEach(integer);
    op('t');
  };
  op('\x80\x02}(');
  for (const [key, { name, dtype, shape }] of tensors.entries()) {
    const strides = shape.map((_, i) => elementsOf(shape.slice(i + 1)));
    text(name);
    op('ctorch._utils\n_rebuild_tensor_v2\n((');
    text('storage');
    op(`ctorch\n${Object.keys(storages).find((type) => storages[type] === dtype)}\n`);
    text(String(key));
    text('cpu');
    integer(elementsOf(shape));
    op('tQ');
    integer(0);
    tuple(shape);
    tuple(strides);
    op('\x89ccollections\nOrderedDict\n)RtR');
  }
  op('u.');
  return Uint8Array.from(out);
}
