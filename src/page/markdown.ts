// Markdown of a model to elements of the page. What a model writes is nobody's to trust: elements are made one by one, text is only ever
// text, HTML in it is shown as it is written, and links lead to the web alone and are never followed by themselves.

import { lexer, type MarkedToken, type Token } from 'marked';

/**
 * The elements of a text. Each but code runs as its own first letters do, and marks of lists, a quotation's line and a table's columns with
 * them; what is within has no direction of its own, as that would not be looked at.
 */
export function rendered(text: string): Node[] {
  const made = blocks(lexer(text, { gfm: true }));
  for (const block of made) if (block instanceof HTMLElement && block.localName !== 'pre') block.dir = 'auto';
  return made;
}

function blocks(tokens: readonly Token[] | undefined): Node[] {
  return (tokens ?? []).flatMap((token) => block(token as MarkedToken));
}

function block(token: MarkedToken): Node[] {
  switch (token.type) {
    case 'space':
    case 'def':
      return [];
    case 'heading':
      return [element(`h${Math.min(6, token.depth + 2)}`, inlines(token.tokens))];
    case 'paragraph':
      return [element('p', inlines(token.tokens))];
    case 'code':
      return [reachable(element('pre', [element('code', [text(token.text)])]))];
    case 'blockquote':
      return [element('blockquote', blocks(token.tokens))];
    case 'hr':
      return [element('hr', [])];
    case 'list': {
      const list = element(
        token.ordered ? 'ol' : 'ul',
        token.items.map((item) => element('li', blocks(item.tokens))),
      );
      if (token.ordered && Number(token.start) > 1) list.setAttribute('start', String(Number(token.start)));
      return [list];
    }
    case 'table': {
      const row = (cells: readonly { tokens: Token[] }[], name: string): Node =>
        element(
          'tr',
          cells.map((cell) => element(name, inlines(cell.tokens))),
        );
      return [reachable(element('table', [row(token.header, 'th'), ...token.rows.map((cells) => row(cells, 'td'))]))];
    }
    case 'text':
      return token.tokens ? inlines(token.tokens) : [text(token.text)];
    default:
      return [element('p', inline(token))];
  }
}

function inlines(tokens: readonly Token[] | undefined): Node[] {
  return (tokens ?? []).flatMap((token) => inline(token as MarkedToken));
}

function inline(token: MarkedToken): Node[] {
  switch (token.type) {
    case 'strong':
    case 'em':
    case 'del':
      return [element(token.type, inlines(token.tokens))];
    case 'codespan':
      return [element('code', [text(token.text)])];
    case 'br':
      return [element('br', [])];
    case 'link':
      return [link(token.href, inlines(token.tokens))];
    case 'image':
      return [link(token.href, [text(token.text || token.href)])]; // nothing is loaded from elsewhere
    case 'escape':
      return [text(token.text)];
    case 'text':
      return token.tokens ? inlines(token.tokens) : [text(token.text)];
    default:
      return [text(token.raw)];
  }
}

function link(href: string, children: Node[]): Node {
  if (!/^https?:\/\//i.test(href)) return element('span', children);
  const anchor = element('a', children);
  anchor.setAttribute('href', href);
  anchor.setAttribute('rel', 'noopener noreferrer nofollow');
  anchor.setAttribute('target', '_blank');
  return anchor;
}

/** Wider than the page it may be: keys scroll it. */
function reachable(made: HTMLElement): HTMLElement {
  made.tabIndex = 0;
  return made;
}

function text(value: string): Text {
  return document.createTextNode(value);
}

function element(name: string, children: readonly Node[]): HTMLElement {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}
