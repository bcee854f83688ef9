export function sourcesHash(native: string): string;
