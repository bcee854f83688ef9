// Generated from shaders/*.wgsl by `npm run generate`: do not edit.

/** What stands before every shader. */
export const common =
  'fn workgroup_index(id: vec3u, count: vec3u) -> u32 {\nreturn id.y * count.x + id.x;\n}\nfn index_out_of_range() {\natomicMax(&status_of_run, ~p.record);\n}\nfn sigmoid(x: f32) -> f32 {\nreturn 1.0 / (1.0 + exp(-x));\n}\nfn silu(x: f32) -> f32 {\nreturn x * sigmoid(x);\n}';

// biome-ignore format: a line a shader
export const shaders = {
  copy: '@compute @workgroup_size(256)\nfn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {\nlet i = workgroup_index(group, groups) * 256 + lane;\nif (i < p.rows * p.columns) {\nout[p.out_at + i] = x[p.x_at + i];\n}\n}',
  silu: '@compute @workgroup_size(256)\nfn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {\nlet i = workgroup_index(group, groups) * 256 + lane;\nif (i < p.rows * p.columns) {\nout[p.out_at + i] = silu(x[p.x_at + i]);\n}\n}',
} as const;

export type ShaderName = keyof typeof shaders;
