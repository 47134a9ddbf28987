/**
 * `global/pg_control`: what a cluster is, and where its recovery begins. The layout is that of a C struct on a 64-bit
 * little-endian machine (src/include/catalog/pg_control.h); 14 to 17 share one, 18 adds a field before the checksum.
 * https://www.postgresql.org/docs/current/storage-file-layout.html,
 * https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-CONTROLDATA
 */
import { HelvinoError } from '../base/errors.ts';
import { crc32c } from './wal/crc32c.ts';

const states = [
  'starting up',
  'shut down',
  'shut down in recovery',
  'shutting down',
  'in crash recovery',
  'in archive recovery',
  'in production',
] as const;
const walLevels = ['minimal', 'replica', 'logical'] as const;

export interface ControlFacts {
  /** Decimal. */
  readonly systemId: string;
  /** 1300 for PostgreSQL 14 to 16, 1700 for 17, 1800 for 18. */
  readonly controlVersion: number;
  readonly catalogVersion: number;
  /** As pg_controldata names it. */
  readonly state: (typeof states)[number];
  /** When the file was last written. */
  readonly modified: Date;
  readonly checkpoint: {
    readonly lsn: bigint;
    readonly redo: bigint;
    readonly timeline: number;
    readonly previousTimeline: number;
    readonly fullPageWrites: boolean;
    /** Epoch and xid in one number. */
    readonly nextXid: bigint;
    readonly nextOid: number;
    readonly oldestXid: number;
    readonly time: Date;
  };
  /** 0 when no recovery is under way. */
  readonly minRecoveryPoint: bigint;
  readonly minRecoveryTimeline: number;
  /** 0 unless recovery from a base backup is under way. */
  readonly backupStart: bigint;
  readonly backupEnd: bigint;
  readonly backupEndRequired: boolean;
  /** A standby needs at least these, https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN */
  readonly settings: {
    readonly walLevel: (typeof walLevels)[number];
    readonly walLogHints: boolean;
    readonly maxConnections: number;
    readonly maxWorkerProcesses: number;
    readonly maxWalSenders: number;
    readonly maxPreparedTransactions: number;
    readonly maxLocksPerTransaction: number;
    readonly trackCommitTimestamp: boolean;
  };
  /** Bytes. */
  readonly pageSize: number;
  /** Pages. */
  readonly relationSegmentPages: number;
  /** Bytes. */
  readonly walPageSize: number;
  readonly walSegmentSize: number;
  /** 0: pages carry no checksums. */
  readonly dataChecksumVersion: number;
}

/** Offset of the checksum over all bytes before it, by control version. */
const checksumOffsets: ReadonlyMap<number, number> = new Map([
  [1300, 288],
  [1700, 288],
  [1800, 292],
]);

/** Throws PROTOCOL for a file that is cut, damaged, or of a version that is not known. */
export function readControlFile(bytes: Uint8Array): ControlFacts {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  checkWhole(bytes, view);
  const u32 = (at: number) => view.getUint32(at, true);
  const u64 = (at: number) => view.getBigUint64(at, true);
  const bool = (at: number) => bytes[at] === 1;
  return {
    systemId: u64(0).toString(),
    controlVersion: u32(8),
    catalogVersion: u32(12),
    state: oneOf(states, u32(16), 'state'),
    modified: time(view, 24),
    checkpoint: {
      lsn: u64(32),
      redo: u64(40),
      timeline: u32(48),
      previousTimeline: u32(52),
      fullPageWrites: bool(56),
      nextXid: u64(64),
      nextOid: u32(72),
      oldestXid: u32(84),
      time: time(view, 104),
    },
    minRecoveryPoint: u64(136),
    minRecoveryTimeline: u32(144),
    backupStart: u64(152),
    backupEnd: u64(160),
    backupEndRequired: bool(168),
    settings: {
      walLevel: oneOf(walLevels, u32(172), 'wal_level'),
      walLogHints: bool(176),
      maxConnections: u32(180),
      maxWorkerProcesses: u32(184),
      maxWalSenders: u32(188),
      maxPreparedTransactions: u32(192),
      maxLocksPerTransaction: u32(196),
      trackCommitTimestamp: bool(200),
    },
    pageSize: u32(216),
    relationSegmentPages: u32(220),
    walPageSize: u32(224),
    walSegmentSize: u32(228),
    dataChecksumVersion: u32(252),
  };
}

function checkWhole(bytes: Uint8Array, view: DataView): void {
  if (bytes.length < 296) throw damaged(`is ${bytes.length} bytes long`);
  const version = view.getUint32(8, true);
  const checksumAt = checksumOffsets.get(version);
  if (checksumAt === undefined) throw damaged(`has version ${version}, which is not known`);
  const [found, expected] = [view.getUint32(checksumAt, true), crc32c(bytes.subarray(0, checksumAt))];
  if (found !== expected) throw damaged(`is damaged: its checksum is ${hex(found)}, not ${hex(expected)}`);
}

function oneOf<T>(names: readonly T[], value: number, field: string): T {
  const name = names[value];
  if (name === undefined) throw damaged(`has ${field} ${value}, which is not known`);
  return name;
}

/** Seconds since 1970. */
function time(view: DataView, at: number): Date {
  return new Date(Number(view.getBigInt64(at, true)) * 1000);
}

function damaged(what: string): HelvinoError {
  return new HelvinoError('PROTOCOL', `the control file ${what}`);
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
