/** Stored WAL as records, along the timelines of a recovery. */
import type { PathStep } from '../../catalog/index.ts';
import { WalReader, type WalRecord, walSegmentBegin } from '../../postgres/index.ts';
import type { StoredLog } from '../wal/log-bytes.ts';

/** What follows a backup. */
export interface WalStretch {
  readonly path: readonly PathStep[];
  /** Where a record begins. */
  readonly from: bigint;
  readonly reach: bigint;
  readonly facts: { readonly walSegmentSize: number };
}

/** What is picked of the whole records in [from, reach), in order. Throws PROTOCOL for damage, and as `StoredLog.bytes`. */
export async function* walRecords<T>(
  log: StoredLog,
  { path, from, reach, facts }: WalStretch,
  pick: (record: WalRecord) => T | undefined,
): AsyncGenerator<T> {
  // The backup's own WAL is no part of the log.
  if (from >= reach) return;
  let at = walSegmentBegin(from, facts.walSegmentSize);
  // A timeline's first segment repeats what its parent's has before the fork.
  let since = from;
  for (const { timeline, until } of path) {
    const to = until !== undefined && until < reach ? until : reach;
    if (at >= to) continue;
    const found: T[] = [];
    const first = since;
    const reader = new WalReader({
      start: at,
      segmentSize: facts.walSegmentSize,
      onRecord: (record) => {
        const picked = record.lsn >= first && record.end <= to ? pick(record) : undefined;
        if (picked !== undefined) found.push(picked);
      },
    });
    for await (const bytes of log.bytes({ line: timeline, from: at, to })) {
      try {
        reader.push(bytes);
      } catch (thrown) {
        // What was before the damage counts.
        yield* found.splice(0);
        throw thrown;
      }
      yield* found.splice(0);
    }
    at = walSegmentBegin(to, facts.walSegmentSize);
    since = to;
  }
}

/** The end of the record that begins or goes on at a position; undefined when that is not stored whole. */
export async function endOfRecordAt(
  log: StoredLog,
  stretch: WalStretch,
  lsn: bigint,
  signal: AbortSignal,
): Promise<bigint | undefined> {
  const size = BigInt(stretch.facts.walSegmentSize);
  // A record may have begun segments ago: from further and further back, until one is seen that ends at or before the position.
  for (let back = 0n; ; back = back * 2n || 1n) {
    const begin = walSegmentBegin(lsn, stretch.facts.walSegmentSize) - back * size;
    const isAll = begin <= stretch.from;
    const from = isAll ? stretch.from : begin;
    let hasBefore = isAll;
    const ends = walRecords(log, { ...stretch, from }, ({ lsn: start, end }) => ({ start, end }));
    for await (const { start, end } of ends) {
      signal.throwIfAborted();
      if (end > lsn) {
        if (hasBefore || start <= lsn) return end;
        break;
      }
      hasBefore = true;
    }
    if (hasBefore) return undefined;
  }
}
