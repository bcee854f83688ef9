// What a training checkpoint holds: a model in Hugging Face's layout, which runs as it is; moments (and master weights where
// the model is stored in 16 bits, and the moving average) in training.safetensors; and training.json, written last, which says
// where training stands and how long each file is. Where the files go is the caller's: this names and fills them.

import { InputError } from '../errors.js';
import { type ByteSource, elementsOf, type NamedBytes, type StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { decodeUtf8, isObject, jsonBytes, parseJson } from '../io/json.js';
import { readSafetensors, type TensorSpec, writeSafetensors } from '../io/safetensors.js';
import { WEIGHTS_FILE } from '../io/safetensors-index.js';
import { type CheckpointType, checkWeights } from '../model/parameters.js';
import { writePeft } from '../model/peft.js';
import { CONFIG_FILE, type WriteFile, whole, writeModel } from '../model/write.js';
import type { AdapterParameters } from './adapter.js';
import { alone, type Collective, evenParts } from './collective.js';
import type { OuterState } from './low-communication.js';
import type { ModelParameters, TrainingParameters } from './parameters.js';
import type { Progress } from './trainer.js';

export const checkpointFiles = {
  config: CONFIG_FILE,
  weights: WEIGHTS_FILE,
  state: 'training.safetensors',
  record: 'training.json',
} as const;

/** Several processes write a state each its part: rank 0 the file above, the others these. */
const partFile = (rank: number): string =>
  rank === 0 ? checkpointFiles.state : `training-${String(rank).padStart(5, '0')}.safetensors`;
const partName = /^training-\d{5}\.safetensors$/;
/** Where a shard's stream of data stands. */
export const shardFile = (shard: number): string => `data-${String(shard).padStart(5, '0')}.json`;

/** Opens one file of a checkpoint; the caller closes it. */
export type OpenFile = (name: string) => Promise<ByteSource>;

/** training.json. */
export interface TrainingRecord extends Progress {
  readonly format: 'openelm-training-1';
  /** The settings that the run was started with, defaults filled in. */
  readonly config: unknown;
  /** The last losses, for people. */
  readonly losses: { readonly train: number | null; readonly validation: number | null };
  /** Bytes of each other file: a checkpoint that lacks some of them is none. */
  readonly files: Readonly<Record<string, number>>;
}

/** What a checkpoint of a run holds. */
export interface CheckpointContents {
  readonly parameters: ModelParameters;
  readonly dtype: CheckpointType;
  /** The moving average of the parameters by name, if there is one. */
  readonly ema?: ReadonlyMap<string, Float32Array>;
  readonly beside?: readonly NamedBytes[];
  readonly record: Omit<TrainingRecord, 'format' | 'files'>;
  readonly shared?: SharedWriting;
}

/** What of a run's state is one process's own, where several train together. */
export interface KeptState {
  /** The ranges [start, end) of the flat moments that lie here; default: all of them do, and an even part is written here. */
  readonly ranges?: readonly (readonly [number, number])[];
  /** What rounded gradients lack, by place in the flat buffers. */
  readonly errors?: Float32Array;
  /** The processes step apart: each writes all of its own state, and rank 0 the outer optimizer's. */
  readonly outer?: OuterState;
}

/** Several processes that write one checkpoint, all of them calling. Rank 0 writes the model, and the record when all are done. */
export interface SharedWriting {
  readonly collective: Collective;
  readonly kept?: KeptState;
  /** Files of this process alone. */
  readonly own?: readonly NamedBytes[];
}

/** Who reads a checkpoint: one of how many processes, and what is its own. */
export interface SharedReading extends KeptState, Pick<Collective, 'rank' | 'size'> {}

/** What tensors of training.safetensors are called, before the parameter's name. */
const prefixes = { parameters: 'parameter', firstMoment: 'first_moment', secondMoment: 'second_moment' } as const;
const emaPrefix = 'ema';
const errorPrefix = 'rounding_error';

/** What a parameter's moving average is called in training.safetensors. */
export function emaTensorName(parameter: string): string {
  return `${emaPrefix}.${parameter}`;
}

/** Writes all files, the record last. Throws what `write` throws. */
export function writeCheckpoint(write: WriteFile, contents: CheckpointContents): Promise<void> {
  const { parameters, dtype, ema, beside, record, shared } = contents;
  const values = ({ name }: { name: string }) => whole(parameters.read(name));
  const model = (file: WriteFile) => writeModel(file, parameters.config, dtype, values, { beside });
  const states = stateOrder.filter((state) => state !== 'parameters' || dtype !== 'f32');
  return writeWithState(write, model, { parameters, states, ema, record, shared });
}

/** A checkpoint of an adapter: PEFT's two files, what lies beside them, and the state. */
export function writeAdapterCheckpoint(
  write: WriteFile,
  {
    parameters,
    base,
    beside,
    record,
    shared,
  }: Pick<CheckpointContents, 'beside' | 'record' | 'shared'> & {
    readonly parameters: AdapterParameters;
    /** The model that it belongs to, by name. */
    readonly base: string;
  },
): Promise<void> {
  const adapter = async (file: WriteFile): Promise<void> => {
    for (const { name, bytes } of beside ?? []) await file(name, (sink) => sink.write(bytes));
    await writePeft(file, await parameters.adapter(), base);
  };
  return writeWithState(write, adapter, { parameters, states: stateOrder, record, shared });
}

const stateOrder = ['parameters', 'firstMoment', 'secondMoment'] as const;

async function writeWithState(
  write: WriteFile,
  model: (write: WriteFile) => Promise<unknown>,
  contents: Pick<CheckpointContents, 'ema' | 'record' | 'shared'> & {
    readonly parameters: TrainingParameters;
    readonly states: readonly StateName[];
  },
): Promise<void> {
  const { parameters, states, ema, shared } = contents;
  const collective = shared?.collective ?? alone;
  const files: Record<string, number> = {};
  const counted: WriteFile = async (name, fill) => {
    files[name] = 0;
    await write(name, (sink) =>
      fill({
        async write(chunk) {
          await sink.write(chunk);
          files[name] += chunk.byteLength;
        },
      }),
    );
  };
  if (collective.rank === 0) await model(counted);
  for (const { name, bytes } of shared?.own ?? []) await counted(name, (sink) => sink.write(bytes));

  const { outer, errors, ranges } = shared?.kept ?? {};
  const specs = outer
    ? flatSpecs(parameters, stateOrder, collective, [[0, parameters.length]])
    : collective.size === 1
      ? namedSpecs(parameters, states)
      : flatSpecs(parameters, states, collective, ranges);
  const averages =
    collective.rank > 0 || !ema
      ? []
      : parameters.list.map(({ name, shape }) => f32Spec(emaTensorName(name), shape, async () => ema.get(name)!));
  const exchanged =
    !outer || collective.rank > 0
      ? []
      : outerNames.map((name) => f32Spec(`outer.${name}`, [parameters.length], async () => outer[name]));
  await counted(partFile(collective.rank), (sink) =>
    writeSafetensors(
      sink,
      [...specs, ...errorSpecs(errors, collective.rank), ...averages, ...exchanged],
      async function* ({ values }) {
        yield bytesOf(await values());
      },
    ),
  );
  const all = await collective.gatherTexts(JSON.stringify(files));
  if (collective.rank > 0) return;
  const record: TrainingRecord = {
    ...{ format: 'openelm-training-1', ...contents.record },
    files: Object.assign({}, ...all.map((text) => JSON.parse(text) as object)) as Record<string, number>,
  };
  await write(checkpointFiles.record, (sink) => sink.write(jsonBytes(record)));
}

const outerNames = ['parameters', 'velocity'] as const;

/**
 * Fills parameters and moments with those of one of `size` processes that step apart, and returns the outer optimizer's state.
 * Throws `InputError` when as many others wrote the checkpoint, or none that step apart.
 */
export async function readApart(
  open: OpenFile,
  parameters: TrainingParameters,
  { rank, size }: Pick<Collective, 'rank' | 'size'>,
): Promise<OuterState> {
  const { files } = await readRecord(open);
  const writers = 1 + Object.keys(files).filter((name) => partName.test(name)).length;
  const first = await open(partFile(0));
  const own = await open(partFile(rank < writers ? rank : 0));
  try {
    const { tensors } = await readSafetensors(first);
    if (writers !== size || !tensors.has('outer.parameters')) {
      throw new InputError(
        `${first.name}: written by ${writers} processes${tensors.has('outer.parameters') ? ' that step apart (sync)' : ''}; ${size} that step apart cannot go on from it`,
      );
    }
    for (const [name, tensor] of (await readSafetensors(own)).tensors) {
      const [prefix, at] = name.split('@');
      const state = stateOrder.find((key) => prefixes[key] === prefix);
      if (state && at !== undefined) parameters.writeFlat(state, Number(at), await readFloat32(tensor));
    }
    const [values, velocity] = await Promise.all(outerNames.map((name) => readFloat32(tensors.get(`outer.${name}`)!)));
    return { parameters: values.slice(), velocity: velocity.slice() };
  } finally {
    await Promise.all([first.close(), own.close()]);
  }
}

type StateName = (typeof stateOrder)[number];
type StateSpec = TensorSpec & { readonly values: () => Promise<Float32Array> };

function f32Spec(name: string, shape: readonly number[], values: StateSpec['values']): StateSpec {
  return { name, dtype: 'F32', shape, values };
}

/** A tensor for each parameter and state. */
function namedSpecs(parameters: TrainingParameters, states: readonly StateName[]): StateSpec[] {
  return parameters.list.flatMap(({ name, shape }) =>
    states.map((state) => f32Spec(`${prefixes[state]}.${name}`, shape, () => parameters.read(name, state))),
  );
}

/** Elements of a tensor that is a piece of a flat buffer. */
const pieceElements = 1 << 24;

/** Pieces of the flat buffers, `first_moment@4096`: who has which, and how many there are, need not be the same when they are read. */
function flatSpecs(
  parameters: TrainingParameters,
  states: readonly StateName[],
  { rank, size }: Collective,
  ranges?: KeptState['ranges'],
): StateSpec[] {
  const lengths = evenParts(parameters.length, size, 64);
  const start = lengths.slice(0, rank).reduce((sum, length) => sum + length, 0);
  const pieces = (ranges ?? [[start, start + lengths[rank]]]).flatMap(([from, to]) => piecesOf(from, to));
  return states.flatMap((state) =>
    pieces.map(([at, length]) => f32Spec(`${prefixes[state]}@${at}`, [length], () => parameters.readFlat(state, at, length))),
  );
}

function piecesOf(from: number, to: number): (readonly [at: number, length: number])[] {
  return Array.from({ length: Math.ceil((to - from) / pieceElements) }, (_, i) => {
    const at = from + i * pieceElements;
    return [at, Math.min(pieceElements, to - at)] as const;
  });
}

/** Every rank's own, so their names have it: `rounding_error.3@4096`. */
function errorSpecs(errors: Float32Array | undefined, rank: number): StateSpec[] {
  return piecesOf(0, errors?.length ?? 0).map(([at, length]) =>
    f32Spec(`${errorPrefix}.${rank}@${at}`, [length], async () => errors!.subarray(at, at + length)),
  );
}

/**
 * What the gradients of the last step lacked becomes part of the next one: of as many processes each its own, of others the sums of
 * every so-manieth's; where gradients are not rounded any more, at once.
 */
async function readErrors(
  tensors: ReadonlyMap<string, StoredTensor>,
  parameters: TrainingParameters,
  { rank, size, errors }: SharedReading,
): Promise<void> {
  let found: Float32Array | undefined;
  for (const [name, tensor] of tensors) {
    const [, of, start] = /^rounding_error\.(\d+)@(\d+)$/.exec(name) ?? [];
    const at = Number(start);
    if (of === undefined || Number(of) % size !== rank || at + tensor.shape[0] > parameters.length) continue;
    found ??= errors ?? new Float32Array(parameters.length);
    for (const [i, value] of (await readFloat32(tensor)).entries()) found[at + i] += value;
  }
  if (found && !errors) parameters.writeFlat('grad', 0, found);
}

/** Reads training.json. Throws `InputError` when it is no record of this format. */
export async function readRecord(open: OpenFile): Promise<TrainingRecord> {
  const source = await open(checkpointFiles.record);
  try {
    const record = parseJson(decodeUtf8(await source.read(0, source.size), source.name), source.name) as Partial<TrainingRecord>;
    const { format, step, tokens, files } = record ?? {};
    const lengths = isObject(files) ? Object.values(files) : [Number.NaN];
    if (format !== 'openelm-training-1' || ![step, tokens, ...lengths].every(Number.isSafeInteger)) {
      throw new InputError(`${source.name}: not the record of a training checkpoint that this version wrote`);
    }
    return record as TrainingRecord;
  } finally {
    await source.close();
  }
}

/**
 * Fills parameters and moments (those of its ranges, if `share` has some), to the bit, and returns the moving average if the checkpoint has one. Throws `InputError` when
 * a tensor is missing or does not fit the model.
 */
export async function readState(
  open: OpenFile,
  parameters: ModelParameters,
  share?: SharedReading,
): Promise<Map<string, Float32Array> | undefined> {
  const weights = await open(checkpointFiles.weights);
  try {
    const { tensors } = await readSafetensors(weights);
    await parameters.load(checkWeights(parameters.config, tensors, weights.name).tensors);
  } finally {
    await weights.close();
  }
  return readStates(open, parameters, share);
}

/** The same of an adapter. */
export async function readAdapterState(open: OpenFile, parameters: AdapterParameters, share?: SharedReading): Promise<void> {
  await readStates(open, parameters, share);
}

async function readStates(
  open: OpenFile,
  parameters: TrainingParameters,
  share: SharedReading = { rank: 0, size: 1 },
): Promise<Map<string, Float32Array> | undefined> {
  const { ranges = [[0, parameters.length]] } = share;
  const { files } = await readRecord(open);
  const names = [
    checkpointFiles.state,
    ...Object.keys(files)
      .filter((name) => partName.test(name))
      .sort(),
  ];
  const sources: ByteSource[] = [];
  try {
    for (const name of names) sources.push(await open(name));
    const tensors = new Map<string, StoredTensor>();
    for (const source of sources) for (const [name, tensor] of (await readSafetensors(source)).tensors) tensors.set(name, tensor);
    const missing = (name: string): InputError =>
      new InputError(`${sources[0].name}: tensor ${name} is missing: the checkpoint is of another model`);
    const read = (name: string): Promise<Float32Array> => {
      const tensor = tensors.get(name);
      if (!tensor) throw missing(name);
      return readFloat32(tensor);
    };
    const write = (state: StateName, at: number, values: Float32Array): void => {
      for (const [start, end] of state === 'parameters' ? [[0, parameters.length]] : ranges) {
        const [from, to] = [Math.max(start, at), Math.min(end, at + values.length)];
        if (from < to) parameters.writeFlat(state, from, values.subarray(from - at, to - at));
      }
    };
    const ema = new Map<string, Float32Array>();
    for (const [state, prefix] of Object.entries(prefixes) as [StateName, string][]) {
      const pieces = [...tensors].filter(([name]) => name.startsWith(`${prefix}@`));
      let found = 0;
      for (const [name, tensor] of pieces) {
        const at = Number(name.slice(prefix.length + 1));
        if (!(Number.isSafeInteger(at) && at >= 0 && at + tensor.shape[0] <= parameters.length)) throw missing(`${prefix}.*`);
        write(state, at, await readFloat32(tensor));
        found += tensor.shape[0];
      }
      if (found === parameters.length) continue;
      if (found > 0) throw missing(`${prefix}@ (${found} of ${parameters.length} elements are there)`);
      for (const { name, offset, shape } of parameters.list) {
        const from = `${prefix}.${name}`;
        if (state === 'parameters' && !tensors.has(from)) continue; // the model itself is in f32
        const values = await read(from);
        if (values.length !== elementsOf(shape)) throw missing(from);
        write(state, offset, values);
      }
    }
    await readErrors(tensors, parameters, share);
    for (const { name } of parameters.list) {
      if (tensors.has(emaTensorName(name))) ema.set(name, await read(emaTensorName(name)));
    }
    return ema.size > 0 ? ema : undefined;
  } finally {
    for (const source of sources) await source.close();
  }
}

/**
 * Where two settings differ first, as a sentence's end (`optimizer.eps is 1e-8, but 1e-6 in the checkpoint`); `free` are the
 * paths, with all below them, that may differ. Undefined where they agree.
 */
export function difference(mine: unknown, saved: unknown, free: readonly string[] = [], path = ''): string | undefined {
  if (free.includes(path)) return undefined;
  if (isObject(mine) && isObject(saved)) {
    for (const key of new Set([...Object.keys(mine), ...Object.keys(saved)])) {
      const found = difference(mine[key], saved[key], free, path === '' ? key : `${path}.${key}`);
      if (found) return found;
    }
    return undefined;
  }
  const text = (value: unknown): string => (value === undefined ? 'absent' : JSON.stringify(value));
  return text(mine) === text(saved) ? undefined : `${path} is ${text(mine)}, but ${text(saved)} in the checkpoint`;
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
