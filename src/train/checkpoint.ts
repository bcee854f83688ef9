// What a training checkpoint holds: a model in Hugging Face's layout, which runs as it is; moments (and master weights where
// the model is stored in 16 bits, and the moving average) in training.safetensors; and training.json, written last, which says
// where training stands and how long each file is. Where the files go is the caller's: this names and fills them.

import { InputError } from '../errors.js';
import type { ByteSource, NamedBytes, StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import { decodeUtf8, isObject, jsonBytes, parseJson } from '../io/json.js';
import { readSafetensors, type TensorSpec, writeSafetensors } from '../io/safetensors.js';
import { WEIGHTS_FILE } from '../io/safetensors-index.js';
import { type CheckpointType, checkWeights } from '../model/parameters.js';
import { writePeft } from '../model/peft.js';
import { CONFIG_FILE, type WriteFile, whole, writeModel } from '../model/write.js';
import type { AdapterParameters } from './adapter.js';
import type { ModelParameters, ParameterState, TrainingParameters } from './parameters.js';
import type { Progress } from './trainer.js';

export const checkpointFiles = {
  config: CONFIG_FILE,
  weights: WEIGHTS_FILE,
  state: 'training.safetensors',
  record: 'training.json',
} as const;

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

export interface CheckpointContents {
  readonly parameters: ModelParameters;
  readonly dtype: CheckpointType;
  /** The moving average of the parameters by name, if there is one. */
  readonly ema?: ReadonlyMap<string, Float32Array>;
  readonly beside?: readonly NamedBytes[];
  readonly record: Omit<TrainingRecord, 'format' | 'files'>;
}

/** What tensors of training.safetensors are called, before the parameter's name. */
const prefixes = { parameters: 'parameter', firstMoment: 'first_moment', secondMoment: 'second_moment' } as const;
const emaPrefix = 'ema';

/** What a parameter's moving average is called in training.safetensors. */
export function emaTensorName(parameter: string): string {
  return `${emaPrefix}.${parameter}`;
}

/** Writes all files, the record last. Throws what `write` throws. */
export function writeCheckpoint(write: WriteFile, contents: CheckpointContents): Promise<void> {
  const { parameters, dtype, ema, beside, record } = contents;
  const values = ({ name }: { name: string }) => whole(parameters.read(name));
  const model = (file: WriteFile) => writeModel(file, parameters.config, dtype, values, { beside });
  const states = stateOrder.filter((state) => state !== 'parameters' || dtype !== 'f32');
  return writeWithState(write, model, { parameters, states, ema, record });
}

/** A checkpoint of an adapter: PEFT's two files, what lies beside them, and the state. */
export function writeAdapterCheckpoint(
  write: WriteFile,
  {
    parameters,
    base,
    beside,
    record,
  }: Pick<CheckpointContents, 'beside' | 'record'> & {
    readonly parameters: AdapterParameters;
    /** The model that it belongs to, by name. */
    readonly base: string;
  },
): Promise<void> {
  const adapter = async (file: WriteFile): Promise<void> => {
    for (const { name, bytes } of beside ?? []) await file(name, (sink) => sink.write(bytes));
    await writePeft(file, await parameters.adapter(), base);
  };
  return writeWithState(write, adapter, { parameters, states: stateOrder, record });
}

const stateOrder = ['parameters', 'firstMoment', 'secondMoment'] as const;

async function writeWithState(
  write: WriteFile,
  model: (write: WriteFile) => Promise<unknown>,
  contents: Pick<CheckpointContents, 'ema' | 'record'> & {
    readonly parameters: TrainingParameters;
    readonly states: readonly (typeof stateOrder)[number][];
  },
): Promise<void> {
  const { parameters, states, ema } = contents;
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
  await model(counted);

  type Spec = TensorSpec & { values: () => Promise<Float32Array> };
  const specs = parameters.list.flatMap(({ name, shape }): Spec[] => {
    const spec = (prefix: string, values: Spec['values']): Spec => ({ name: `${prefix}.${name}`, dtype: 'F32', shape, values });
    const kept = states.map((state) => spec(prefixes[state], () => parameters.read(name, state)));
    return ema ? [...kept, spec(emaPrefix, async () => ema.get(name)!)] : kept;
  });
  await counted(checkpointFiles.state, (sink) =>
    writeSafetensors(sink, specs, async function* ({ values }) {
      yield bytesOf(await values());
    }),
  );
  const record: TrainingRecord = { format: 'openelm-training-1', ...contents.record, files };
  await write(checkpointFiles.record, (sink) => sink.write(jsonBytes(record)));
}

/** Reads training.json. Throws `InputError` when it is no record of this format. */
export async function readRecord(open: OpenFile): Promise<TrainingRecord> {
  const source = await open(checkpointFiles.record);
  try {
    const record = parseJson(decodeUtf8(await source.read(0, source.size), source.name), source.name) as Partial<TrainingRecord>;
    const { format, step, tokens } = record ?? {};
    if (format !== 'openelm-training-1' || !Number.isSafeInteger(step) || !Number.isSafeInteger(tokens)) {
      throw new InputError(`${source.name}: not the record of a training checkpoint that this version wrote`);
    }
    return record as TrainingRecord;
  } finally {
    await source.close();
  }
}

/**
 * Fills parameters and moments, to the bit, and returns the moving average if the checkpoint has one. Throws `InputError` when
 * a tensor is missing or does not fit the model.
 */
export async function readState(open: OpenFile, parameters: ModelParameters): Promise<Map<string, Float32Array> | undefined> {
  const weights = await open(checkpointFiles.weights);
  try {
    const { tensors } = await readSafetensors(weights);
    await parameters.load(checkWeights(parameters.config, tensors, weights.name).tensors);
  } finally {
    await weights.close();
  }
  return readStates(open, parameters);
}

/** The same of an adapter. */
export async function readAdapterState(open: OpenFile, parameters: AdapterParameters): Promise<void> {
  await readStates(open, parameters);
}

async function readStates(open: OpenFile, parameters: TrainingParameters): Promise<Map<string, Float32Array> | undefined> {
  const state = await open(checkpointFiles.state);
  try {
    const { tensors } = await readSafetensors(state);
    const read = async (name: string): Promise<Float32Array> => {
      const tensor: StoredTensor | undefined = tensors.get(name);
      if (!tensor) throw new InputError(`${state.name}: tensor ${name} is missing: the checkpoint is of another model`);
      return readFloat32(tensor);
    };
    const ema = new Map<string, Float32Array>();
    for (const { name } of parameters.list) {
      for (const [key, prefix] of Object.entries(prefixes) as [keyof ParameterState & keyof typeof prefixes, string][]) {
        const from = `${prefix}.${name}`;
        if (key === 'parameters' && !tensors.has(from)) continue; // the model itself is in f32
        parameters.write(name, await read(from), key);
      }
      if (tensors.has(`${emaPrefix}.${name}`)) ema.set(name, await read(`${emaPrefix}.${name}`));
    }
    return ema.size > 0 ? ema : undefined;
  } finally {
    await state.close();
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
