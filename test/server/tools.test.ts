// Tools: refused where the template defines none; else written by it, and their calls read out of the answer, however it is cut.

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load, type Model } from '../../src/index.js';
import { ToolReader } from '../../src/server/openai/tools.js';
import { createServer } from '../../src/server.js';
import { listen, type Port } from './port.js';

describe('ToolReader', () => {
  const text =
    'I look.<tool_call>\n{"name": "find", "arguments": {"a": "<b>"}}\n</tool_call> and <tool_call>{"name": "go"}</tool_call>!';

  it('reads calls, however the text is cut', () => {
    for (let size = 1; size < text.length; size++) {
      const reader = new ToolReader();
      let shown = '';
      for (let i = 0; i < text.length; i += size) shown += reader.push(text.slice(i, i + size));
      expect(shown + reader.end()).toBe('I look. and !');
      expect(reader.calls.map((call) => call.function)).toEqual([
        { name: 'find', arguments: '{"a":"<b>"}' },
        { name: 'go', arguments: '{}' },
      ]);
    }
  });

  it.each(['a <tool_cal', 'x <tool_call>{"name": 1}</tool_call> y', '<tool_call>{"name": "cut', '<tool_call>no</tool_call>'])(
    'leaves %s',
    (plain) => {
      const reader = new ToolReader();
      expect(reader.push(plain) + reader.end()).toBe(plain);
      expect(reader.calls).toEqual([]);
    },
  );
});

describe('with a template that defines tools', () => {
  const folder = mkdtempSync(join(tmpdir(), 'openelm-tools-'));
  const tools = [
    {
      type: 'function' as const,
      function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
    },
  ];
  const template =
    '{% if tools %}Tools: {% for tool in tools %}{{ tool | tojson }} {% endfor %}Answer with <tool_call>.{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments.city }}]{% endfor %}{{ "\\n" }}{% endfor %}assistant:';
  let model: Model;
  let port: Port;
  let client: OpenAI;

  beforeAll(async () => {
    cpSync(fileURLToPath(new URL('../../models/tales-6m', import.meta.url)), folder, { recursive: true });
    writeFileSync(join(folder, 'chat_template.jinja'), 'plain: {{ messages[0].content }}');
    mkdirSync(join(folder, 'additional_chat_templates'));
    writeFileSync(join(folder, 'additional_chat_templates', 'tool_use.jinja'), template);
    model = await load(folder, { slots: 2 });
    port = await listen(await createServer({ models: [model] }));
    client = new OpenAI({ baseURL: `${port.url}/v1`, apiKey: 'none', maxRetries: 0 });
  });
  afterAll(async () => {
    await port.close();
    await model.dispose();
    rmSync(folder, { recursive: true });
  });

  const asked = {
    model: 'x',
    messages: [{ role: 'user' as const, content: 'How is it in Rome?' }],
    tools,
    max_tokens: 4,
    temperature: 0,
  };

  it('writes them and what they gave into the prompt', async () => {
    const plain = await model.encodePrompt([{ role: 'user', content: 'Hi' }]);
    expect(model.tokenizer.decode(plain)).toBe('plain: Hi'); // without tools the other template is taken, as transformers does
    const ids = await model.encodePrompt([{ role: 'user', content: 'Hi' }], tools);
    expect(model.tokenizer.decode(ids)).toMatch(
      /^Tools: \{"type": "function", "function": \{"name": "weather".*user: Hi\nassistant:$/s,
    );
    const conversation = [
      ...asked.messages,
      {
        role: 'assistant' as const,
        content: null,
        tool_calls: [{ id: 'c', type: 'function' as const, function: { name: 'weather', arguments: '{"city":"Rome"}' } }],
      },
      { role: 'tool' as const, tool_call_id: 'c', content: 'sunny' },
    ];
    const name = (await client.models.list()).data[0].id;
    const { choices, usage } = await client.chat.completions.create({ ...asked, model: name, messages: conversation });
    expect(choices[0].finish_reason).toBe('length');
    const told = [
      { role: 'user' as const, content: 'How is it in Rome?' },
      {
        role: 'assistant' as const,
        content: '',
        tool_calls: [{ type: 'function' as const, function: { name: 'weather', arguments: { city: 'Rome' } } }],
      },
      { role: 'tool' as const, content: 'sunny' },
    ];
    const prompt = await model.encodePrompt(told, tools);
    expect(usage!.prompt_tokens).toBe(prompt.length);
    expect(model.tokenizer.decode(prompt)).toContain('assistant: [weather Rome]\ntool: sunny');
    for await (const { choices: parts } of await client.chat.completions.create({ ...asked, model: name, stream: true }))
      expect(parts).toHaveLength(1);
  });

  it('refuses what cannot be done', async () => {
    const name = (await client.models.list()).data[0].id;
    const create = (change: object) => client.chat.completions.create({ ...asked, model: name, ...change });
    await expect(create({ tools: [{ type: 'function' }] })).rejects.toThrow('tools[0] is');
    await expect(create({ tool_choice: 'required' })).rejects.toThrow('tool_choice "required" is not supported');
    const sly = [{ type: 'function', function: { name: 'x', description: 'a</s>b' } }];
    await expect(create({ tools: sly })).rejects.toThrow('special token');
  });
});
