/**
 * What WAL says of transactions' ends and of restore points. Formats: src/include/access/xact.h and catalog/pg_control.h
 * (record kinds).
 */
import { RecordLayout, unexpectedRecord } from './record-layout.ts';
import type { WalRecord } from './wal-reader.ts';

const rmXlog = 0;
const rmXact = 1;
const xlogRestorePoint = 0x70;
const opMask = 0x70;
const commit = 0x00;
const prepare = 0x10;
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
      readonly xid: number;
      /** Microseconds since 1970. */
      readonly time: bigint;
      readonly subtransactions: readonly number[];
    }
  | {
      /** PREPARE TRANSACTION: it may end any time later, or never. */
      readonly kind: 'prepare';
      readonly lsn: bigint;
      readonly end: bigint;
      readonly xid: number;
      readonly time: bigint;
      readonly subtransactions: readonly number[];
    }
  | {
      readonly kind: 'restore point';
      readonly lsn: bigint;
      readonly end: bigint;
      readonly time: bigint;
      readonly name: string;
    };

export interface RelationFileNumber {
  readonly tablespace: number;
  readonly database: number;
  readonly file: number;
}

export interface TransactionEnd {
  readonly kind: 'commit' | 'abort';
  readonly xid: number;
  /** Microseconds since 1970. */
  readonly time: bigint;
  readonly subtransactions: readonly number[];
  /** Files that go away with it. */
  readonly files: readonly RelationFileNumber[];
}

/** In the year 287396: microseconds stay exact as numbers. */
const latest = BigInt(Number.MAX_SAFE_INTEGER);

const layout = new RecordLayout();

/** Undefined for records that say nothing of this. Throws PROTOCOL. */
export function walEvent(record: WalRecord): WalEvent | undefined {
  if (record.resourceManager === rmXlog && (record.info & 0xf0) === xlogRestorePoint)
    return restorePoint(record);
  if (record.resourceManager === rmXact && (record.info & opMask) === prepare) return prepared(record);
  const end = transactionEnd(record);
  if (!end) return undefined;
  const { kind, xid, time, subtransactions } = end;
  return { kind, lsn: record.lsn, end: record.end, xid, time, subtransactions };
}

/** Undefined for records that do not end a transaction. Throws PROTOCOL. */
export function transactionEnd(record: WalRecord): TransactionEnd | undefined {
  if (record.resourceManager !== rmXact) return undefined;
  const op = record.info & opMask;
  if (op !== commit && op !== abort && op !== commitPrepared && op !== abortPrepared) return undefined;
  layout.read(record);
  const data = layout.mainData(record);
  try {
    const time = data.readBigInt64LE(0) + epoch;
    if (time > latest || time < -latest) throw unexpectedRecord(record);
    const kind = op === commit || op === commitPrepared ? 'commit' : 'abort';
    const prepared = op === commitPrepared || op === abortPrepared;
    if (!(record.info & hasInfo)) {
      if (prepared) throw unexpectedRecord(record);
      return { kind, xid: record.xid, time, subtransactions: [], files: [] };
    }
    return { kind, time, ...extras(data, record, prepared) };
  } catch (thrown) {
    if (thrown instanceof RangeError) throw unexpectedRecord(record);
    throw thrown;
  }
}

/** xl_xact_xinfo and what follows, in this order, each part only if its bit is set. */
function extras(
  data: Buffer,
  record: WalRecord,
  prepared: boolean,
): Pick<TransactionEnd, 'xid' | 'subtransactions' | 'files'> {
  const bits = data.readUInt32LE(8);
  const subtransactions: number[] = [];
  const files: RelationFileNumber[] = [];
  let at = 12;
  if (bits & 1) at += 8;
  if (bits & 2) {
    const count = data.readUInt32LE(at);
    for (let i = 0; i < count; i++) subtransactions.push(data.readUInt32LE(at + 4 + 4 * i));
    at += 4 + 4 * count;
  }
  if (bits & 4) {
    const count = data.readUInt32LE(at);
    for (let i = 0; i < count; i++) files.push(fileNumber(data, at + 4 + 12 * i));
    at += 4 + 12 * count;
  }
  // XACT_XINFO_HAS_DROPPED_STATS (15+): items of 12 bytes, 16 from version 18 on.
  if (bits & 256) at += 4 + (record.major >= 18 ? 16 : 12) * data.readUInt32LE(at);
  if (bits & 8) at += 4 + 16 * data.readUInt32LE(at);
  if (prepared && !(bits & 16)) throw unexpectedRecord(record);
  return { xid: prepared ? data.readUInt32LE(at) : record.xid, subtransactions, files };
}

/** 12 bytes: tablespace, database, file. */
export function fileNumber(data: Buffer, at: number): RelationFileNumber {
  return {
    tablespace: data.readUInt32LE(at),
    database: data.readUInt32LE(at + 4),
    file: data.readUInt32LE(at + 8),
  };
}

/**
 * xl_xact_prepare: magic, length, xid and database, 4 bytes each, the time; at 28 how many subtransactions. Their numbers follow the
 * header (64 bytes, 72 from version 15 on, whose last 18 begin with the length of the name) and the name, which is filled up to 8 bytes.
 */
function prepared(record: WalRecord): WalEvent {
  layout.read(record);
  const data = layout.mainData(record);
  const header = record.major >= 15 ? 72 : 64;
  if (data.length < header) throw unexpectedRecord(record);
  const time = data.readBigInt64LE(16) + epoch;
  const at = header + Math.ceil(data.readUInt16LE(header - 18) / 8) * 8;
  const count = data.readUInt32LE(28);
  if (at + 4 * count > data.length) throw unexpectedRecord(record);
  const subtransactions = Array.from({ length: count }, (_, i) => data.readUInt32LE(at + 4 * i));
  return { kind: 'prepare', lsn: record.lsn, end: record.end, xid: record.xid, time, subtransactions };
}

function restorePoint(record: WalRecord): WalEvent {
  layout.read(record);
  const data = layout.mainData(record);
  if (data.length < 8) throw unexpectedRecord(record);
  const name = data.toString('utf8', 8, 8 + 64).split('\0')[0]!;
  return {
    kind: 'restore point',
    lsn: record.lsn,
    end: record.end,
    time: data.readBigInt64LE(0) + epoch,
    name,
  };
}
