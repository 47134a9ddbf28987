/** A server that writes about a megabyte of WAL a second, and how a stream reads from it. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { query, withClient } from './backup-fixture.ts';

interface Server {
  readonly url: string;
}

const rowsAtATime = 20;

export interface Load {
  /** Gives the rows that were committed. */
  end(): Promise<number>;
}

/**
 * Small commits into the table `log` until told to stop. With pauses: a reader that never has all that there is rightly goes on
 * reading, so a load without would test nothing but the machine. A server that goes away ends it.
 */
export function startLoad(server: Server): Load {
  let running = true;
  const insert = `insert into log select g, repeat(md5(g::text), 10) from generate_series(1, ${rowsAtATime}) g`;
  const work = (async () => {
    let rows = 0;
    await withClient(server, async (client) => {
      client.on('error', () => undefined);
      for (; running; rows += rowsAtATime, await sleep(5)) await client.query(insert);
    }).catch(() => undefined);
    return rows;
  })();
  return {
    end: () => {
      running = false;
      return work;
    },
  };
}

export interface Seen extends Record<string, unknown> {
  /** Of the sender: `startup` between two visits. */
  readonly state: string;
  /** A stream uses the slot now. */
  readonly active: boolean;
  /** The temporary slot that keeps others off is there. */
  readonly claimed: boolean;
}

const look = `select r.state, exists (select from pg_replication_slots s where s.active_pid = r.pid and not s.temporary) as active,
    exists (select from pg_replication_slots s where s.active_pid = r.pid and s.temporary) as claimed
  from pg_stat_replication r where r.application_name not like 'walreceiver%'`;

/** What the stream does, looked at again and again. */
export async function states(server: Server, ms: number): Promise<Seen[]> {
  const seen: Seen[] = [];
  for (const end = performance.now() + ms; performance.now() < end; await sleep(10))
    seen.push(...(await query<Seen>(server, look)).rows);
  return seen;
}

const isBetweenVisits = ({ active, claimed }: Seen): boolean => !active && claimed;

/** Until the stream has ended between two reads; fails after a minute. */
export async function untilVisited(server: Server): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(10))
    if ((await query<Seen>(server, look)).rows.some(isBetweenVisits)) return;
  assert.fail('the stream never ended between two reads');
}

/** Until the stream has not ended for a second: a visit takes moments. */
export async function untilListened(server: Server): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; ) {
    const seen = await states(server, 1000);
    if (seen.length > 0 && seen.every(({ active, claimed }) => active && claimed)) return;
  }
  assert.fail('the server is not listened to');
}
