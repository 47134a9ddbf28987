/** Reads WAL that no index covers: with the recovery identity, from the repository alone. */
import { continuousRanges, reachAlong } from '../../catalog/index.ts';
import {
  decodeLogIndex,
  type IndexedTransaction,
  type IndexState,
  type WalDamage,
  WalIndexer,
  walSegmentBegin,
} from '../../postgres/index.ts';
import { type LogNote, openLogNote, type Repository } from '../../repository/index.ts';
import { readCatalogNames } from '../wal/catalog-names.ts';
import type { StoredLog } from '../wal/log-bytes.ts';

export interface ReadWalOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly log: StoredLog;
  readonly notes: Iterable<LogNote>;
  /** Bytes. */
  readonly segmentSize: number;
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
}

export interface WalBatch {
  /** In order of WAL. */
  readonly transactions: readonly IndexedTransaction[];
  readonly damaged: readonly WalDamage[];
}

/** In batches, so that memory does not grow with the range. */
export async function* readWal(
  options: ReadWalOptions,
  range: { line: number; begin: bigint; end: bigint },
): AsyncGenerator<WalBatch> {
  const { repository, database, log, segmentSize, signal, onBytes } = options;
  const state = await stateBefore(options, range);
  const first = walSegmentBegin(state ? BigInt(state.lastEnd) : range.begin, segmentSize);
  const start = firstStored(log, range.line, first) ? first : walSegmentBegin(range.begin, segmentSize);
  const names = await readCatalogNames(repository, database, {
    timeline: range.line,
    from: start,
    to: range.end,
  });
  const indexer = new WalIndexer({
    start,
    segmentSize,
    snapshots: names,
    ...(state && start === first ? { state } : {}),
  });
  let read = start;
  for await (const bytes of bytesOf(
    log,
    { ...range, begin: start },
    { segmentSize, isWhole: () => read >= range.end },
  )) {
    signal.throwIfAborted();
    indexer.push(bytes);
    onBytes(bytes.length);
    const { transactions, damaged, end } = indexer.take();
    read = end;
    yield {
      transactions: transactions.filter(({ lsn }) => lsn >= range.begin && lsn < range.end),
      damaged,
    };
  }
}

/** All of a range, and more until the last record that begins in it is whole, or no more is stored. */
async function* bytesOf(
  log: StoredLog,
  { line, begin, end }: { line: number; begin: bigint; end: bigint },
  { segmentSize, isWhole }: { segmentSize: number; isWhole: () => boolean },
): AsyncGenerator<Uint8Array> {
  yield* log.bytes({ line, from: begin, to: end });
  const ranges = continuousRanges(log.pieces);
  for (let at = end; !isWhole(); ) {
    const until = walSegmentBegin(at, segmentSize) + BigInt(segmentSize);
    const { position: to } = reachAlong(ranges, [{ timeline: line, until }], at);
    if (to <= at) return;
    yield* log.bytes({ line, from: at, to });
    at = to;
  }
}

/** What the index just before the range knew at its end. An empty one only knows of a record, from long before it. */
export async function stateBefore(
  { repository, notes }: Pick<ReadWalOptions, 'repository' | 'notes'>,
  { line, begin }: { line: number; begin: bigint },
): Promise<IndexState | undefined> {
  for (const note of notes)
    if (note.line === line && note.begin < note.end && note.end === begin)
      return decodeLogIndex(await openLogNote(repository, note.name), note.name).state;
  return undefined;
}

function firstStored(log: StoredLog, line: number, position: bigint): boolean {
  for (const piece of log.pieces)
    if (piece.line === line && piece.begin <= position && piece.end > position) return true;
  return false;
}
