/** WAL made by hand: records with a right CRC, laid over pages and segments as a server does. */
import { crc32c } from '../src/postgres/wal/crc32c.ts';

interface RecordFacts {
  readonly xid: number;
  readonly info: number;
  readonly resourceManager: number;
  readonly body: Uint8Array;
}

export function recordBytes({ xid, info, resourceManager, body }: RecordFacts): Buffer {
  const record = Buffer.alloc(24 + body.length);
  record.writeUInt32LE(record.length, 0);
  record.writeUInt32LE(xid, 4);
  record[16] = info;
  record[17] = resourceManager;
  record.set(body, 24);
  record.writeUInt32LE(crc32c(Buffer.concat([record.subarray(24), record.subarray(0, 20)])), 20);
  return record;
}

/** The record of a commit that says no more than when: at the begin of 2000. */
export function commitBytes(xid: number): Buffer {
  const body = Buffer.concat([Buffer.from([255, 8]), Buffer.alloc(8)]);
  return recordBytes({ xid, info: 0, resourceManager: 1, body });
}

export interface WalPlace {
  /** A segment's begin. */
  readonly start: bigint;
  /** Bytes. */
  readonly segmentSize: number;
  /** Of the pages. */
  readonly magic: number;
  /** How many (default 1); they are long enough for the records. */
  readonly segments?: number;
  /** As the header of a segment has it. */
  readonly systemId?: bigint;
}

export function walOf(
  records: readonly Buffer[],
  { start, segmentSize, magic, segments = 1, systemId = 0n }: WalPlace,
): Buffer {
  const wal = Buffer.alloc(segmentSize * segments);
  let at = 0;
  const header = (left: number) => {
    const long = at % segmentSize === 0;
    wal.writeUInt16LE(magic, at);
    wal.writeUInt16LE((long ? 2 : 0) | (left > 0 ? 1 : 0), at + 2);
    wal.writeUInt32LE(1, at + 4);
    wal.writeBigUInt64LE(start + BigInt(at), at + 8);
    wal.writeUInt32LE(left, at + 16);
    if (long) {
      wal.writeBigUInt64LE(systemId, at + 24);
      wal.writeUInt32LE(segmentSize, at + 32);
      wal.writeUInt32LE(8192, at + 36);
    }
    at += long ? 40 : 24;
  };
  for (const record of records) {
    at = (at + 7) & ~7;
    for (let done = 0; done < record.length; ) {
      if (at % 8192 === 0) header(done === 0 ? 0 : record.length - done);
      const count = Math.min(record.length - done, 8192 - (at % 8192));
      record.copy(wal, at, done, done + count);
      at += count;
      done += count;
    }
  }
  return wal;
}
