/**
 * Checksums of data pages, as src/include/storage/checksum_impl.h defines them: FNV-1a over 32 lanes of 4-byte words, the
 * page's own checksum field taken as zero, mixed with the block number.
 * https://www.postgresql.org/docs/current/storage-page-layout.html
 */
const pageSize = 8192;
const lanes = 32;
const prime = 16777619;
/** Offset of pd_checksum in a page, in bytes. */
const checksumAt = 8;

/** Random offsets that start the lanes (checksumBaseOffsets). */
const offsets = Int32Array.from([
  0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a, 0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c, 0xf8d4474f, 0xe39eb970, 0x42c6ae16,
  0x993216fa, 0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb, 0xe58f764b, 0x187636bc, 0x5d7b3bb1, 0xe73de7de, 0x92bec979, 0xcca6c0b2,
  0x304a0979, 0x85aa43d4, 0x783125bb, 0x6ca8eaa2, 0xe407eac6, 0x4b5cfc3e, 0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756,
]);

const sums = new Int32Array(lanes);

/** `words`: the pages as 32-bit words, little-endian; `first`: the page's first word. */
function checksumWords(words: Int32Array, first: number, block: number): number {
  sums.set(offsets);
  const own = first + checksumAt / 4;
  const kept = words[own]!;
  // The checksum is the lower half of this word; the page is checked as if it were zero.
  words[own] = kept & 0xffff0000;
  const end = first + pageSize / 4;
  for (let at = first; at < end; at += lanes) {
    for (let lane = 0; lane < lanes; lane++) {
      const mixed = sums[lane]! ^ words[at + lane]!;
      sums[lane] = Math.imul(mixed, prime) ^ (mixed >>> 17);
    }
  }
  words[own] = kept;
  let result = 0;
  for (let lane = 0; lane < lanes; lane++) {
    let sum = sums[lane]!;
    // Two rounds of zeroes, so that the last words are mixed as well as the first.
    for (let round = 0; round < 2; round++) sum = Math.imul(sum, prime) ^ (sum >>> 17);
    result ^= sum;
  }
  return (((result ^ block) >>> 0) % 65535) + 1;
}

export interface BadPage {
  readonly block: number;
  readonly expected: number;
  readonly found: number;
}

/** Checks whole pages; `bytes` must begin at a multiple of four. New pages (all zero) have no checksum. */
export function verifyPages(bytes: Uint8Array, firstBlock: number): BadPage[] {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
  const bad: BadPage[] = [];
  for (let page = 0; (page + 1) * pageSize <= bytes.length; page++) {
    const first = (page * pageSize) / 4;
    // pd_upper is zero on a new page only.
    if (bytes[page * pageSize + 14] === 0 && bytes[page * pageSize + 15] === 0) {
      if (words.subarray(first, first + pageSize / 4).every((word) => word === 0)) continue;
    }
    const found = bytes[page * pageSize + checksumAt]! | (bytes[page * pageSize + checksumAt + 1]! << 8);
    const expected = checksumWords(words, first, firstBlock + page);
    if (found !== expected) bad.push({ block: firstBlock + page, expected, found });
  }
  return bad;
}
