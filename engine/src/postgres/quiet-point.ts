/**
 * A quiet point: snapshots of every database that together are the state at one exact WAL position. They are, if no WAL
 * was written between a moment before the first was taken and a moment after the last: then every transaction that a
 * snapshot sees committed before that position, and none that it does not see did.
 *
 * Invariant: whatever could make the snapshots differ from the state at the position leads to another try.
 */
import type { Client } from 'pg';
import { systemClock } from '../base/clock.ts';
import { tableList } from './fingerprint.ts';
import { liftLimits } from './lift-limits.ts';
import { formatLsn, parseLsn } from './lsn.ts';
import { query, statements } from './sql.ts';

export interface QuietPoint {
  readonly lsn: bigint;
  /** Each in a transaction that holds the snapshot. Only databases that have tables. */
  readonly clients: ReadonlyMap<string, Client>;
  close(): Promise<void>;
}

interface QuietPointOptions {
  readonly databases: readonly string[];
  /** Bytes. */
  readonly walSegmentSize: number;
  /** How long to wait for a moment without WAL. */
  readonly budgetMs?: number;
  readonly signal?: AbortSignal;
}

type QuietPointResult =
  | { readonly state: 'taken'; readonly point: QuietPoint }
  | { readonly state: 'busy'; readonly reason: string };

const position = `case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text as lsn`;
/** Every transaction that has a number holds this lock until after it is no longer seen as running. */
const running = `from pg_locks where locktype = 'transactionid' and mode = 'ExclusiveLock' and granted`;

/** Opens connections with `open`; those that stay open belong to the point. */
export async function takeQuietPoint(
  open: (database: string) => Promise<Client>,
  options: QuietPointOptions,
): Promise<QuietPointResult> {
  const clients = new Map<string, Client>();
  try {
    for (const database of options.databases) {
      const client = await open(database);
      clients.set(database, client);
      // A point needs one connection at least.
      if (clients.size > 1 && (await query(client, `${tableList} limit 1`)).length === 0) {
        clients.delete(database);
        await client.end();
      } else {
        await liftLimits(client);
      }
    }
    const lsn = await waitForQuiet([...clients.values()], options);
    if (lsn !== undefined) return { state: 'taken', point: { lsn, clients, close: () => closeAll(clients) } };
  } catch (thrown) {
    await closeAll(clients);
    throw thrown;
  }
  await closeAll(clients);
  return {
    state: 'busy',
    reason: 'the source was never without writes for long enough to take a snapshot at a known position',
  };
}

async function closeAll(clients: Map<string, Client>): Promise<void> {
  for (const client of clients.values()) await client.end().catch(() => undefined);
  clients.clear();
}

async function waitForQuiet(
  clients: readonly Client[],
  options: QuietPointOptions,
): Promise<bigint | undefined> {
  const until = systemClock.monotonic() + (options.budgetMs ?? 10_000);
  for (let tries = 0; systemClock.monotonic() < until; tries++) {
    options.signal?.throwIfAborted();
    const lsn = await attempt(clients, options.walSegmentSize);
    if (lsn !== undefined) return lsn;
    for (const client of clients) await query(client, 'rollback');
    await systemClock.sleep(1 + (tries % 5));
  }
  return undefined;
}

interface Look {
  readonly before: string;
  readonly after: string;
  readonly standby: boolean;
  /** Numbers of the transactions that ran just before the snapshot. */
  readonly running: readonly string[];
}

async function attempt(clients: readonly Client[], walSegmentSize: number): Promise<bigint | undefined> {
  // At once, so that the moment that must be quiet is short.
  const looks = await Promise.all(clients.map(look));
  const first = looks[0];
  if (first === undefined) return undefined;
  if (looks.some(({ before, after }) => before !== first.before || after !== first.before)) return undefined;
  const lsn = pageStart(parseLsn(first.before), walSegmentSize);
  const xids = [...new Set(looks.flatMap((one) => one.running))];
  if (first.standby) return (await replayStands(clients[0]!, first.before)) ? lsn : undefined;
  return xids.length === 0 || (await stillRunning(clients[0]!, lsn, xids)) ? lsn : undefined;
}

/** One round trip. The order matters: position, who runs, snapshot, position. */
async function look(client: Client): Promise<Look> {
  const results = await statements<Record<string, unknown>>(
    client,
    `begin; select ${position}; select coalesce(array_agg(transactionid::text), '{}') as running ${running}; commit;
     begin isolation level repeatable read read only;
     select pg_is_in_recovery() as standby, ${position}`,
  );
  const last = results[5]![0]!;
  return {
    before: String(results[1]![0]!.lsn),
    running: results[2]![0]!.running as string[],
    after: String(last.lsn),
    standby: last.standby === true,
  };
}

const settleMs = 10;

/** A standby shows what a record did a moment before it counts the record as replayed. */
async function replayStands(client: Client, lsn: string): Promise<boolean> {
  await systemClock.sleep(settleMs);
  return (await query<{ lsn: string }>(client, `select ${position}`))[0]!.lsn === lsn;
}

/**
 * A transaction's commit record is in the WAL before others see it as committed: while it is flushed, and while standbys
 * confirm it. A snapshot in that moment misses a transaction that the WAL has. So those that ran at the snapshot must
 * still run some time after everything up to the position is flushed, and must not wait for standbys.
 */
async function stillRunning(client: Client, lsn: bigint, xids: readonly string[]): Promise<boolean> {
  let flushedOnce = false;
  for (let waited = 0; waited < 1000; waited += settleMs) {
    await systemClock.sleep(settleMs);
    // Else pg_stat_activity stays as it was at its first look in this transaction.
    await query(client, 'select pg_stat_clear_snapshot()');
    const [now] = await query<{ flushed: boolean; held: boolean; confirming: boolean }>(
      client,
      `select pg_current_wal_flush_lsn() >= $1::pg_lsn as flushed,
        (select count(distinct transactionid::text) ${running} and transactionid::text = any($2)) = cardinality($2) as held,
        current_setting('synchronous_standby_names') <> '' and exists (
          select from (select pid ${running} and transactionid::text = any($2)) l
          left join pg_stat_activity a using (pid) where coalesce(a.wait_event, 'SyncRep') = 'SyncRep') as confirming`,
      [formatLsn(lsn), xids],
    );
    if (!now!.held || now!.confirming) return false;
    if (flushedOnce) return true;
    flushedOnce = now!.flushed;
  }
  return false;
}

const pageSize = 8192n;
/** Bytes of the header of a WAL page, and of the first page of a segment (src/include/access/xlog_internal.h). */
const shortHeader = 24n;
const longHeader = 40n;

/** Exactly behind a page header nothing has been written yet: the position is the page's begin. */
export function pageStart(lsn: bigint, segmentSize: number): bigint {
  const firstOfSegment = lsn % BigInt(segmentSize) < pageSize;
  return lsn % pageSize === (firstOfSegment ? longHeader : shortHeader) ? lsn - (lsn % pageSize) : lsn;
}
