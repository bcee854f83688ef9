// Texts held to a grammar, for vocabularies of every kind: with a piece for every byte and without, with pieces that cross the grammar's
// borders and characters that are written in parts. Masks are held against trying every token; finished texts against other judges.

import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { compileAsked, type GrammarRequest } from '../../src/grammar/asked.js';
import { compile } from '../../src/grammar/compile.js';
import { TooMuchAtOnce, within } from '../../src/grammar/effort.js';
import type { Grammar } from '../../src/grammar/expression.js';
import { parseGbnf } from '../../src/grammar/gbnf.js';
import { parseJsonSchema } from '../../src/grammar/json-schema.js';
import { Matcher } from '../../src/grammar/matcher.js';
import { regexExpression } from '../../src/grammar/regex.js';
import { load } from '../../src/index.js';
import { Constraint, Constraints, ConstraintVocabulary, type Place } from '../../src/infer/constraint.js';
import { uniform } from '../../src/infer/random.js';
import { compileInWorker } from '../../src/io/node/grammar-workers.js';
import { llamaTokenizer } from '../../src/tokenizer/llama.js';
import { tokenizerFromModel } from '../../src/tokenizer/sentencepiece.js';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';
import { firstPieces, modelFile } from '../tokenizer/build.js';

const eos = 2;
const vocabularies = new Map<string, { tokenizer: Tokenizer; vocabulary: ConstraintVocabulary }>();

beforeAll(async () => {
  const pieces = [
    '▁',
    '▁"',
    '":',
    '":"',
    '",',
    '▁{',
    '{"',
    '"}',
    '}}',
    '▁▁',
    'é',
    'ab',
    '▁true',
    'tr',
    'ue',
    '12',
    '},{',
    '[]',
    '\n',
    '\\"',
    '🦊',
    '▁a',
  ];
  const singles = [...'{}[]",:0123456789.-+eEabcdefghijklmnopqrstuvwxyzA\\/ué▁'];
  const all = [...new Set([...pieces, ...singles])].map((text) => ({ text }));
  const marked = [...firstPieces(true), ...all, { text: '<|end|>', type: 4 }];
  const made: [string, Tokenizer][] = [
    ['LLaMA', await llamaTokenizer()],
    ['bytes', tokenizerFromModel(modelFile(marked, { byteFallback: true }), 'bytes')],
    ['no bytes', tokenizerFromModel(modelFile([...firstPieces(false), ...all], { dummyPrefix: false }), 'no bytes')],
  ];
  for (const [name, tokenizer] of made) {
    // A model may have more rows than its vocabulary has pieces.
    vocabularies.set(name, { tokenizer, vocabulary: new ConstraintVocabulary(tokenizer, tokenizer.vocabSize + 5) });
  }
});

function idsOf(mask: Uint32Array): number[] {
  const ids: number[] = [];
  for (const [word, bits] of mask.entries()) for (let i = 0; i < 32; i++) if ((bits >>> i) & 1) ids.push(32 * word + i);
  return ids;
}

/** A text as a model without a mind of its own would write it: any allowed token, the end more likely than one of many. */
function write(constraint: Constraint, seed: number, most = 400): { ids: number[]; ended: boolean } {
  const ids: number[] = [];
  let place: Place = constraint.start;
  for (let step = 0; step < most; step++) {
    if (constraint.isOver(place)) return { ids, ended: true };
    const allowed = idsOf(constraint.allowed(place, [eos]));
    const id =
      allowed.includes(eos) && uniform(seed, 2 * step) < 0.3
        ? eos
        : allowed[Math.floor(uniform(seed, 2 * step + 1) * allowed.length)];
    if (id === eos) return { ids, ended: true };
    ids.push(id);
    place = constraint.after(place, id);
  }
  return { ids, ended: false };
}

const grammars: [string, Grammar, (text: string) => boolean][] = [
  [
    'a regular expression',
    { root: regexExpression('(é|ab?|🦊){1,4}:"[^"]{0,3}"'), rules: new Map() },
    (text) => /^(?:é|ab?|🦊){1,4}:"[^"]{0,3}"$/u.test(text),
  ],
  [
    'brackets',
    parseGbnf('root ::= "[" (root ("," root)*)? "]"'),
    (text) => /^[[\],]+$/.test(text) && JSON.stringify(JSON.parse(text)) === text,
  ],
  ['any JSON', parseJsonSchema(true), (text) => JSON.parse(text) !== undefined],
];

describe('a constraint', () => {
  it.each(grammars)('of %s lets through what trying every token lets through, and texts that satisfy it', (_, grammar, holds) => {
    for (const [name, { tokenizer, vocabulary }] of vocabularies) {
      const constraint = new Constraint(grammar, vocabulary);
      const matcher = new Matcher(compile(grammar, vocabulary.alphabet));
      const special = new Set([0, 1, 2]);
      let finished = 0;
      for (let seed = 0; seed < 4; seed++) {
        const { ids, ended } = write(constraint, seed);
        expect(ids.some((id) => special.has(id) || id >= tokenizer.vocabSize)).toBe(false);
        if (ended) {
          finished++;
          expect([name, tokenizer.decode(ids)]).toEqual([name, expect.toSatisfy(holds)]);
        }
        // At some places of the text: the mask against the tokens one by one.
        let place = constraint.start;
        let position = matcher.start;
        for (const [i, id] of ids.slice(0, name === 'LLaMA' ? (seed > 0 ? 0 : 2) : 20).entries()) {
          const allowed = new Set(idsOf(constraint.allowed(place, [])));
          for (let other = 0; other < tokenizer.vocabSize; other++) {
            let bytes = vocabulary.bytesOf(other);
            if (bytes && i === 0 && tokenizer.losesSpace(other)) bytes = bytes.subarray(1);
            const goes = bytes !== undefined && bytes.length > 0 && matcher.run(position, bytes) !== undefined;
            if (allowed.has(other) !== goes)
              expect([name, i, tokenizer.piece(other), allowed.has(other)]).toEqual([name, i, tokenizer.piece(other), goes]);
          }
          const bytes = tokenizer.bytesOf(id)!;
          position = matcher.run(position, i === 0 && tokenizer.losesSpace(id) ? bytes.subarray(1) : bytes)!;
          place = constraint.after(place, id);
        }
      }
      expect(finished, name).toBeGreaterThan(0);
    }
  });

  it('of a random schema writes only what another judge takes for valid', () => {
    const name = fc.constantFrom('a', 'b', 'é"', 'c d');
    const { schema } = fc.letrec<{ schema: Record<string, unknown> }>((tie) => ({
      schema: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom<Record<string, unknown>>(
          { type: 'string' },
          { type: 'string', minLength: 2, maxLength: 4 },
          { type: 'string', pattern: '^[a-c"]+$', maxLength: 5 },
          { type: 'integer', minimum: -5, exclusiveMaximum: 110 },
          { type: 'number', exclusiveMinimum: 0.25, maximum: 3.5 },
          { type: ['boolean', 'null'] },
          { enum: ['x"y', 7, null, [1, { a: true }]] },
          { type: 'integer', multipleOf: 3 },
        ),
        fc.record({
          type: fc.constant('array'),
          items: tie('schema'),
          minItems: fc.nat(2),
          maxItems: fc.integer({ min: 2, max: 4 }),
        }),
        fc.record({
          type: fc.constant('object'),
          properties: fc.dictionary(name, tie('schema'), { maxKeys: 3 }),
          required: fc.uniqueArray(name, { maxLength: 2 }),
          additionalProperties: fc.oneof(fc.boolean(), tie('schema')),
        }),
        fc.record({ anyOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }),
        fc.record({
          allOf: fc.tuple(fc.record({ properties: fc.dictionary(name, tie('schema'), { maxKeys: 2 }) }), tie('schema')),
        }),
      ) as fc.Arbitrary<Record<string, unknown>>,
    }));
    const ajv = new Ajv2020({ strict: false });
    let finished = 0;
    fc.assert(
      fc.property(schema, fc.nat(1e6), fc.constantFrom('bytes', 'no bytes'), (own, seed, kind) => {
        const { tokenizer, vocabulary } = vocabularies.get(kind)!;
        let constraint: Constraint;
        try {
          constraint = new Constraint(parseJsonSchema(own), vocabulary);
        } catch (error) {
          expect((error as Error).message).toMatch(/no text satisfies|more than 512 combinations/);
          return;
        }
        const validate = ajv.compile(own);
        for (const round of [0, 1]) {
          const { ids, ended } = write(constraint, seed + round, 200);
          if (!ended) continue;
          finished++;
          const text = tokenizer.decode(ids);
          expect([text, validate(JSON.parse(text))]).toEqual([text, true]);
        }
      }),
      { numRuns: 50 },
    );
    expect(finished).toBeGreaterThan(40);
  });

  it('refuses what a vocabulary cannot write, and more than one wish', async () => {
    const { tokenizer } = vocabularies.get('no bytes')!;
    const constraints = new Constraints(tokenizer, tokenizer.vocabSize);
    await expect(constraints.of({ regex: 'Ж+' })).rejects.toThrow('no text satisfies the grammar that this vocabulary can write');
    await expect(constraints.of({ regex: 'a', grammar: 'root ::= "a"' })).rejects.toThrow(
      'regex and grammar were given; a text is held to one of them',
    );
    expect(await constraints.of({})).toBeUndefined();
    expect(await constraints.of({ regex: 'a|Ж' })).toBe(await constraints.of({ regex: 'a|Ж' }));
  });

  it('is made in another thread where it is much work, once, the same as here', async () => {
    const { tokenizer, vocabulary } = vocabularies.get('no bytes')!;
    const requests: GrammarRequest[] = [];
    const constraints = new Constraints(tokenizer, tokenizer.vocabSize, (request) => {
      requests.push(request);
      return compileInWorker(request);
    });
    // What this thread does itself is counted in units, and never more than so many.
    expect(
      await constraints.of({ jsonSchema: { type: 'object', properties: { a: { type: 'string', maxLength: 9 } } } }),
    ).toBeDefined();
    expect(requests).toEqual([]);
    const jsonSchema = { type: 'array', items: { type: 'string', maxLength: 900 }, minItems: 2, maxItems: 3 };
    const [one, other] = await Promise.all([constraints.of({ jsonSchema }), constraints.of({ jsonSchema })]);
    expect(one).toBe(other);
    expect(requests).toHaveLength(1);
    expect(() => within(20_000, () => compileAsked(requests[0]))).toThrow(TooMuchAtOnce);
    const here = compileAsked(requests[0]);
    const there = await compileInWorker(requests[0]);
    for (const table of ['next', 'firstCall', 'calls', 'accepts', 'last'] as const)
      expect(Buffer.compare(Buffer.from(there[table].buffer), Buffer.from(here[table].buffer)), table).toBe(0);
    expect(one!.size).toBe(here.accepts.length);
    expect(one!.allowed(one!.start, [])).toEqual(new Constraint(here, vocabulary).allowed(one!.start, []));
    // What is found out there only is said as here.
    const endless = constraints.of({ grammar: 'root ::= root "a" | [a-z]{0,2000}' });
    await expect(endless).rejects.toThrow(/begins with itself/);
    expect(requests).toHaveLength(2);
  });
});

describe('a generation', () => {
  it('is held to what was asked: JSON, an expression, a grammar, sampled and greedy, alone and together', async () => {
    await using model = await load();
    const jsonSchema = {
      type: 'object',
      properties: { name: { type: 'string', maxLength: 12 }, age: { type: 'integer', minimum: 0, maximum: 99 } },
      required: ['name', 'age'],
      additionalProperties: false,
    };
    const validate = new Ajv2020().compile(jsonSchema);
    const regex = '(The|A) [a-z]{3,9} (is|was) [^.]{3,20}\\.';
    const results = await Promise.all([
      model.complete('Once upon a time', { jsonSchema, temperature: 0 }),
      model.complete('Once upon a time', { jsonSchema, temperature: 2, seed: 3 }),
      model.complete('Once upon a time', { regex, temperature: 1.5, seed: 4, repetitionPenalty: 1.2, topK: 50 }),
      model.complete('Once upon a time', { grammar: 'root ::= "- " [A-Z] [a-z]+ "\\n" "- end"', temperature: 0, maxTokens: 60 }),
      model.complete('Once upon a time', { temperature: 0, maxTokens: 10 }),
    ]);
    for (const { text, complete, finishReason } of results.slice(0, 2)) {
      expect([text, validate(JSON.parse(text)), complete, finishReason]).toEqual([text, true, true, 'stop']);
    }
    expect(results[2]).toMatchObject({ text: expect.stringMatching(new RegExp(`^${regex}$`)), complete: true });
    expect(results[3].complete).toBe(results[3].finishReason === 'stop');
    expect(results[4]).not.toHaveProperty('complete');
    const again = await model.complete('Once upon a time', { jsonSchema, temperature: 2, seed: 3 });
    expect(again.ids).toEqual(results[1].ids);
    // Cut short it says so; what is left is the beginning of a text.
    const cut = await model.complete('Once upon a time', { jsonSchema, temperature: 0, maxTokens: 3 });
    expect(cut).toMatchObject({ finishReason: 'length', complete: false });
    expect(results[0].text.startsWith(cut.text)).toBe(true);
    // A stop text cuts too; with ignoreEos it ends where nothing can follow.
    const stopped = await model.complete('Once upon a time', { jsonSchema, temperature: 0, stop: '"age"' });
    expect(stopped).toMatchObject({ finishReason: 'stop', complete: false });
    expect(await model.complete('Once', { regex: 'a{3}', ignoreEos: true })).toMatchObject({
      text: 'aaa',
      finishReason: 'stop',
      complete: true,
    });
    expect(await model.complete('Once', { regex: '' })).toMatchObject({ ids: [], finishReason: 'stop', complete: true });
    await expect(model.complete('Once', { regex: '(' })).rejects.toThrow('a ) is missing');
    await expect(model.complete('Once', { jsonSchema: 'x' })).rejects.toThrow('jsonSchema is "x"; expected a JSON schema');
  });
});
