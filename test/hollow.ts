// A checkpoint of a released size whose weights are a hole in the file: for what is refused before anything is read.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { elementsOf } from '../src/io/bytes.js';
import { configFromName, toHuggingFaceConfig } from '../src/model/config.js';
import { parameterShapes } from '../src/model/parameters.js';

export function hollowCheckpoint(name: string): { directory: string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'openelm-hollow-'));
  const config = configFromName(name);
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const { name: key, shape } of parameterShapes(config)) {
    const start = end;
    end += 2 * elementsOf(shape);
    header[key] = { dtype: 'F16', shape, data_offsets: [start, end] };
  }
  const text = JSON.stringify(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = join(directory, 'model.safetensors');
  writeFileSync(file, Buffer.concat([length, Buffer.from(text)]));
  truncateSync(file, 8 + text.length + end);
  writeFileSync(join(directory, 'config.json'), JSON.stringify(toHuggingFaceConfig(config, 'float16')));
  return { directory, remove: () => rmSync(directory, { recursive: true }) };
}
