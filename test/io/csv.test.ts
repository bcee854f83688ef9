import { expect, it } from 'vitest';
import { readCsv } from '../../src/io/csv.js';

const table = (text: string, file = 'f.csv'): unknown[] => {
  const { names, rows } = readCsv(text, file);
  return [names, ...rows.map(({ cells }) => cells)];
};

// As `pandas.read_csv(..., dtype=str, na_filter=False)` and Python's csv have them.
it.each([
  [
    'x,y\r1,2\r3,4',
    [
      ['x', 'y'],
      ['1', '2'],
      ['3', '4'],
    ],
  ],
  [
    'x,y\r\n1,\r\n,2\r\n',
    [
      ['x', 'y'],
      ['1', ''],
      ['', '2'],
    ],
  ],
  [
    'x,y\n"a"b"c,d\n e,"f""g"" h\n',
    [
      ['x', 'y'],
      ['ab"c', 'd'],
      [' e', 'f"g" h'],
    ],
    'not closed',
  ],
  [
    'x,y\n"a"b"c,d"\n "e",f""g\n',
    [
      ['x', 'y'],
      ['ab"c', 'd"'],
      [' "e"', 'f""g'],
    ],
  ],
  [
    'x,y\n"a\r\nb","c,""d"""\n',
    [
      ['x', 'y'],
      ['a\r\nb', 'c,"d"'],
    ],
  ],
  ['\n \t\nx\n\n  \r\n""\n"  "\n', [['x'], [''], ['  ']]],
  [
    'x,x,x.1,,x,\na,b,c,d,e,f',
    [
      ['x', 'x.2', 'x.1', 'Unnamed: 3', 'x.3', 'Unnamed: 5'],
      ['a', 'b', 'c', 'd', 'e', 'f'],
    ],
  ],
] as const)('cuts tables as pandas does: %j', (text, expected, refused?: string) => {
  if (refused) expect(() => table(text)).toThrow(refused);
  else expect(table(text)).toEqual(expected);
});

it('cuts a .tsv at its tabs', () => {
  expect(table('a,b\tc\n"1\t2"\t\n', 'f.tsv')).toEqual([
    ['a,b', 'c'],
    ['1\t2', ''],
  ]);
});
