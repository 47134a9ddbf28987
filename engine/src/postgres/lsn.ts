/**
 * Log sequence numbers and the names of WAL files.
 * https://www.postgresql.org/docs/current/datatype-pg-lsn.html, https://www.postgresql.org/docs/current/wal-internals.html
 */
import { HelvinoError } from '../base/errors.ts';

/** `16/B374D848` as a number. Throws PROTOCOL. */
export function parseLsn(text: string): bigint {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (!match)
    throw new HelvinoError('PROTOCOL', `${JSON.stringify(text)} is not a WAL position`, {
      context: { text },
    });
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** The WAL file that holds the byte at `lsn`, e.g. `000000010000000000000002`. `segmentSize` in bytes (wal_segment_size). */
export function walFileName(timeline: number, lsn: bigint, segmentSize: number): string {
  const segment = lsn / BigInt(segmentSize);
  const perLog = 0x1_0000_0000n / BigInt(segmentSize);
  return hex8(BigInt(timeline)) + hex8(segment / perLog) + hex8(segment % perLog);
}

/** The reverse: timeline and first byte. Undefined when no WAL file of this segment size has such a name. */
export function parseWalFileName(
  name: string,
  segmentSize: number,
): { timeline: number; begin: bigint } | undefined {
  const match = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/.exec(name);
  if (!match) return undefined;
  const timeline = Number.parseInt(match[1]!, 16);
  const inLog = BigInt(`0x${match[3]}`) * BigInt(segmentSize);
  if (timeline === 0 || inLog >= 0x1_0000_0000n) return undefined;
  return { timeline, begin: (BigInt(`0x${match[2]}`) << 32n) + inLog };
}

/** Where the segment that holds a position begins. */
export function walSegmentBegin(lsn: bigint, segmentSize: number): bigint {
  return lsn - (lsn % BigInt(segmentSize));
}

/** `00000002.history` */
export function timelineHistoryName(timeline: number): string {
  return `${hex8(BigInt(timeline))}.history`;
}

function hex8(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}
