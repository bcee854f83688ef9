// What a token is called in sentences.

export function named(token: string): string {
  return token.trim() === '' ? (token.includes('\n') ? 'line break' : 'space') : `“${token.trim()}”`;
}
