/** How the server stands to what is stored: its slot, how far it is ahead, who waits. */
import type { Client } from 'pg';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import {
  type ConnectionParams,
  connectSql,
  openReplication,
  parseLsn,
  parseTimelineHistory,
} from '../../postgres/index.ts';
import { LogPieces, type Repository } from '../../repository/index.ts';
import { type OtherCluster, otherCluster, type StoredClusters } from './known-cluster.ts';
import { readSlots, type SlotState, serverEndSql, serverTimelineSql } from './slot.ts';
import { endsOf, type WalStatus } from './status.ts';

export interface SourceState {
  /** The slot of our stream, if it is there. */
  readonly slot: SlotState | undefined;
  /** The server hands over WAL by our archive_command. */
  readonly archiving: boolean;
  /** How far the server is ahead of what is stored, in bytes and in seconds; seconds are undefined while nothing was ever stored. */
  readonly lag: { readonly bytes: number; readonly seconds: number | undefined };
  /** The slot's stream has confirmed WAL that is not stored here: it stores elsewhere. Up to where. */
  readonly elsewhere: bigint | undefined;
  /** Sessions whose commit waits for a synchronous standby now. */
  readonly waiting: number;
}

export interface SourceQuestion {
  readonly connection: ConnectionParams;
  readonly slot: string;
  readonly clusters: StoredClusters;
  /** Undefined: nothing. */
  readonly stored: StoredEnds | undefined;
  /** Asked for again when the server says that more is stored by now. */
  readonly storedNow: () => Promise<StoredEnds | undefined>;
  /** The store's clock now. */
  readonly now: Date;
  readonly clock: Clock;
}

/** LSNs of different timelines are not compared: after a restore to an earlier time the server has other WAL in the same place. */
interface StoredEnds {
  readonly ends: ReadonlyMap<number, bigint>;
  /** When the newest piece was stored, by the store's clock. */
  readonly newest: Date;
}

export function storedEnds({ ends, newest }: Pick<WalStatus, 'ends' | 'newest'>): StoredEnds | undefined {
  if (newest === undefined) return undefined;
  return {
    ends: new Map(ends.map(({ timeline, to }) => [timeline, parseLsn(to)])),
    newest: new Date(newest),
  };
}

export async function readStoredEnds(
  { driver }: Repository,
  database: string,
): Promise<StoredEnds | undefined> {
  const { ends, newest } = endsOf(await LogPieces.read(driver, database));
  return newest && { ends, newest };
}

/** A stream that works stores what was written within this time, if `every` is not longer. */
const patienceMs = 3000;

/** A text: why the server did not answer. Of another cluster nothing else is known: its LSNs are not ours. */
export type SourceAnswer = SourceState | { readonly other: OtherCluster } | string;

/** Undefined when it is not known. */
export function knownState(answer: SourceAnswer | undefined): SourceState | undefined {
  return typeof answer === 'object' && !('other' in answer) ? answer : undefined;
}

export async function readSourceState(question: SourceQuestion): Promise<SourceAnswer> {
  try {
    const client = await connectSql(question.connection);
    try {
      const other = await otherClusterOf(client, question.clusters);
      return other ? { other } : await ask(client, question);
    } finally {
      await client.end();
    }
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code.startsWith('SERVER_')) return thrown.message;
    throw thrown;
  }
}

async function otherClusterOf(client: Client, clusters: StoredClusters): Promise<OtherCluster | undefined> {
  const { rows } = await client.query<{ id: string }>(
    'select system_identifier::text as id from pg_control_system()',
  );
  return otherCluster(clusters, rows[0]!.id);
}

/**
 * Seconds: how long the stream took to store all that the server had when it was asked. When that takes too long: since the
 * newest piece was stored, which is the most that it can be. What the stream has confirmed only says when to look: another one
 * may use the slot, and store into another repository.
 */
async function ask(client: Client, question: SourceQuestion): Promise<SourceState> {
  const { slot, now, clock } = question;
  const begun = clock.monotonic();
  const { rows } = await client.query<{ lsn: string; timeline: number; archiving: boolean; waiting: number }>(
    `select ${serverEndSql}::text as lsn, ${serverTimelineSql} as timeline,
       current_setting('archive_mode') <> 'off' and current_setting('archive_command') like '%helvino%' as archiving,
       (select count(*)::int from pg_stat_activity where wait_event = 'SyncRep') as waiting`,
  );
  const { archiving, waiting, timeline } = rows[0]!;
  const end = BigInt(rows[0]!.lsn);
  let { stored } = question;
  let durable = await storedOf(question, timeline);
  for (;;) {
    const [state] = await readSlots(client, slot);
    const confirmed = state?.active && state.restart !== undefined ? state.restart : 0n;
    if (durable < end && confirmed > durable) {
      stored = await question.storedNow();
      durable = await storedOf({ ...question, stored }, timeline);
    }
    const bytes = Number(end > durable ? end - durable : 0n);
    const seconds = (clock.monotonic() - begun) / 1000;
    const late = seconds * 1000 > patienceMs || !state?.active;
    if (bytes === 0 || late) {
      const silence = stored ? Math.max(0, (now.getTime() - stored.newest.getTime()) / 1000) : undefined;
      const lag = { bytes, seconds: bytes === 0 ? seconds : silence };
      const elsewhere = bytes > 0 && confirmed > durable ? confirmed : undefined;
      return { slot: state, archiving, lag, elsewhere, waiting };
    }
    await clock.sleep(stored === question.stored ? 200 : 1000);
  }
}

/** How far the WAL of a timeline is stored, on itself or on those that it came from. */
async function storedOf({ connection, stored }: SourceQuestion, timeline: number): Promise<bigint> {
  if (stored === undefined) return 0n;
  const own = stored.ends.get(timeline);
  if (own !== undefined) return own;
  // The first timeline came from none.
  if (timeline === 1) return 0n;
  try {
    return await storedBefore({ connection, stored, timeline });
  } catch (thrown) {
    // A role that may not replicate: what is certain is that nothing of this timeline is stored.
    if (thrown instanceof HelvinoError) return 0n;
    throw thrown;
  }
}

async function storedBefore({
  connection,
  stored,
  timeline,
}: {
  connection: ConnectionParams;
  stored: StoredEnds;
  timeline: number;
}): Promise<bigint> {
  const replication = await openReplication(connection);
  try {
    const history = parseTimelineHistory(await replication.timelineHistory(timeline));
    for (const left of history.toReversed()) {
      const end = stored.ends.get(left.timeline);
      // biome-ignore lint/complexity/useMathMinMax: these are bigints, which Math.min does not take
      if (end !== undefined) return end < left.switchLsn ? end : left.switchLsn;
    }
    return 0n;
  } finally {
    await replication.close().catch(() => undefined);
  }
}
