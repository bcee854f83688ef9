// Shaders and their pipelines: what is declared before a shader's text (uniforms, bindings, constants), and compiled pipelines, each
// made once, asynchronously. How bindings become variables is in layout.ts.

import { messageOf } from '../../errors.js';
import type { DeviceTraits, Dispatch, Uniform } from './dispatch.js';
import type { Layout } from './layout.js';
import { common, noSubgroups, shaders, subgroups } from './wgsl.js';

/** A pipeline on its way. Bind group 0: uniforms, the status buffer where `reports`, then the layout's variables. */
export interface Pipeline {
  /** Undefined until `ready`. */
  pipeline: GPUComputePipeline | undefined;
  readonly bindings: GPUBindGroupLayout;
  readonly reports: boolean;
  readonly ready: Promise<void>;
}

const compute = 4; // GPUShaderStage.COMPUTE: Node has no such global

/** Whether a shader writes to the status buffer. */
function reportsStatus(shader: Dispatch['shader']): boolean {
  return shaders[shader].includes('index_out_of_range()');
}

/** Whether its invocations make sums together (shaders/include/subgroups.wgsl). */
function sumsTogether(shader: Dispatch['shader']): boolean {
  return shaders[shader].includes('own_place(');
}

/** A dispatch's uniforms in their order, a word each: the record's number, its own, where its bindings begin. */
function uniformFields({ uniforms = {}, bindings }: Dispatch): string[] {
  const own = Object.entries(uniforms).map(([name, value]) => `${name}: ${isFloat(value) ? 'f32' : 'u32'}`);
  return ['record: u32', ...own, ...Object.keys(bindings).map((name) => `${name}_at: u32`)];
}

export function isFloat(value: Uniform): value is { f32: number } {
  return typeof value === 'object' && 'f32' in value;
}

/** The sum of products of four signed bytes with four. */
function dot4Function(packed: boolean): string {
  const bytes = (word: string): string =>
    `(vec4i(${[24, 16, 8, 0].map((shift) => `bitcast<i32>(${word} << ${shift})`)}) >> vec4u(24))`;
  const product = packed ? 'dot4I8Packed(a, b)' : `dot(${bytes('a')}, ${bytes('b')})`;
  return `fn dot4(a: u32, b: u32) -> i32 { return ${product}; }`;
}

/** The whole text of a dispatch's shader. */
export function shaderSource<Memory>(
  dispatch: Dispatch,
  { variables, bindings }: Layout<Memory>,
  traits: Pick<DeviceTraits, 'dot4' | 'subgroups'>,
): string {
  const { shader, constants = {}, enable = [] } = dispatch;
  const reports = reportsStatus(shader);
  const first = reports ? 2 : 1;
  const together = sumsTogether(shader);
  const lines = [
    ...(together && traits.subgroups ? ['enable subgroups;', 'requires subgroup_id;'] : []),
    ...enable.map((extension) => `enable ${extension};`),
    `alias real = ${enable.includes('f16') ? 'f16' : 'f32'};`,
    'struct Uniforms {',
    ...uniformFields(dispatch).map((field) => `${field},`),
    '}',
    '@group(0) @binding(0) var<uniform> p: Uniforms;',
    ...variables.map(({ name, element, writable }, i) => {
      const access = writable ? 'read_write' : 'read';
      return `@group(0) @binding(${first + i}) var<storage, ${access}> ${name}: array<${element}>;`;
    }),
    ...bindings.flatMap(({ name, variable }) => [
      `const has_${name} = ${variable !== null};`,
      ...(variable === null ? [`var<private> ${name}: array<${dispatch.bindings[name].element}, 1>;`] : []),
    ]),
    ...Object.entries(constants).map(([name, value]) => `const ${name} = ${value};`),
    ...(reports
      ? [
          '@group(0) @binding(1) var<storage, read_write> status_of_run: atomic<u32>;',
          'fn index_out_of_range() { atomicMax(&status_of_run, ~p.record); }',
        ]
      : []),
    ...(shaders[shader].includes('dot4(') ? [dot4Function(traits.dot4)] : []),
    ...(together ? [traits.subgroups ? subgroups : noSubgroups] : []),
    common,
  ];
  let text: string = shaders[shader];
  for (const { name, variable } of bindings) {
    if (variable !== null && variable !== name) text = text.replace(new RegExp(`(?<![\\w.])${name}(?=\\[)`, 'g'), variable);
  }
  return `${lines.join('\n')}\n${text}\n`;
}

/** What a pipeline differs by from others of the same shader. */
function keyOf<Memory>(dispatch: Dispatch, { variables, bindings }: Layout<Memory>, subgroups: boolean): string {
  const { shader, constants, enable } = dispatch;
  const bound = bindings.map(({ name, variable }) => `${name}=${variable}`);
  const types = variables.map(({ element, writable }) => element + (writable ? '!' : ''));
  return JSON.stringify([shader, constants, enable, subgroups, uniformFields(dispatch), bound, types]);
}

/** All pipelines of a device. */
export class Pipelines {
  private readonly made = new Map<string, Pipeline>();
  private readonly layouts = new Map<string, { bindings: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();
  private compiled = 0;

  /** `onProgress` is told how many pipelines are compiled, of how many that were asked for. */
  constructor(
    private readonly device: GPUDevice,
    private readonly traits: Pick<DeviceTraits, 'dot4' | 'subgroups'>,
    private readonly onProgress: (compiled: number, wanted: number) => void = () => {},
  ) {}

  get<Memory>(dispatch: Dispatch, layout: Layout<Memory>): Pipeline {
    const key = keyOf(dispatch, layout, this.traits.subgroups);
    const known = this.made.get(key);
    if (known) return known;
    const reports = reportsStatus(dispatch.shader);
    const { bindings, pipeline } = this.layoutOf(layout, reports);
    const source = shaderSource(dispatch, layout, this.traits);
    const made: Pipeline = {
      pipeline: undefined,
      bindings,
      reports,
      ready: this.compile(dispatch.shader, source, pipeline).then((compiled) => {
        made.pipeline = compiled;
        this.onProgress(++this.compiled, this.made.size);
      }),
    };
    made.ready.catch(() => {}); // whoever runs it is told
    this.made.set(key, made);
    return made;
  }

  private async compile(label: string, code: string, layout: GPUPipelineLayout): Promise<GPUComputePipeline> {
    this.device.pushErrorScope('validation');
    const module = this.device.createShaderModule({ label, code });
    const failed = this.device.popErrorScope();
    const pipeline = this.device.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: 'main' } });
    pipeline.catch(() => {});
    if (await failed) {
      const { messages } = await module.getCompilationInfo();
      const lines = code.split('\n');
      const errors = messages.map(({ message, lineNum }) => `${message} in '${lines[lineNum - 1] ?? ''}'`);
      throw new Error(`shader ${label}: ${errors.join('; ')}`);
    }
    try {
      return await pipeline;
    } catch (error) {
      throw new Error(`shader ${label}: ${messageOf(error)}`);
    }
  }

  private layoutOf<Memory>({ variables }: Layout<Memory>, reports: boolean) {
    const types: GPUBufferBindingType[] = variables.map(({ writable }) => (writable ? 'storage' : 'read-only-storage'));
    if (reports) types.unshift('storage');
    types.unshift('uniform');
    const key = types.join();
    let layout = this.layouts.get(key);
    if (!layout) {
      const entries = types.map((type, binding) => ({ binding, visibility: compute, buffer: { type } }));
      const bindings = this.device.createBindGroupLayout({ entries });
      layout = { bindings, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [bindings] }) };
      this.layouts.set(key, layout);
    }
    return layout;
  }
}
