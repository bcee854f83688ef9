import type { BuildResult } from 'esbuild';
export function bundle<Write extends boolean>(write: Write): Promise<BuildResult<{ metafile: true; write: Write }>[]>;
