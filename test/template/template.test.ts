// What Python's Jinja2 3.1.6 makes of templates, set up as transformers and lm-evaluation-harness do (python.jsonl: templates of all
// kinds with what they give, or that they fail), and what it would not stop: templates that work without end.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.js';
import { renderTemplate } from '../../src/eval/template.js';
import { compileChat } from '../../src/infer/chat-template.js';
import { parsePythonJson } from '../../src/io/json.js';
import { strftime } from '../../src/python/strftime.js';
import { Template } from '../../src/template/template.js';

interface Case {
  environment: 'chat' | 'eval';
  template: string;
  variables?: Record<string, unknown>;
  text?: string;
  fails?: boolean;
}

const [shared, ...cases] = readFileSync(new URL('python.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => parsePythonJson(line, 'python.jsonl') as Case);

function render({ environment, template, variables = shared.variables! }: Case): string {
  if (environment === 'eval') return renderTemplate(template, variables);
  const settings = {
    sandboxed: true,
    strict: false,
    globals: new Map(),
    missing: (_: string, object: string, name: string) => object + name,
  };
  return new Template(template, { trimBlocks: true, lstripBlocks: true, chatTags: true }, settings).render(variables);
}

describe("Python's templates", () => {
  it('give the same texts, and fail where they fail', () => {
    const wrong = cases.flatMap((item) => {
      let text: string | undefined;
      try {
        text = render(item);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
      }
      return text === item.text ? [] : [{ template: item.template, is: text, expected: item.text }];
    });
    expect(wrong).toEqual([]);
    expect(cases.length).toBeGreaterThan(700);
  });

  it('mutate lists and dicts outside of the sandbox only', () => {
    const template = '{% set x = [3, 1] %}{% set _ = x.append(2) %}{% set _ = x.sort() %}{{ x }}{{ x.pop() }}{{ x | length }}';
    expect(renderTemplate(template, {})).toBe('[1, 2, 3]32');
    expect(() => render({ environment: 'chat', template })).toThrow("'append' of 'list' object is unsafe");
  });

  it('take dates as Python prints them', () => {
    const date = new Date(2026, 0, 4, 5, 6, 7, 89);
    const format =
      '%a %A %b %B %c|%C %d %D %e %f %F %g %G %h %H %I %j %k %l %m %M %p %P %r %R %S %T %u %U %V %w %W %x %X %y %Y%z%Z%%%n%t';
    expect(strftime(date, format)).toBe(
      'Sun Sunday Jan January Sun Jan  4 05:06:07 2026|20 04 01/04/26  4 089000 2026-01-04 26 2026 Jan 05 05 004  5  5 01 06 AM am ' +
        '05:06:07 AM 05:06 07 05:06:07 7 01 01 0 00 01/04/26 05:06:07 26 2026%\n\t',
    );
    expect(strftime(date, '%-d %-m %_d %^a %-I %03d %Q')).toBe('4 1  4 SUN 5 004 %Q');
  });
});

describe('templates without end', () => {
  const growing = (grow: string) =>
    `{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ${grow} %}{% endfor %}`;
  it.each([
    '{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | pprint }}',
    '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}',
    '{% for i in range(1000000000) %}{% endfor %}',
    `${growing('ns.x ~ ns.x')}{{ ns.x }}`,
    `${growing('[ns.x, ns.x]')}{{ ns.x }}`,
    `${growing("{'a': ns.x, 'b': ns.x}")}{{ ns.x | tojson }}`,
    `${growing('(ns.x, ns.x)')}{{ {ns.x: 1} }}`,
    "{{ 'a' * 134217728 }}",
    '{{ [0] * 10**9 }}',
    '{{ ([[0]] * 10**7) | length }}',
    '{{ 10 ** 1000000 }}',
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ s.find('ab') }}{% endfor %}",
    '{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}',
    '{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}',
    `{{ ${'('.repeat(100000)}1${')'.repeat(100000)} }}`,
    `{{ 1${' + 1'.repeat(90000)} }}`,
    '{{'.repeat(400000),
  ])('%#', (template) => {
    const began = performance.now();
    expect(() => renderTemplate(template, {})).toThrow(InputError);
    expect(() => compileChat(template)([{ role: 'user', content: 'x' }], true, {})).toThrow(InputError);
    expect(performance.now() - began).toBeLessThan(10_000); // half a second on a quiet machine
  });

  it('are told from long texts', () => {
    const page = 'word '.repeat(2_000_000);
    expect(renderTemplate('{{ page.strip() }} {{ page | length }}', { page })).toBe(`${page.trim()} ${page.length}`);
  });
});
