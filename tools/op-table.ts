// Writes native/kernels/op_table.h from the op table, so that both sides of the native door agree on ids and order.
// `npm run generate`; a test checks that the committed header is up to date. Nothing is read from the kernels.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { abiHash, opNames, opSpec } from '../src/tensor/optable.js';

export const headerPath = fileURLToPath(new URL('../native/kernels/op_table.h', import.meta.url));

export function opTableHeader(): string {
  const list = (names: readonly string[]): string => names.map((name) => `${name}_`).join(', ');
  const lines = [
    '// Generated from src/tensor/optable.ts by `npm run generate`: do not edit.',
    '#pragma once',
    'namespace openelm {',
    `constexpr const char* kAbiHash = "${abiHash}";`,
    `enum OpId { ${opNames.map((name) => `op_${name}`).join(', ')}, op_count };`,
  ];
  const sizes: string[] = [];
  for (const name of opNames) {
    const spec = opSpec(name);
    const operands = spec.operands.map((operand) => operand.name);
    lines.push(
      `namespace ${name}_op {`,
      `enum Operand { ${list(operands)} };`,
      'constexpr bool is_operand(Operand) { return true; }',
    );
    // Sizes and constants have names of their own (i_rows, f_eps), as they may share a word with an operand.
    lines.push(`enum Int { ${list(spec.ints.map((int) => `i_${int}`))} };`);
    lines.push(`enum Float { ${list(spec.floats.map((float) => `f_${float}`))} };`, '}');
    sizes.push(`{"${name}", ${spec.operands.length}, ${spec.ints.length}, ${spec.floats.length}}`);
  }
  lines.push('struct OpSize { const char* name; int operands, ints, floats; };');
  lines.push(`constexpr OpSize kOpSizes[] = {${sizes.join(', ')}};`, '}  // namespace openelm', '');
  return lines.join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(headerPath, opTableHeader());
