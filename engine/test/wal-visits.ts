/** What can happen to a server between two visits of a stream. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { walStatus } from '../src/operations/wal/status.ts';
import { type Fixture, makeFixture, query } from './backup-fixture.ts';
import { startLoad, untilVisited } from './busy-server.ts';
import { startTestServer, type TestMajor, type TestServer } from './pg-server.ts';
import { hastyClock, startWalStream, type TestStream } from './wal-stream.ts';

const initdbArgs = ['--wal-segsize=1'];

export async function busyServer(major: TestMajor, config: Record<string, string | number> = {}) {
  const server = await startTestServer({ major, initdbArgs, config });
  await query(server, 'create table log (n int, body text)');
  return server;
}

export async function said(stream: TestStream, what: RegExp): Promise<void> {
  for (let i = 0; i < 600; i++, await sleep(50)) if (stream.notes.some((note) => what.test(note))) return;
  throw new Error(`not said: ${what}; said was: ${stream.notes.join('; ')}`);
}

export async function assertNoGap(fixture: Fixture): Promise<void> {
  const status = await walStatus(fixture.repository, 'main');
  assert.equal(status.ranges.length, 1);
  assert.deepEqual(status.gaps, []);
}

/** Until it is true of the slot `helvino`; `sql` is run before each look. */
async function untilSlot(server: TestServer, condition: string, sql: string): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(20)) {
    const look = `select coalesce((select ${condition} from pg_replication_slots where slot_name = 'helvino'), false) as so`;
    if ((await query<{ so: boolean }>(server, sql, look)).rows[0]!.so) return;
  }
  throw new Error(`never: ${condition}`);
}

/** The store takes nothing until the function that it gives is called. */
function holdStore({ repository: { driver } }: Fixture): () => void {
  const put = driver.put.bind(driver);
  const { promise, resolve } = Promise.withResolvers<void>();
  driver.put = async (...words) => {
    await promise;
    await put(...words);
  };
  return resolve;
}

/** The slot is lost between two visits while the server still has the WAL: it is made anew, without a gap. */
export async function loseSlotBetweenVisits(major: TestMajor): Promise<void> {
  await using server = await busyServer(major, { max_slot_wal_keep_size: '1MB', min_wal_size: '2MB' });
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, {
    intervalMs: 500,
    clock: hastyClock,
    watch: { everyMs: 100, maxLag: 3600, minRoom: 0 },
  });
  await stream.upToNow();
  const load = startLoad(server);
  await untilVisited(server);
  const release = holdStore(fixture);
  await untilSlot(server, 'pg_current_wal_flush_lsn() - restart_lsn > 3000000', 'select');
  await load.end();
  const sent = `exists (select from pg_stat_replication where sent_lsn >= pg_current_wal_flush_lsn())`;
  await untilSlot(server, sent, 'select');
  await untilSlot(server, `wal_status = 'lost'`, 'checkpoint');
  release();
  await said(stream, /warn: .* trying again/);
  await said(stream, /warn: the replication slot helvino had lost WAL .* made anew/);
  await stream.upToNow();
  await untilSlot(server, `wal_status <> 'lost'`, 'select');
  await assertNoGap(fixture);
}
