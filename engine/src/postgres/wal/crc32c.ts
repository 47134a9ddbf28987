/** CRC-32C (Castagnoli), as PostgreSQL uses it for WAL records; eight bytes a step. */
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

/** Goes on from `state`; begin with `crcStart`, end with `crcEnd`. */
export function crcUpdate(state: number, bytes: Uint8Array, from: number, to: number): number {
  let crc = state;
  let at = from;
  for (; at + 8 <= to; at += 8) {
    const low = crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    crc =
      t7[low & 0xff]! ^
      t6[(low >>> 8) & 0xff]! ^
      t5[(low >>> 16) & 0xff]! ^
      t4[low >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < to; at++) crc = t0[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return crc;
}

export const crcStart = -1;

export function crcEnd(state: number): number {
  return (state ^ -1) >>> 0;
}
