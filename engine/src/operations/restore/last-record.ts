/**
 * Where the last WAL record begins that a restored server will replay. A server that is to pause or to shut down at the end
 * of its WAL has to be told of a target, or it would open: that record is the target.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import type { PathStep } from '../../catalog/index.ts';
import { formatLsn, WalReader, walFileName, walSegmentBegin } from '../../postgres/index.ts';

export interface PlacedWal {
  /** The data directory. */
  readonly directory: string;
  readonly path: readonly PathStep[];
  /** Where the WAL ends. */
  readonly end: bigint;
  /** Bytes. */
  readonly segmentSize: number;
}

/** Throws TARGET_IO when no record is there. */
export async function lastRecord(wal: PlacedWal): Promise<bigint> {
  const size = BigInt(wal.segmentSize);
  const last = walSegmentBegin(wal.end - 1n, wal.segmentSize);
  // A record may fill several segments: from further and further back, until one begins and ends.
  for (let back = 1n; ; back *= 2n) {
    const from = last - (back - 1n) * size;
    const found = await scan(wal, from > 0n ? from : 0n);
    if (found.record !== undefined) return found.record;
    if (found.missing || from <= 0n)
      throw new HelvinoError('TARGET_IO', `no WAL record ends before ${formatLsn(wal.end)} in pg_wal`, {
        hint: 'restore again; without --after the server opens at the end of its WAL',
      });
  }
}

async function scan(
  { directory, path, end, segmentSize }: PlacedWal,
  from: bigint,
): Promise<{ record?: bigint; missing: boolean }> {
  let record: bigint | undefined;
  const reader = new WalReader({ start: from, segmentSize, onRecord: ({ lsn }) => (record = lsn) });
  for (let at = from; at < end; at += BigInt(segmentSize)) {
    const name = walFileName(timelineAt(path, at, segmentSize), at, segmentSize);
    const bytes = await contentOf(join(directory, 'pg_wal', name));
    if (bytes === undefined) return { missing: true };
    reader.push(bytes.subarray(0, Number(end - at < bytes.length ? end - at : BigInt(bytes.length))));
  }
  return { record, missing: false };
}

/** A segment in which the timeline changes is there on both; that of the newer one holds what came before, too. */
function timelineAt(path: readonly PathStep[], at: bigint, segmentSize: number): number {
  const left = path.filter(({ until }) => until !== undefined && walSegmentBegin(until, segmentSize) <= at);
  return path[left.length]?.timeline ?? path.at(-1)!.timeline;
}

async function contentOf(path: string): Promise<Uint8Array | undefined> {
  try {
    await using file = await open(path, 'r');
    return await file.readFile();
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw thrown;
  }
}
