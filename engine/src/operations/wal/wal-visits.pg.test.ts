/** What can happen to a server between two visits of a stream. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fixture, makeFixture, query } from '../../../test/backup-fixture.ts';
import { startLoad, untilListened, untilVisited } from '../../../test/busy-server.ts';
import { startTestServer, type TestMajor, type TestServer } from '../../../test/pg-server.ts';
import { hastyClock, startWalStream, type TestStream } from '../../../test/wal-stream.ts';
import { walStatus } from './status.ts';

const initdbArgs = ['--wal-segsize=1'];

async function busyServer(major: TestMajor, config: Record<string, string | number> = {}) {
  const server = await startTestServer({ major, initdbArgs, config });
  await query(server, 'create table log (n int, body text)');
  return server;
}

async function said(stream: TestStream, what: RegExp): Promise<void> {
  for (let i = 0; i < 600; i++, await sleep(50)) if (stream.notes.some((note) => what.test(note))) return;
  throw new Error(`not said: ${what}; said was: ${stream.notes.join('; ')}`);
}

async function assertNoGap(fixture: Fixture): Promise<void> {
  const status = await walStatus(fixture.repository, 'main');
  assert.equal(status.ranges.length, 1);
  assert.deepEqual(status.gaps, []);
}

/** Until it is true of the slot `helvino`; `sql` is run before each look. */
async function untilSlot(server: TestServer, condition: string, sql: string): Promise<void> {
  for (let i = 0; i < 200; i++, await sleep(20)) {
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

for (const major of [17, 18] as const)
  test(`PostgreSQL ${major}, the slot is lost between two visits, the server still has the WAL – made anew, no gap`, async () => {
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
  });

test('the slot is dropped between two visits – made anew, no gap', async () => {
  await using server = await busyServer(14, { wal_keep_size: '64MB' });
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, { intervalMs: 500, clock: hastyClock });
  await stream.upToNow();
  const load = startLoad(server);
  await untilVisited(server);
  const drop = `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'helvino' and not active`;
  const isDropped = () =>
    query(server, drop).then(
      ({ rows }) => rows.length > 0,
      () => false,
    );
  while (!(await isDropped())) await sleep(5);
  await said(stream, /warn: the replication slot helvino was lost while the stream ran: it was dropped/);
  await said(stream, /info: made the replication slot helvino/);
  await load.end();
  await stream.upToNow();
  await assertNoGap(fixture);
});

test('synchronous_standby_names comes to name the stream – it stays, and warns once', async () => {
  // The load does not wait: it would make the server calm.
  await using server = await busyServer(18, { synchronous_commit: 'local' });
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, { intervalMs: 500 });
  await stream.upToNow();
  const load = startLoad(server);
  await untilVisited(server);
  await query(
    server,
    `alter system set synchronous_standby_names = 'ANY 1 (other, helvino)'`,
    'select pg_reload_conf()',
  );
  await untilListened(server);
  await load.end();
  assert.equal(
    stream.notes.filter((note) => /^warn: synchronous_standby_names has helvino/.test(note)).length,
    1,
  );
});

test('the server is stopped in order and started again between two visits – nothing is missing', async () => {
  await using server = await busyServer(17);
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, { intervalMs: 500, clock: hastyClock });
  await stream.upToNow();
  const load = startLoad(server);
  await untilVisited(server);
  await server.stop('fast');
  await server.start();
  await load.end();
  await stream.upToNow();
  await assertNoGap(fixture);
});
