/**
 * The long page header that a WAL segment begins with: which cluster, version and place it is of.
 * XLogLongPageHeaderData, src/include/access/xlog_internal.h; https://www.postgresql.org/docs/current/wal-internals.html
 */
import { HelvinoError } from '../../base/errors.ts';

/** XLOG_PAGE_MAGIC of each major version. */
export const walMajors: ReadonlyMap<number, number> = new Map([
  [0xd10d, 14],
  [0xd110, 15],
  [0xd113, 16],
  [0xd116, 17],
  [0xd118, 18],
]);
const headerLength = 40;
const infoLong = 0x2;

export interface SegmentHeader {
  /** Undefined: a version that is not supported. */
  readonly major: number | undefined;
  /** The page magic as it is. */
  readonly magic: number;
  /** On which the first page was written: an earlier one than the file's when the timeline was left within the segment. */
  readonly timeline: number;
  /** The position of the first byte. */
  readonly begin: bigint;
  /** Unsigned 64-bit integer in decimal. */
  readonly systemId: string;
  /** Bytes. */
  readonly segmentSize: number;
  readonly pageSize: number;
}

/** Throws PROTOCOL for what is not the begin of a WAL segment. */
export function readSegmentHeader(bytes: Uint8Array): SegmentHeader {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, headerLength));
  if (
    header.length < headerLength ||
    header.readUInt8(1) !== 0xd1 ||
    (header.readUInt16LE(2) & infoLong) === 0
  )
    throw new HelvinoError('PROTOCOL', 'the file does not begin as a WAL segment does', {
      hint: 'it is empty, damaged, or no WAL; nothing was stored',
    });
  const magic = header.readUInt16LE(0);
  return {
    major: walMajors.get(magic),
    magic,
    timeline: header.readUInt32LE(4),
    begin: header.readBigUInt64LE(8),
    systemId: String(header.readBigUInt64LE(24)),
    segmentSize: header.readUInt32LE(32),
    pageSize: header.readUInt32LE(36),
  };
}
