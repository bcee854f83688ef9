// Planners of the forward ops that are not products or attention: a thread an element, or a workgroup a row.

import type { Planners } from './dispatch.js';
import { perElement, perRow, read, written } from './planning.js';
import { weightAccess } from './weights.js';

export const opPlanners: Planners = {
  embedding(call) {
    const table = call.weight('table');
    return table.parts.map((part) => {
      const { bindings, constants, uniforms } = weightAccess(table, part);
      return perElement({
        shader: 'embedding',
        constants,
        bindings: { ...bindings, ids: read(call.operand('ids'), 'i32'), out: written(call.operand('out')) },
        uniforms: {
          ...uniforms,
          rows: call.size('rows'),
          columns: call.fixed('columns'),
          table_rows: call.size('tableRows'),
          first: part.firstRow,
          rows_here: part.rows,
        },
      });
    });
  },

  rmsNorm: (call) => [
    perRow({
      shader: 'rmsNorm',
      bindings: { x: read(call.operand('x')), weight: read(call.operand('weight')), out: written(call.operand('out')) },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns'), eps: { f32: call.constant('eps') } },
    }),
  ],

  swiglu: (call) => [
    perElement({
      shader: 'swiglu',
      bindings: { x: read(call.operand('x')), out: written(call.operand('out')) },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns') },
    }),
  ],

  silu: (call) => [
    perElement({
      shader: 'silu',
      bindings: { x: read(call.operand('x')), out: written(call.operand('out')) },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns') },
    }),
  ],

  copy: (call) => [
    perElement({
      shader: 'copy',
      bindings: { x: read(call.operand('x')), out: written(call.operand('out')) },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns') },
    }),
  ],

  gatherRows: (call) => [
    perElement({
      shader: 'gatherRows',
      bindings: {
        x: read(call.operand('x')),
        indices: read(call.operand('indices'), 'i32'),
        out: written(call.operand('out')),
      },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns'), sourceRows: call.size('sourceRows') },
    }),
  ],

  argmax: (call) => [
    perRow({
      shader: 'argmax',
      bindings: { x: read(call.operand('x'), 'u32'), out: written(call.operand('out'), 'i32') },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns') },
    }),
  ],

  tokenLogprob: (call) => [
    perRow({
      shader: 'tokenLogprob',
      bindings: {
        logits: read(call.operand('logits')),
        targets: read(call.operand('targets'), 'i32'),
        out: written(call.operand('out')),
      },
      uniforms: { rows: call.size('rows'), columns: call.fixed('columns') },
    }),
  ],
};
