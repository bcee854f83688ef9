// Parameters as training holds them: f32 master weights, gradients and both moments, each one flat buffer with a view per
// parameter, those that decay first. So clipping and AdamW are a few records over long ranges, whatever is trained: a whole model
// (`ModelParameters`), or what an adapter adds to one. What is not trained is no business of this file.

import { InputError } from '../errors.js';
import { elementsOf, type StoredTensor } from '../io/bytes.js';
import { readFloat32 } from '../io/decode.js';
import type { ModelConfig } from '../model/config.js';
import { parameterValues } from '../model/initialize.js';
import { plainEmbedding, plainLinear } from '../model/linear.js';
import { OpenELM } from '../model/openelm.js';
import { type Parameter, parameterShapes } from '../model/parameters.js';
import type { Backend, DeviceBuffer } from '../tensor/backend.js';
import { type ParameterGrads, parameterGrads } from '../tensor/gradients.js';
import { view } from '../tensor/plan.js';

/** Views begin at multiples of 256 bytes; what lies between stays zero. */
export const alignedElements = 64;

/** The four things that training keeps of each parameter. */
const stateNames = ['parameters', 'grad', 'firstMoment', 'secondMoment'] as const;
export type ParameterState = Record<(typeof stateNames)[number], DeviceBuffer<'f32'>>;

/** The parameters that are trained, with their gradients and moments. */
export class TrainingParameters {
  /** In the flat order: matrices, which decay, then norms, which do not. */
  readonly list: readonly (Parameter & { readonly offset: number })[];
  readonly all: ParameterState;
  /** The ranges with and without weight decay. */
  readonly decayed: ParameterState;
  readonly undecayed: ParameterState;
  private readonly places: ReadonlyMap<string, Parameter & { readonly offset: number }>;

  /** Matrices decay, vectors do not. */
  constructor(
    private readonly backend: Backend,
    shapes: readonly Parameter[],
  ) {
    const ordered = [...shapes.filter(({ shape }) => shape.length > 1), ...shapes.filter(({ shape }) => shape.length === 1)];
    let end = 0;
    let decayEnd = 0;
    const block = Math.floor(backend.limits.maxBufferBytes / 4 / alignedElements) * alignedElements;
    this.list = ordered.map((parameter) => {
      const elements = Math.ceil(elementsOf(parameter.shape) / alignedElements) * alignedElements;
      // No operand of an op may lie across the blocks of a buffer.
      if ((end % block) + elements > block) end = Math.ceil(end / block) * block;
      const offset = end;
      end += elements;
      if (parameter.shape.length > 1) decayEnd = end;
      return { ...parameter, offset };
    });
    this.places = new Map(this.list.map((place) => [place.name, place]));
    const make = (): DeviceBuffer<'f32'> => backend.create('f32', [end]);
    this.all = { parameters: make(), grad: make(), firstMoment: make(), secondMoment: make() };
    const range = (from: number, to: number): ParameterState => {
      const part = (buffer: DeviceBuffer<'f32'>): DeviceBuffer<'f32'> => view(buffer, from, [to - from]);
      const { parameters, grad, firstMoment, secondMoment } = this.all;
      return {
        ...{ parameters: part(parameters), grad: part(grad) },
        ...{ firstMoment: part(firstMoment), secondMoment: part(secondMoment) },
      };
    };
    this.decayed = range(0, decayEnd);
    this.undecayed = range(decayEnd, end);
  }

  /** A parameter's part of one of the flat buffers, in its shape. Throws a plain Error for a name that is not trained. */
  view(name: string, state: keyof ParameterState = 'parameters'): DeviceBuffer<'f32'> {
    const place = this.places.get(name);
    if (!place) throw new Error(`no parameter ${name} is trained`);
    return view(this.all[state], place.offset, place.shape);
  }

  grads(): ParameterGrads {
    return parameterGrads(this.list.map(({ name }) => [this.view(name), this.view(name, 'grad')]));
  }

  /** Fills one of the flat buffers' parts from f32 values. */
  write(name: string, values: Float32Array, state: keyof ParameterState = 'parameters'): void {
    const place = this.places.get(name)!;
    if (values.length !== elementsOf(place.shape)) {
      throw new InputError(`${name}: ${values.length} values where ${elementsOf(place.shape)} belong`);
    }
    this.backend.write(this.all[state], values, place.offset);
  }

  async read(name: string, state: keyof ParameterState = 'parameters'): Promise<Float32Array> {
    const { offset, shape } = this.places.get(name)!;
    return this.backend.read(this.all[state], offset, elementsOf(shape));
  }

  /** Elements of a flat buffer. */
  get length(): number {
    return elementsOf(this.all.parameters.shape);
  }

  /** A range of a flat buffer, whatever parameters lie there. */
  readFlat(state: keyof ParameterState, start: number, length: number): Promise<Float32Array> {
    return this.backend.read(this.all[state], start, length);
  }

  writeFlat(state: keyof ParameterState, start: number, values: Float32Array): void {
    this.backend.write(this.all[state], values, start);
  }

  free(): void {
    for (const buffer of Object.values(this.all)) this.backend.free(buffer);
  }
}

/** All parameters of a model. */
export class ModelParameters extends TrainingParameters {
  constructor(
    backend: Backend,
    readonly config: ModelConfig,
  ) {
    super(backend, parameterShapes(config));
  }

  /** The model that is built on them. */
  model(): OpenELM {
    const named = (name: string): DeviceBuffer => this.view(`${name}.weight`);
    const linear = (name: string) => plainLinear(named(name), false);
    return new OpenELM({ linear, tied: linear, embedding: (name) => plainEmbedding(named(name)), vector: named }, this.config);
  }

  /** Draws all parameters as CoreNet initializes them. */
  initialize(seed: number): void {
    for (const parameter of this.list) {
      const values = new Float32Array(elementsOf(parameter.shape));
      let end = 0;
      for (const chunk of parameterValues(this.config, parameter, seed)) {
        values.set(chunk, end);
        end += chunk.length;
      }
      this.write(parameter.name, values);
    }
  }

  /** Takes all parameters from a checked checkpoint. */
  async load(tensors: ReadonlyMap<string, StoredTensor>): Promise<void> {
    for (const { name } of this.list) this.write(name, await readFloat32(tensors.get(name)!));
  }
}
