// Hashes that take their bytes piece by piece, which the browser's own cannot. A file of its own, so that it is loaded on first use.

export { createSHA1, createSHA256 } from 'hash-wasm';
