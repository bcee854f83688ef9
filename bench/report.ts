// How a benchmark tells its results: an aligned table for people on stdout, and bench/results/<name>.json for programs,
// with the machine it ran on. Nothing is compared with earlier runs here.
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';

/** Results and scratch files of the benchmarks; ignored by git. */
export const resultsDirectory = join(import.meta.dirname, 'results');

/** A row of a table: text is left-aligned, numbers right-aligned and printed to three significant digits or whole. */
export type Row = Readonly<Record<string, string | number | undefined>>;

/** The rows as an aligned table; columns in the order in which the rows first name them, a missing cell as '-'. */
export function formatTable(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const isNumber = columns.map((column) => rows.some((row) => typeof row[column] === 'number'));
  const cells = [columns, ...rows.map((row) => columns.map((column) => formatCell(row[column])))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  const lines = cells.map((line) =>
    line
      .map((cell, i) => (isNumber[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '));
  return lines.join('\n');
}

function formatCell(value: string | number | undefined): string {
  if (value === undefined) return '-';
  if (typeof value === 'string') return value;
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** Prints the table on stdout and writes `{name, date, machine, ...details, rows}` to bench/results/<name>.json; returns that path. */
export function report(name: string, rows: readonly Row[], details: Readonly<Record<string, unknown>> = {}): string {
  console.log(formatTable(rows));
  const processors = cpus();
  const machine = {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memory: totalmem(),
    os: `${process.platform} ${process.arch} ${release()}`,
    node: process.version,
  };
  mkdirSync(resultsDirectory, { recursive: true });
  const path = join(resultsDirectory, `${name}.json`);
  writeFileSync(path, `${JSON.stringify({ name, date: new Date().toISOString(), machine, ...details, rows }, null, 2)}\n`);
  console.error(`written to ${path}`);
  return path;
}
