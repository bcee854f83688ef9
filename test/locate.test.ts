// What people give as the name of a model: each kind that is none has a sentence of its own, and a training run is its last checkpoint.

import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { looksLikeModel } from '../src/locate.js';
import { run } from './app/terminal.js';
import { temporaryFolder } from './temporary.js';

const embedded = fileURLToPath(new URL('../models/tales-6m/', import.meta.url));
const folder = temporaryFolder();
const place = (name: string): string => join(folder, name);
const put = async (name: string, text = ''): Promise<void> => {
  await mkdir(join(place(name), '..'), { recursive: true });
  await writeFile(place(name), text);
};

beforeAll(async () => {
  await mkdir(place('empty'));
  await put('x.gguf', 'GGUF');
  await put('model.pt');
  await put('shape.json', '{}');
  await put('alone/model.safetensors');
  await put('other/README.md');
  await put('llama/model.gguf');
  await put('beside/config.json', '{}');
  await put('beside/checkpoint_last.pt');
  await put('two/a.gguf');
  await put('two/b.gguf');
  await put('onnx/model.onnx');
  await put('fresh/config.yaml');
  await put('fresh/log.jsonl');
  await put('lora/adapter_config.json', '{}');
  await put('text.txt', 'no model');
  for (const step of [8, 16]) {
    const name = `run/step-${String(step).padStart(8, '0')}`;
    const { size } = await stat(join(embedded, 'config.json'));
    await put(`${name}/training.json`, JSON.stringify({ files: { 'config.json': size } }));
    for (const file of ['config.json', 'model.safetensors', 'tokenizer.model'])
      await copyFile(join(embedded, file), join(place(name), file));
  }
});

async function refusal(model: string): Promise<string> {
  const { code, stdout, stderr } = await run(['run', 'x', '-m', model, '-n', '1']);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^openelm: [^\n]+\n$/);
  return stderr;
}

describe('the name of a model', () => {
  it.each([
    ['x.gguf', /x\.gguf: cut short, or damaged: the version at byte 4 goes past the end/],
    ['model.pt', /model\.pt: not a PyTorch file: it does not begin as a zip archive/],
    ['shape.json', /shape\.json describes a model without its weights: `openelm info .*` shows it/],
    ['alone/model.safetensors', /there is no config\.json beside it/],
    ['empty', /empty is an empty directory/],
    ['other', /other is no model: it has no config\.json \(there are README\.md\)/],
    ['llama', /model\.gguf: cut short, or damaged: the magic/],
    ['beside', /checkpoint_last\.pt: not a PyTorch file|config\.json: model_type/],
    ['two', /two holds 2 models: name one of them, like .*two\/a\.gguf/],
    ['onnx', /has no config\.json, only model\.onnx, which cannot be run/],
    ['fresh', /is a training run that has no checkpoint yet/],
    ['lora', /holds an adapter, no model: --adapter .*lora puts it around its base/],
    ['text.txt', /text\.txt: expected a directory, a \.safetensors, \.gguf or \.pt file/],
  ])('%s', async (name, message) => {
    expect(await refusal(place(name))).toMatch(message);
  });

  it('may be that of a training run', async () => {
    const { code, stderr } = await run(['run', 'Once upon a time', '-m', place('run'), '-n', '2']);
    expect(code, stderr).toBe(0);
    expect(stderr).toBe(`openelm: ${place('run')} is a training run: taking its last checkpoint, step-00000016\n`);
    const record = (step: string): string => join(place('run'), step, 'training.json');
    const text = await readFile(record('step-00000016'));
    await writeFile(record('step-00000008'), '{');
    expect(await run(['run', 'Once upon a time', '-m', place('run'), '-n', '2'])).toMatchObject({ code: 0 });
    await writeFile(record('step-00000016'), '{');
    expect(await refusal(place('run'))).toMatch(/step-00000016: this checkpoint is damaged/);
    for (const step of ['step-00000008', 'step-00000016']) await writeFile(record(step), text);
  });

  it('is seen in what was given as a prompt', async () => {
    for (const text of [
      'apple/OpenELM-270M',
      'OpenELM-270M',
      'x.gguf',
      place('empty'),
      place('run'),
      'a.safetensors',
      'tales-6m',
    ])
      expect([text, await looksLikeModel(text)]).toEqual([text, true]);
    for (const text of ['Once', 'and/or maybe', 'Once upon a time', 'model', 'https://a.b/c'])
      expect([text, await looksLikeModel(text)]).toEqual([text, false]);
    const { code, stderr } = await run(['run', 'apple/OpenELM-270M', '-n', '1']);
    expect(code).toBe(0);
    expect(stderr).toBe(
      'openelm: note: apple/OpenELM-270M is taken as the text to continue; as the model: openelm run -m apple/OpenELM-270M "Once upon a time"\n',
    );
  });
});
