/**
 * Checksums of data pages, as src/include/storage/checksum_impl.h defines them: FNV-1a over 32 lanes of 4-byte words, the
 * page's own checksum field taken as zero, mixed with the block number. Little-endian machines only, as all that we run on.
 * https://www.postgresql.org/docs/current/storage-page-layout.html
 */
const pageSize = 8192;
const pageWords = pageSize / 4;
const lanes = 32;
const prime = 16777619;
/** Offset of pd_checksum in a page, in bytes. */
const checksumAt = 8;
/** Offset of pd_upper: zero on a new page only. */
const upperAt = 14;

/** Random offsets that start the lanes (checksumBaseOffsets). */
export const laneOffsets = Int32Array.from([
  0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a, 0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c, 0xf8d4474f,
  0xe39eb970, 0x42c6ae16, 0x993216fa, 0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb, 0xe58f764b, 0x187636bc,
  0x5d7b3bb1, 0xe73de7de, 0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4, 0x783125bb, 0x6ca8eaa2, 0xe407eac6,
  0x4b5cfc3e, 0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756,
]);

function mix(sum: number): number {
  return Math.imul(sum, prime) ^ (sum >>> 17);
}

/**
 * Four neighbouring lanes over a whole page, folded into one word. Four at a time keeps them in registers: three times as
 * fast as all 32 in an array, and faster than eight.
 */
function fourLanes(words: Int32Array, first: number, lane: number): number {
  let a = laneOffsets[lane]!;
  let b = laneOffsets[lane + 1]!;
  let c = laneOffsets[lane + 2]!;
  let d = laneOffsets[lane + 3]!;
  const end = first + pageWords;
  for (let at = first + lane; at < end; at += lanes) {
    a = mix(a ^ words[at]!);
    b = mix(b ^ words[at + 1]!);
    c = mix(c ^ words[at + 2]!);
    d = mix(d ^ words[at + 3]!);
  }
  // Two rounds of zeroes, so that the last words are mixed as well as the first.
  return mix(mix(a)) ^ mix(mix(b)) ^ mix(mix(c)) ^ mix(mix(d));
}

/** `first`: the page's first word. Changes the page for a moment. */
function checksumWords(words: Int32Array, first: number, block: number): number {
  const own = first + checksumAt / 4;
  const kept = words[own]!;
  // The checksum is the lower half of this word; the page is summed as if it were zero.
  words[own] = kept & 0xffff0000;
  let result = 0;
  for (let lane = 0; lane < lanes; lane += 4) result ^= fourLanes(words, first, lane);
  words[own] = kept;
  return (((result ^ block) >>> 0) % 65535) + 1;
}

export interface BadPage {
  readonly block: number;
  /** What the checksum should be; 0: this is no page (cut off, or neither new nor initialised). */
  readonly expected: number;
  readonly found: number;
}

/**
 * Checks pages; `bytes` must begin at a multiple of four. A new page (all zero) has no checksum and is good. A page that the
 * end of `bytes` cuts off is bad, as is one that says that it is new and is not empty: the server refuses both.
 */
export function verifyPages(bytes: Uint8Array, firstBlock: number): BadPage[] {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
  const bad: BadPage[] = [];
  const pages = Math.floor(bytes.length / pageSize);
  for (let page = 0; page < pages; page++) {
    const at = page * pageSize;
    const block = firstBlock + page;
    const found = bytes[at + checksumAt]! | (bytes[at + checksumAt + 1]! << 8);
    if (bytes[at + upperAt] === 0 && bytes[at + upperAt + 1] === 0) {
      if (!isZero(words, at / 4)) bad.push({ block, expected: 0, found });
      continue;
    }
    const expected = checksumWords(words, at / 4, block);
    if (found !== expected) bad.push({ block, expected, found });
  }
  if (pages * pageSize < bytes.length) bad.push({ block: firstBlock + pages, expected: 0, found: 0 });
  return bad;
}

function isZero(words: Int32Array, first: number): boolean {
  let any = 0;
  for (let at = first; at < first + pageWords; at++) any |= words[at]!;
  return any === 0;
}
