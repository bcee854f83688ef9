export function sourcesHash(native: string): string;
export function wasmSources(native: string): string[];
export function wasmHash(native: string): string;
