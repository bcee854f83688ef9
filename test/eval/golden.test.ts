import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fixture } from '../fixtures.js';
import { judgeEvalRequests } from '../judge/eval.js';

const committed = fileURLToPath(new URL('../golden/eval', import.meta.url));
const whole = fixture('fixtures/eval');

const failures = async (dir: string) => (await judgeEvalRequests(dir)).flatMap((item) => item.failures);

describe('evaluation goldens', () => {
  it('agree with the committed ones', async () => {
    const judged = await judgeEvalRequests(committed);
    expect(judged.map(({ item }) => item)).toEqual([
      'metrics of runs',
      'metric primitives',
      'Python random',
      'results and samples files',
    ]);
    expect(judged.flatMap((item) => item.failures)).toEqual([]);
    expect(judged.reduce((sum, item) => sum + item.judged, 0)).toBeGreaterThan(400);
  });

  it('are missed when a number is changed', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'eval-golden-'));
    try {
      for (const name of ['metrics.json', 'metric_primitives.json', 'python_random.json', 'results_example']) {
        cpSync(join(committed, name), join(dir, name), { recursive: true });
      }
      const change = (name: string, from: RegExp, to: string) => {
        const text = readFileSync(join(dir, name), 'utf8');
        expect(text).toMatch(from);
        writeFileSync(join(dir, name), text.replace(from, to));
      };
      change('metrics.json', /"acc_stderr,none":0\.210/, '"acc_stderr,none":0.211');
      change('metric_primitives.json', /"acc_norm": 0\.0/, '"acc_norm": 1.0');
      change('python_random.json', /4150886329/, '4150886328');
      change('results_example/samples_wikitext.jsonl', /Rabbit-Hole/, 'Rabbit Hole');
      change('results_example/results.json', /"target_delimiter": " "/, '"target_delimiter": ""');
      expect((await judgeEvalRequests(dir)).map((item) => item.failures.length > 0)).toEqual([true, true, true, true]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it.runIf(whole.isThere)('agree with the full ones', async () => {
    expect(await failures(whole.path)).toEqual([]);
  });
});
