// OpenELM as ONNX, as onnxruntime runs it fastest on a CPU: int8 matrices with activations quantized on the fly (DynamicQuantizeMatMul),
// grouped-query attention over key and value caches, norms with their residual in one operator; the next token's id is computed inside.
// Weights are random, since speed does not depend on them. Protocol buffers are written here: a graph needs five of their messages.

import { closeSync, openSync, renameSync, writeSync } from 'node:fs';
import type { LayerConfig, ModelConfig } from '../src/model/config.js';

const contrib = 'com.microsoft';
/** TensorProto.DataType */
const types = { f32: 1, int8: 3, int32: 6, int64: 7 } as const;
const elementBytes = { f32: 4, int8: 1, int32: 4, int64: 8 } as const;
type Type = keyof typeof types;

/** A value of a message's field: an integer, a float, or bytes (a text, a message inside). */
type Field = readonly [number: number, value: number | { readonly float: number } | string | Uint8Array];

function message(...fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'number') return [varint(number << 3), varint(value)];
      if (typeof value === 'object' && 'float' in value) {
        const bytes = Buffer.alloc(4);
        bytes.writeFloatLE(value.float);
        return [varint((number << 3) | 5), bytes];
      }
      const bytes = Buffer.from(value as Uint8Array);
      return [lengthOf(number, bytes.length), bytes];
    }),
  );
}

/** What stands before so many bytes of a field. */
function lengthOf(field: number, bytes: number): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(bytes)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

type Attributes = Readonly<Record<string, number | { readonly float: number }>>;

class Graph {
  readonly nodes: Field[] = [];
  /** Weights, made one at a time when they are written: the message without its bytes, and these. */
  readonly tensors: { readonly head: Buffer; readonly bytes: number; make(): NodeJS.TypedArray }[] = [];
  private count = 0;

  /** Adds a node and gives its outputs' names. */
  node(op: string, inputs: readonly string[], attributes: Attributes = {}, outputs = [this.name()], domain = ''): string[] {
    const made = Object.entries(attributes).map(([name, value]): Field => {
      const isFloat = typeof value !== 'number';
      return [5, message([1, name], isFloat ? [2, value] : [3, value], [20, isFloat ? 1 : 2])];
    });
    const [ins, outs] = [inputs.map((name): Field => [1, name]), outputs.map((name): Field => [2, name])];
    this.nodes.push([1, message(...ins, ...outs, [3, this.name()], [4, op], ...made, [7, domain])]);
    return outputs;
  }

  tensor(type: Type, dims: readonly number[], make: () => NodeJS.TypedArray): string {
    const name = this.name();
    const bytes = dims.reduce((product, dim) => product * dim, elementBytes[type]);
    const head = message(...dims.map((dim): Field => [1, dim]), [2, types[type]], [8, name]);
    this.tensors.push({ head: Buffer.concat([head, lengthOf(9, bytes)]), bytes, make });
    return name;
  }

  integers(...values: readonly number[]): string {
    return this.tensor('int64', [values.length], () => BigInt64Array.from(values.map(BigInt)));
  }

  name(): string {
    return `v${this.count++}`;
  }
}

/** An input or output; texts are sizes that are only known when it runs. */
function valueInfo(name: string, type: Type, dims: readonly (number | string)[]): Uint8Array {
  const shape = message(...dims.map((dim): Field => [1, message([typeof dim === 'number' ? 1 : 2, dim])]));
  return message([1, name], [2, message([1, message([1, types[type]], [2, shape])])]);
}

/**
 * Writes the graph. Inputs: ids int64 [1, tokens], seqlens int32 [1] (all tokens but one), total int32 [], and pastKey.N and pastValue.N
 * f32 [1, kvHeads, past, headDim]; outputs: next int64 [1], and key.N and value.N, which the next run takes.
 */
export function writeOnnx(config: ModelConfig, file: string): void {
  const { modelDim, headDim, vocabSize } = config;
  const graph = new Graph();
  let state = 1;
  const random = (count: number): Int8Array => {
    const codes = new Int8Array(count);
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      codes[i] = Math.max(-127, state >> 24);
    }
    return codes;
  };
  const ones = (count: number): string => graph.tensor('f32', [count], () => new Float32Array(count).fill(1));
  const scale = graph.tensor('f32', [1], () => Float32Array.of(0.02 / 127));
  const matrix = (inputs: number, outputs: number): string =>
    graph.tensor('int8', [inputs, outputs], () => random(inputs * outputs));
  const linear = (x: string, inputs: number, outputs: number): string =>
    graph.node('DynamicQuantizeMatMul', [x, matrix(inputs, outputs), scale], {}, undefined, contrib)[0];
  const epsilon = { epsilon: { float: config.normEps } };
  const norm = (x: string, width: number): string =>
    graph.node('SimplifiedLayerNormalization', [x, ones(width)], { axis: -1, ...epsilon })[0];
  const addedNorm = (x: string, residual: string): [normed: string, sum: string] => {
    const [normed, sum] = [graph.name(), graph.name()];
    graph.node('SkipSimplifiedLayerNormalization', [x, residual, ones(modelDim)], epsilon, [normed, '', '', sum], contrib);
    return [normed, sum];
  };
  const table = (turn: (angle: number) => number): string =>
    graph.tensor('f32', [config.ropeMaxLength, headDim / 2], () =>
      Float32Array.from({ length: (config.ropeMaxLength * headDim) / 2 }, (_, i) => {
        const position = Math.floor(i / (headDim / 2));
        return turn(position / config.ropeFreqConstant ** ((2 * (i % (headDim / 2))) / headDim));
      }),
    );
  const [cosines, sines] = [table(Math.cos), table(Math.sin)];
  const heads = graph.integers(0, 0, -1, headDim);
  const flat = graph.integers(0, 0, -1);
  const normOfHeads = (x: string): string => {
    const [apart] = graph.node('Reshape', [x, heads]);
    return graph.node('Reshape', [norm(apart, headDim), flat])[0];
  };
  const attention = (x: string, { queryHeads, kvHeads, qkvDim }: LayerConfig, layer: number): string => {
    const sizes = graph.integers(queryHeads * headDim, kvHeads * headDim, kvHeads * headDim);
    const parts = [graph.name(), graph.name(), graph.name()];
    const [query, key, value] = graph.node('Split', [linear(x, modelDim, qkvDim), sizes], { axis: 2 }, parts);
    const past = [`pastKey.${layer}`, `pastValue.${layer}`];
    const inputs = [normOfHeads(query), normOfHeads(key), value, ...past, 'seqlens', 'total', cosines, sines];
    const outputs = [graph.name(), `key.${layer}`, `value.${layer}`];
    const attributes = { num_heads: queryHeads, kv_num_heads: kvHeads, do_rotary: 1, rotary_interleaved: 0 };
    const [mixed] = graph.node('GroupQueryAttention', inputs, attributes, outputs, contrib);
    return linear(mixed, queryHeads * headDim, modelDim);
  };
  const feedForward = (x: string, { ffnDim, proj1Dim }: LayerConfig): string => {
    const halves = [graph.name(), graph.name()];
    const [gate, up] = graph.node('Split', [linear(x, modelDim, proj1Dim), graph.integers(ffnDim, ffnDim)], { axis: 2 }, halves);
    const [swish] = graph.node('QuickGelu', [gate], { alpha: { float: 1 } }, undefined, contrib);
    return linear(graph.node('Mul', [swish, up])[0], ffnDim, modelDim);
  };

  const [codes] = graph.node('Gather', [matrix(vocabSize, modelDim), 'ids']);
  let [sum] = graph.node('DequantizeLinear', [codes, graph.tensor('f32', [], () => Float32Array.of(1 / 127))]);
  let x = norm(sum, modelDim);
  for (const [i, layer] of config.layers.entries()) {
    [x, sum] = addedNorm(attention(x, layer, i), sum);
    [x, sum] = addedNorm(feedForward(x, layer), sum);
  }
  const [last] = graph.node('Gather', [x, graph.tensor('int64', [], () => BigInt64Array.of(-1n))], { axis: 1 });
  graph.node('ArgMax', [linear(last, modelDim, vocabSize)], { axis: 1, keepdims: 0 }, ['next']);

  const caches = (prefix: readonly [string, string], length: string): readonly Uint8Array[] =>
    config.layers.flatMap(({ kvHeads }, i) =>
      prefix.map((name) => valueInfo(`${name}.${i}`, 'f32', [1, kvHeads, length, headDim])),
    );
  const inputs = [valueInfo('ids', 'int64', [1, 'tokens']), valueInfo('seqlens', 'int32', [1]), valueInfo('total', 'int32', [])];
  const body = message(
    ...graph.nodes,
    [2, 'openelm'],
    ...[...inputs, ...caches(['pastKey', 'pastValue'], 'past')].map((input): Field => [11, input]),
    ...[valueInfo('next', 'int64', [1]), ...caches(['key', 'value'], 'all')].map((output): Field => [12, output]),
  );
  const versions = [message([1, ''], [2, 21]), message([1, contrib], [2, 1])];
  write(file, message([1, 10], ...versions.map((version): Field => [8, version])), body, graph.tensors);
}

/** The graph is the model's last field, its tensors are the graph's. */
function write(file: string, model: Buffer, body: Buffer, tensors: Graph['tensors']): void {
  const lengths = tensors.map(({ head, bytes }) => lengthOf(5, head.length + bytes));
  const length = tensors.reduce((all, { head, bytes }, i) => all + lengths[i].length + head.length + bytes, body.length);
  const unfinished = openSync(`${file}.part`, 'w');
  try {
    writeSync(unfinished, Buffer.concat([model, lengthOf(7, length), body]));
    for (const [i, { head, make }] of tensors.entries()) {
      writeSync(unfinished, Buffer.concat([lengths[i], head]));
      const { buffer, byteOffset, byteLength } = make();
      const bytes = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
      for (let at = 0; at < bytes.length; ) at += writeSync(unfinished, bytes, at);
    }
  } finally {
    closeSync(unfinished);
  }
  renameSync(`${file}.part`, file);
}
