// CRC-32 as gzip and Parquet's pages have it (ISO 3309, reflected, polynomial 0xEDB88320). Nothing else.

const tables = makeTables();

/** Eight tables, so that a step takes eight bytes ("slicing by 8"). */
function makeTables(): Uint32Array[] {
  const all = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let i = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
    all[0][i] = value;
  }
  for (let k = 1; k < 8; k++) {
    for (let i = 0; i < 256; i++) all[k][i] = (all[k - 1][i] >>> 8) ^ all[0][all[k - 1][i] & 0xff];
  }
  return all;
}

/** The checksum of the bytes, as an unsigned number; of a long run piece by piece: with that of what came `before`. */
export function crc32(bytes: Uint8Array, before = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
  let crc = before ^ 0xffffffff;
  let at = 0;
  for (; at + 8 <= bytes.length; at += 8) {
    const low = crc ^ (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24));
    crc =
      t7[low & 0xff] ^
      t6[(low >>> 8) & 0xff] ^
      t5[(low >>> 16) & 0xff] ^
      t4[low >>> 24] ^
      t3[bytes[at + 4]] ^
      t2[bytes[at + 5]] ^
      t1[bytes[at + 6]] ^
      t0[bytes[at + 7]];
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}
