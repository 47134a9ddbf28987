/**
 * What WAL says of transactions' ends and of restore points. Formats: src/include/access/xact.h, xlogrecord.h and
 * catalog/pg_control.h (record kinds).
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatLsn } from '../lsn.ts';
import type { WalRecord } from './wal-reader.ts';

const rmXlog = 0;
const rmXact = 1;
const xlogRestorePoint = 0x70;
const opMask = 0x70;
const commit = 0x00;
const abort = 0x20;
const commitPrepared = 0x30;
const abortPrepared = 0x40;
const hasInfo = 0x80;
/** Microseconds from 1970 to 2000, PostgreSQL's epoch. */
const epoch = 946_684_800_000_000n;

export type WalEvent =
  | {
      readonly kind: 'commit' | 'abort';
      readonly lsn: bigint;
      readonly end: bigint;
      readonly xid: number /** Microseconds since 1970. */;
      readonly time: bigint;
    }
  | {
      readonly kind: 'restore point';
      readonly lsn: bigint;
      readonly end: bigint;
      readonly time: bigint;
      readonly name: string;
    };

/** Undefined for records that say nothing of this. Throws PROTOCOL. */
export function walEvent(record: WalRecord): WalEvent | undefined {
  if (record.resourceManager === rmXlog && (record.info & 0xf0) === xlogRestorePoint)
    return restorePoint(record);
  if (record.resourceManager !== rmXact) return undefined;
  const op = record.info & opMask;
  if (op !== commit && op !== abort && op !== commitPrepared && op !== abortPrepared) return undefined;
  const data = mainData(record);
  const kind = op === commit || op === commitPrepared ? 'commit' : 'abort';
  const prepared = op === commitPrepared || op === abortPrepared;
  const xid = prepared ? preparedXid(data, record) : record.xid;
  return { kind, lsn: record.lsn, end: record.end, xid, time: data.readBigInt64LE(0) + epoch };
}

function restorePoint(record: WalRecord): WalEvent {
  const data = mainData(record);
  const name = data.toString('utf8', 8, 8 + 64).split('\0')[0]!;
  return {
    kind: 'restore point',
    lsn: record.lsn,
    end: record.end,
    time: data.readBigInt64LE(0) + epoch,
    name,
  };
}

/** The record's main data: what is not of a block. */
function mainData(record: WalRecord): Buffer {
  const bytes = Buffer.from(record.bytes.buffer, record.bytes.byteOffset, record.bytes.byteLength);
  // Commit, abort and restore point records refer to no blocks: the headers are origin and transaction, then the main data.
  let at = 24;
  for (;;) {
    const id = bytes[at];
    if (id === 0xff) return bytes.subarray(at + 2, at + 2 + bytes.readUInt8(at + 1));
    if (id === 0xfe) return bytes.subarray(at + 5, at + 5 + bytes.readUInt32LE(at + 1));
    if (id === 0xfd) at += 3;
    else if (id === 0xfc) at += 5;
    else throw unexpected(record);
    if (at + 5 > bytes.length) throw unexpected(record);
  }
}

/** xl_xact_xinfo and what follows, in this order, each part only if its bit is set. */
function preparedXid(data: Buffer, record: WalRecord): number {
  if (!(record.info & hasInfo)) throw unexpected(record);
  const bits = data.readUInt32LE(8);
  let at = 12;
  if (bits & 1) at += 8;
  if (bits & 2) at += 4 + 4 * data.readUInt32LE(at);
  if (bits & 4) at += 4 + 12 * data.readUInt32LE(at);
  // XACT_XINFO_HAS_DROPPED_STATS (15+): items of 12 bytes, 16 from version 18 on.
  if (bits & 256) at += 4 + droppedStatsSize(data, at, bits) * data.readUInt32LE(at);
  if (bits & 8) at += 4 + 16 * data.readUInt32LE(at);
  if (!(bits & 16) || at + 4 > data.length) throw unexpected(record);
  return data.readUInt32LE(at);
}

/** The item size that makes the rest fit: the prepared transaction's number and name follow. */
function droppedStatsSize(data: Buffer, at: number, bits: number): number {
  const count = data.readUInt32LE(at);
  for (const size of [16, 12]) {
    let next = at + 4 + size * count;
    if (bits & 8 && next + 4 <= data.length) next += 4 + 16 * data.readUInt32LE(next);
    if (next + 4 <= data.length && data.readUInt32LE(next) >= 3) return size;
  }
  return 16;
}

function unexpected(record: WalRecord): HelvinoError {
  return new HelvinoError(
    'PROTOCOL',
    `the WAL record at ${formatLsn(record.lsn)} is not laid out as expected`,
    {
      context: { lsn: formatLsn(record.lsn), resourceManager: record.resourceManager, info: record.info },
    },
  );
}
