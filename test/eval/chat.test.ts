// Prompts as conversations, and with a system instruction, beside lm-evaluation-harness 0.4.13's (chat.jsonl: the documents; then a line
// each of task, chat template or null for plain text, examples, whether they are turns, system instruction, and the requests that it sent
// with transformers 5.18's rendering).

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { chatPrompts } from '../../src/eval/chat.js';
import { datasetKey } from '../../src/eval/dataset.js';
import { evaluate } from '../../src/eval/harness.js';
import { promptInfo, resultsObject } from '../../src/eval/report.js';
import { buildRequests } from '../../src/eval/requests.js';
import { taskFromObject } from '../../src/eval/user-task.js';
import { defaultChatTemplate } from '../../src/infer/chat.js';
import { fakeScorer } from './fake-scorer.js';

const tokenizer = { bosId: 1, eosId: 2, piece: (id: number) => ['<unk>', '<s>', '</s>'][id] };
const [dataset, ...rows] = readFileSync(new URL('chat.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));
const notSystem =
  "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0]['content'] }}";

describe('conversations of evaluations', () => {
  it("are the harness's", async () => {
    for (const [fields, template, numFewshot, multiturn, systemInstruction, expected] of rows) {
      const chat = template === null ? undefined : await chatPrompts(tokenizer, template, { multiturn });
      const options = { numFewshot, chat, systemInstruction: systemInstruction ?? undefined };
      const [{ loglikelihood, generate }] = buildRequests(taskFromObject(fields, 'x.yaml'), dataset, options);
      const asked = generate ? [[generate.context]] : loglikelihood.map(({ context, continuation }) => [context, continuation]);
      expect(asked, JSON.stringify([fields, template])).toEqual(expected);
    }
    expect(rows.length).toBe(15);
  });

  it('leave out, and say once, a system turn that the template refuses; and say what else it refuses', async () => {
    const notices: string[] = [];
    const chat = await chatPrompts(tokenizer, notSystem, { onNotice: (message) => notices.push(message) });
    const system = { role: 'system', content: 'Be brief.' } as const;
    for (const content of ['Why?', 'Where?']) expect(chat.write([system, { role: 'user', content }])).toBe(content);
    expect(notices).toEqual([expect.stringMatching(/^the system's turn is left out, as .*no system/)]);
    const begun = [
      { role: 'user', content: 'Why?' },
      { role: 'assistant', content: 'Because' },
    ] as const;
    expect(() => chat.write(begun)).toThrow('leaves out how the answer begins');
    const failing = await chatPrompts(tokenizer, "{{ raise_exception('closed') }}");
    expect(() => failing.write([{ role: 'user', content: 'Why?' }])).toThrow('closed');
  });

  it("stand in results as the harness writes them, with OpenELM-Instruct's template where the model has none", async () => {
    const chat = await chatPrompts(tokenizer, undefined);
    expect(chat.template).toBe(defaultChatTemplate);
    const task = taskFromObject(rows[0][0], 'x.yaml');
    const asked = { chat, systemInstruction: 'Be brief.' };
    const evaluation = await evaluate(fakeScorer(), [task], { [datasetKey(task)]: dataset }, asked);
    const told = { modelName: 'm', date: new Date(0), seconds: 1, prompts: await promptInfo(asked) };
    expect(resultsObject(evaluation, told)).toMatchObject({
      system_instruction: 'Be brief.',
      system_instruction_sha: '213c22ed7234eb11116e1e88f314c73cb3a019b5c87fe224b6ce5665bd9ec50e',
      fewshot_as_multiturn: true,
      chat_template: defaultChatTemplate,
    });
    expect(() => buildRequests(task, dataset, { ...asked, harnessVersion: 'pinned' })).toThrow('plain text');
  });
});
