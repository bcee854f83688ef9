// A vocabulary's tokens as bytes, in a tree of their beginnings that lies in flat arrays: a walk over all tokens that begin in a
// possible way is one loop. Which bytes a token has is the tokenizer's to say.

/** A token without bytes is never chosen: control tokens, unknown ones, ids without a piece. */
interface TokenBytes {
  readonly size: number;
  bytesOf(id: number): Uint8Array | undefined;
}

/** Nodes in preorder; node 0 is the root, of no bytes. */
export interface TokenTree {
  readonly vocabSize: number;
  /** The last byte of a node's beginning. */
  readonly bytes: Uint8Array;
  /** The first node behind those below. */
  readonly ends: Int32Array;
  readonly depths: Uint16Array;
  /** The tokens of node i: tokens[first[i], first[i + 1]) */
  readonly first: Int32Array;
  readonly tokens: Int32Array;
}

/** Longer tokens are left out: no vocabulary has them, and depths stay small. */
const longest = 4096;

export function tokenTree(vocabulary: TokenBytes): TokenTree {
  const entries: { id: number; bytes: Uint8Array; key: string }[] = [];
  for (let id = 0; id < vocabulary.size; id++) {
    const bytes = vocabulary.bytesOf(id);
    if (bytes && bytes.length > 0 && bytes.length <= longest) entries.push({ id, bytes, key: String.fromCharCode(...bytes) }); // a text compares fast
  }
  entries.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.id - b.id));
  const bytes: number[] = [0];
  const depths: number[] = [0];
  const ends: number[] = [0];
  const first: number[] = [0];
  const tokens: number[] = [];
  let path = [0]; // the nodes from the root to the last one
  let previous = new Uint8Array();
  for (const entry of entries) {
    let shared = 0;
    while (shared < previous.length && previous[shared] === entry.bytes[shared]) shared++;
    for (const closed of path.slice(shared + 1)) ends[closed] = bytes.length;
    path = path.slice(0, shared + 1);
    for (let depth = shared; depth < entry.bytes.length; depth++) {
      path.push(bytes.length);
      bytes.push(entry.bytes[depth]);
      depths.push(depth + 1);
      ends.push(0);
      first.push(tokens.length);
    }
    tokens.push(entry.id);
    previous = entry.bytes as Uint8Array<ArrayBuffer>;
  }
  for (const closed of path) ends[closed] = bytes.length;
  first.push(tokens.length);
  return {
    vocabSize: vocabulary.size,
    bytes: Uint8Array.from(bytes),
    ends: Int32Array.from(ends),
    depths: Uint16Array.from(depths),
    first: Int32Array.from(first),
    tokens: Int32Array.from(tokens),
  };
}

/** The node below `node` of one more byte; -1 when no token goes on so. */
export function childOf({ bytes, ends }: TokenTree, node: number, byte: number): number {
  for (let child = node + 1; child < ends[node]; child = ends[child]) if (bytes[child] === byte) return child;
  return -1;
}
