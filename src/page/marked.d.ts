// The Markdown parser as the page has it: `marked` is served beside the page's own files.

export { lexer, type MarkedToken, type Token } from 'marked';
