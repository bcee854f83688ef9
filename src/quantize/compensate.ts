// A matrix to codes so that its products change least, given the second moments of its inputs: column by column, each column's error
// made good by the columns that follow (GPTQ, Frantar et al. 2023), then sweeps over single codes and the best scales and minimums for
// them (coordinate descent on the same error, as QuantEase, Behdin et al. 2023). Everything is row by row; nothing here knows a model.

import { fittedGrid, type Grid, nearestCode, rangeGrid, storedGrid } from './grid.js';

/** How a matrix is quantized. */
export interface Format {
  readonly bits: number;
  readonly group: number;
}

/** A matrix [rows, columns] as codes, one a byte, with scales and minimums [rows, columns / group] that are exact in f16. */
export interface Quantized extends Format {
  readonly rows: number;
  readonly columns: number;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly minimums: Float32Array;
}

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

/** Each group by itself: from its range, or with the search. */
export function quantizeGroups({ rows, columns, values }: Matrix, format: Format, search: boolean): Quantized {
  const made = empty(rows, columns, format);
  const most = 2 ** format.bits - 1;
  const ones = new Float32Array(values.length).fill(1);
  for (let g = 0; g < made.scales.length; g++) {
    const [from, to] = [g * format.group, (g + 1) * format.group];
    const grid = search ? fittedGrid(values, from, to, most, ones) : rangeGrid(values, from, to, most);
    made.scales[g] = grid.scale;
    made.minimums[g] = grid.minimum;
    for (let i = from; i < to; i++) made.codes[i] = nearestCode(values[i], grid, most);
  }
  return made;
}

function empty(rows: number, columns: number, format: Format): Quantized {
  const groups = (rows * columns) / format.group;
  const factors = { scales: new Float32Array(groups), minimums: new Float32Array(groups) };
  return { ...format, rows, columns, codes: new Uint8Array(rows * columns), ...factors };
}

/** Its values again. */
export function dequantize({ codes, scales, minimums, group }: Quantized): Float32Array {
  const values = new Float32Array(codes.length);
  for (let g = 0; g < scales.length; g++) {
    for (let i = g * group; i < (g + 1) * group; i++) values[i] = Math.fround(codes[i] * scales[g]) + minimums[g];
  }
  return values;
}

/** Mean squared error of products with inputs of these moments over the products' mean square; without moments, of the weights. */
export function squaredError({ rows, columns, values }: Matrix, other: Float32Array, moments?: Float32Array): number {
  let [error, size] = [0, 0];
  const quadratic = (v: Float64Array): number => {
    let total = 0;
    for (let j = 0; j < columns; j++) {
      if (!moments) total += v[j] * v[j];
      else {
        let sum = 0;
        for (let k = 0, at = j * columns; k < columns; k++) sum += moments[at + k] * v[k];
        total += v[j] * sum;
      }
    }
    return total;
  };
  const [e, w] = [new Float64Array(columns), new Float64Array(columns)];
  // Of a large matrix some rows tell it.
  const step = Math.max(1, Math.floor(rows / 512));
  for (let r = 0; r < rows; r += step) {
    for (let j = 0; j < columns; j++) {
      w[j] = values[r * columns + j];
      e[j] = w[j] - other[r * columns + j];
    }
    error += quadratic(e);
    size += quadratic(w);
  }
  return size === 0 ? 0 : error / size;
}

export interface CompensateOptions {
  /** Rounds of refitted grids and sweeps over the codes. */
  readonly sweeps: number;
}

/** What is added to the moments' diagonal, as a part of its mean. */
const damping = 0.01;

/** moments: [columns, columns], of the inputs that the matrix is multiplied with. */
export function quantizeCompensated(
  matrix: Matrix,
  format: Format,
  moments: Float32Array,
  options: CompensateOptions,
): Quantized {
  const { rows, columns, values } = matrix;
  const made = empty(rows, columns, format);
  const hessian = damped(moments, columns);
  const factor = inverseFactor(hessian, columns);
  const importance = new Float32Array(columns);
  for (let j = 0; j < columns; j++) importance[j] = 1 / factor[j * columns + j] ** 2;
  const row = new Float64Array(columns);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < columns; j++) row[j] = values[r * columns + j];
    feedForward(row, r, made, factor, importance);
    for (let sweep = 0; sweep < options.sweeps; sweep++) {
      refit(values, r, made, hessian);
      descend(values, r, made, hessian);
    }
  }
  return made;
}

/** GPTQ of one row, which changes on the way. */
function feedForward(row: Float64Array, r: number, made: Quantized, factor: Float32Array, importance: Float32Array): void {
  const { columns, group, codes, scales, minimums } = made;
  const most = 2 ** made.bits - 1;
  let grid: Grid = { scale: 1, minimum: 0 };
  for (let j = 0; j < columns; j++) {
    if (j % group === 0) {
      grid = fittedGrid(row, j, j + group, most, importance);
      const g = (r * columns + j) / group;
      scales[g] = grid.scale;
      minimums[g] = grid.minimum;
    }
    const code = nearestCode(row[j], grid, most);
    codes[r * columns + j] = code;
    const at = j * columns;
    const error = (row[j] - grid.scale * code - grid.minimum) / factor[at + j];
    for (let k = j + 1; k < columns; k++) row[k] -= error * factor[at + k];
  }
}

/** Sweeps over a row's codes until none changes (at most four times): each becomes the best for what the others are. */
function descend(values: Float32Array, r: number, made: Quantized, hessian: Float32Array): void {
  const { columns, group, codes, scales, minimums } = made;
  const most = 2 ** made.bits - 1;
  const start = r * columns;
  const gradient = new Float64Array(columns); // hessian (stored - values)
  for (let j = 0; j < columns; j++) {
    const g = Math.floor((start + j) / group);
    const e = scales[g] * codes[start + j] + minimums[g] - values[start + j];
    for (let k = 0, at = j * columns; k < columns; k++) gradient[k] += e * hessian[at + k];
  }
  for (let sweep = 0, changed = 1; changed > 0 && sweep < 4; sweep++) {
    changed = 0;
    for (let j = 0; j < columns; j++) {
      const scale = scales[Math.floor((start + j) / group)];
      const at = j * columns;
      const old = codes[start + j];
      let code = Math.round(old - gradient[j] / (hessian[at + j] * scale));
      code = code > 0 ? (code < most ? code : most) : 0;
      if (code === old) continue;
      changed++;
      codes[start + j] = code;
      const step = (code - old) * scale;
      for (let k = 0; k < columns; k++) gradient[k] += step * hessian[at + k];
    }
  }
}

/** The scales and minimums that are best for a row's codes, all groups together. */
function refit(values: Float32Array, r: number, made: Quantized, hessian: Float32Array): void {
  const { columns, group, codes, scales, minimums } = made;
  const start = r * columns;
  const groups = columns / group;
  const size = 2 * groups;
  // Unknowns: the changes of (scale, minimum) of each group. Their columns: the group's codes, and ones.
  const normal = new Float64Array(size * size);
  const right = new Float64Array(size);
  const product = new Float64Array(columns); // hessian (values - stored)
  const byCode = new Float64Array(columns);
  const byOne = new Float64Array(columns);
  for (let g = 0; g < groups; g++) {
    byCode.fill(0);
    byOne.fill(0);
    const at = start / group + g;
    for (let j = g * group; j < (g + 1) * group; j++) {
      const code = codes[start + j];
      const rest = values[start + j] - scales[at] * code - minimums[at];
      for (let k = 0, row = j * columns; k < columns; k++) {
        const h = hessian[row + k];
        byOne[k] += h;
        byCode[k] += h * code;
        product[k] += h * rest;
      }
    }
    for (let k = 0; k < columns; k++) {
      const other = 2 * Math.floor(k / group);
      const code = codes[start + k];
      normal[2 * g * size + other] += byCode[k] * code;
      normal[2 * g * size + other + 1] += byCode[k];
      normal[(2 * g + 1) * size + other] += byOne[k] * code;
      normal[(2 * g + 1) * size + other + 1] += byOne[k];
    }
  }
  for (let k = 0; k < columns; k++) {
    const g = 2 * Math.floor(k / group);
    right[g] += product[k] * codes[start + k];
    right[g + 1] += product[k];
  }
  for (let i = 0; i < size; i++) normal[i * size + i] *= 1 + 1e-9;
  if (!solve(normal, right, size)) return;
  for (let g = 0; g < groups; g++) {
    const at = start / group + g;
    const grid = storedGrid(scales[at] + right[2 * g], minimums[at] + right[2 * g + 1]);
    scales[at] = grid.scale;
    minimums[at] = grid.minimum;
  }
}

/** Solves a positive definite system in place by Cholesky's factors; false where it is not. */
function solve(a: Float64Array, b: Float64Array, n: number): boolean {
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= a[i * n + k] * a[j * n + k];
      if (i === j) {
        if (!(sum > 0)) return false;
        a[j * n + j] = Math.sqrt(sum);
      } else a[i * n + j] = sum / a[j * n + j];
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return true;
}

function damped(moments: Float32Array, n: number): Float32Array {
  const hessian = moments.slice();
  let mean = 0;
  for (let j = 0; j < n; j++) mean += moments[j * n + j] / n;
  for (let j = 0; j < n; j++) hessian[j * n + j] += damping * mean || 1; // 1 where no input was ever there
  return hessian;
}

/** U, upper triangular, with U^T U = hessian^-1: the inverse of R, R R^T = hessian, R upper triangular. */
function inverseFactor(hessian: Float32Array, n: number): Float32Array {
  const r = new Float64Array(n * n);
  for (let j = n - 1; j >= 0; j--) {
    for (let i = j; i >= 0; i--) {
      let sum = hessian[i * n + j];
      for (let k = j + 1, a = i * n, b = j * n; k < n; k++) sum -= r[a + k] * r[b + k];
      r[i * n + j] = i === j ? Math.sqrt(Math.max(sum, 1e-30)) : sum / r[j * n + j];
    }
  }
  const inverse = new Float32Array(n * n);
  const column = new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) {
    // Row i of U: U R = 1.
    column.fill(0);
    column[i] = 1;
    for (let j = i; j < n; j++) {
      const value = column[j] / r[j * n + j];
      inverse[i * n + j] = value;
      for (let k = j + 1, at = j * n; k < n; k++) column[k] -= value * r[at + k];
    }
  }
  return inverse;
}
