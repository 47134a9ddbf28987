/**
 * A quiet point: snapshots of every database that together are the state at one exact WAL position. They are, if no WAL
 * was written between a moment before the first was taken and a moment after the last: then every transaction that a
 * snapshot sees committed before that position, and none that it does not see did.
 */
import type { Client } from 'pg';
import { systemClock } from '../base/clock.ts';
import { parseLsn } from './lsn.ts';
import { tableList } from './fingerprint.ts';

export interface QuietPoint {
  readonly lsn: bigint;
  /** Each in a transaction that holds the snapshot. Only databases that have tables. */
  readonly clients: ReadonlyMap<string, Client>;
  close(): Promise<void>;
}

export interface QuietPointOptions {
  readonly databases: readonly string[];
  /** Bytes. */
  readonly walSegmentSize: number;
  /** How long to wait for a moment without WAL. */
  readonly budgetMs?: number;
  readonly signal?: AbortSignal;
}

export type QuietPointResult = { readonly state: 'taken'; readonly point: QuietPoint } | { readonly state: 'busy'; readonly reason: string };

const position = `case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text as lsn`;
const begin = 'begin isolation level repeatable read read only';

/** Opens connections with `open`; those that stay open belong to the point. */
export async function takeQuietPoint(open: (database: string) => Promise<Client>, options: QuietPointOptions): Promise<QuietPointResult> {
  const clients = new Map<string, Client>();
  try {
    for (const database of options.databases) {
      const client = await open(database);
      clients.set(database, client);
      if (clients.size > 1 && !(await hasTables(client))) {
        clients.delete(database);
        await client.end();
      }
    }
    const lsn = await waitForQuiet([...clients.values()], options);
    if (lsn === undefined) {
      await closeAll(clients);
      return { state: 'busy', reason: 'the source was never without writes for long enough to take a snapshot at a known position' };
    }
    return { state: 'taken', point: { lsn, clients, close: () => closeAll(clients) } };
  } catch (thrown) {
    await closeAll(clients);
    throw thrown;
  }
}

async function hasTables(client: Client): Promise<boolean> {
  return (await client.query(`${tableList} limit 1`)).rows.length > 0;
}

async function closeAll(clients: Map<string, Client>): Promise<void> {
  for (const client of clients.values()) await client.end().catch(() => undefined);
  clients.clear();
}

async function waitForQuiet(clients: readonly Client[], { budgetMs = 10_000, walSegmentSize, signal }: QuietPointOptions): Promise<bigint | undefined> {
  const until = systemClock.monotonic() + budgetMs;
  let tries = 0;
  while (systemClock.monotonic() < until) {
    signal?.throwIfAborted();
    const lsn = await attempt(clients);
    if (lsn !== undefined) return pageStart(lsn, walSegmentSize);
    for (const client of clients) await client.query('rollback');
    await systemClock.sleep(1 + (tries++ % 5));
  }
  return undefined;
}

/** Two round trips a database: position; then snapshot and position. */
async function attempt(clients: readonly Client[]): Promise<bigint | undefined> {
  let first: string | undefined;
  for (const client of clients) {
    const before = (await client.query<{ lsn: string }>(`select ${position}`)).rows[0]!.lsn;
    const results = (await client.query(
      `${begin}; select ${position}, pg_current_snapshot()::text as snapshot`,
    )) as unknown as { rows: { lsn: string; snapshot: string }[] }[];
    const { lsn: after, snapshot } = results[1]!.rows[0]!;
    first ??= before;
    if (before !== first || after !== first) return undefined;
    if (!(await allInProgress(client, snapshot))) return undefined;
  }
  return first === undefined ? undefined : parseLsn(first);
}

/**
 * A transaction's commit record is in the WAL a moment before others see it as committed: a snapshot in that moment
 * would miss a transaction that the WAL has. Such a one is in progress in the snapshot and committed by now.
 */
async function allInProgress(client: Client, snapshot: string): Promise<boolean> {
  const running = snapshot.split(':')[2] ?? '';
  if (running === '') return true;
  const xids = running.split(',');
  const { rows } = await client.query<{ done: boolean }>(
    `select bool_or(pg_is_in_recovery() is false and pg_xact_status(x::xid8) = 'committed') as done from unnest($1::text[]) x`,
    [xids],
  );
  return rows[0]!.done !== true;
}

const pageSize = 8192n;
/** Bytes of the header of a WAL page, and of the first page of a segment (src/include/access/xlog_internal.h). */
const shortHeader = 24n;
const longHeader = 40n;

/** Exactly behind a page header nothing has been written yet: the position is the page's begin. */
function pageStart(lsn: bigint, segmentSize: number): bigint {
  const firstOfSegment = lsn % BigInt(segmentSize) < pageSize;
  return lsn % pageSize === (firstOfSegment ? longHeader : shortHeader) ? lsn - (lsn % pageSize) : lsn;
}
