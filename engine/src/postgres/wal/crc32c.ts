/** CRC-32C (Castagnoli), as PostgreSQL uses it for WAL records and its control file (src/include/port/pg_crc32c.h); eight bytes a step. */
const polynomial = 0x82f63b78;
const tables = makeTables();

function makeTables(): Int32Array[] {
  const first = new Int32Array(256);
  for (let i = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    first[i] = value;
  }
  const all = [first];
  for (let t = 1; t < 8; t++) {
    const before = all[t - 1]!;
    all.push(Int32Array.from(before, (value) => (value >>> 8) ^ first[value & 0xff]!));
  }
  return all;
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** The same memory as 32-bit words: two loads instead of eight for each step. */
export function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, 0, bytes.buffer.byteLength >>> 2);
}

/**
 * Goes on from `state`; begin with `crcStart`, end with `crcEnd`. `words`: of the same memory (wordsOf); they are used where
 * `from` lies at a multiple of four there.
 */
export function crcUpdate(
  state: number,
  { bytes, words }: { bytes: Uint8Array; words: Int32Array },
  from: number,
  to: number,
): number {
  let crc = state;
  let at = from;
  const place = bytes.byteOffset + from;
  if ((place & 3) === 0) {
    let word = place >>> 2;
    for (; at + 8 <= to; at += 8) {
      const low = crc ^ words[word]!;
      const high = words[word + 1]!;
      word += 2;
      crc =
        t7[low & 0xff]! ^
        t6[(low >>> 8) & 0xff]! ^
        t5[(low >>> 16) & 0xff]! ^
        t4[low >>> 24]! ^
        t3[high & 0xff]! ^
        t2[(high >>> 8) & 0xff]! ^
        t1[(high >>> 16) & 0xff]! ^
        t0[high >>> 24]!;
    }
  }
  for (; at < to; at++) crc = t0[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return crc;
}

export const crcStart = -1;

export function crcEnd(state: number): number {
  return (state ^ -1) >>> 0;
}

export function crc32c(bytes: Uint8Array): number {
  return crcEnd(crcUpdate(crcStart, { bytes, words: wordsOf(bytes) }, 0, bytes.length));
}
