/** A stream that reads from a standby. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query, withClient } from '../../../test/backup-fixture.ts';
import { startLoad, untilVisited } from '../../../test/busy-server.ts';
import { standbySettings, startStandby } from '../../../test/failover.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { hastyClock, rowsAtLatest, startWalStream, type TestStream } from '../../../test/wal-stream.ts';
import { parseLsn } from '../../postgres/index.ts';
import { walStatus } from './status.ts';

async function one(server: TestServer, sql: string): Promise<string> {
  return (await query<{ value: string }>(server, `select (${sql})::text as value`)).rows[0]!.value;
}

/** All that the standby has received, replayed or not. */
async function upToReceived(stream: TestStream, standby: TestServer): Promise<void> {
  await stream.upTo(await one(standby, 'greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())'));
}

for (const major of [14, 18] as const)
  test(`PostgreSQL ${major}, a standby is visited; its primary dies in the middle of a record, it is promoted – its new timeline is followed, nothing is missing`, async () => {
    await using fixture = await makeFixture();
    const config = { ...standbySettings, max_wal_size: '1GB' };
    await using primary = await startTestServer({ major, initdbArgs: ['--wal-segsize=1'], config });
    await query(primary, 'create table log (n int, body text)');
    const backup = await fixture.takeBackup(primary);
    await using standby = await startStandby(fixture, primary, backup);
    await using stream = await startWalStream(fixture, standby, { intervalMs: 500, clock: hastyClock });
    await upToReceived(stream, standby);
    const load = startLoad(primary);
    await untilVisited(standby);
    await sleep(500);
    await withClient(standby, async (client) => {
      const comes = async (condition: string, ms: number) => {
        for (const end = performance.now() + ms; performance.now() < end; )
          if ((await client.query<{ so: boolean }>(`select (${condition}) as so`)).rows[0]!.so) return;
      };
      // A record of this size is sent as far as its segments are full.
      const record = query(primary, `select pg_logical_emit_message(false, 'x', repeat('x', 200000000))`);
      record.catch(() => undefined);
      await comes('pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn() > 1500000', 30_000);
      const killed = primary.stop('kill');
      // Best in the pause after the visit that brought it; the server may be calm by then, and listened to.
      const visited = `(select not active from pg_replication_slots where slot_name = 'helvino')
        and exists (select from pg_stat_replication where sent_lsn >= pg_last_wal_receive_lsn())`;
      await comes(visited, 2000);
      await client.query('select pg_promote()');
      await killed;
    });
    await load.end();
    await query(standby, `insert into log values (-1, 'on the new timeline')`);
    const end = parseLsn(await one(standby, 'pg_current_wal_flush_lsn()'));
    const isFollowed = async () =>
      (await walStatus(fixture.repository, 'main')).ranges.some(
        (range) => range.timeline === 2 && parseLsn(range.to) >= end,
      );
    for (let i = 0; !(await isFollowed()); i++, await sleep(100))
      assert.ok(i < 300, `timeline 2 is not followed: ${stream.notes.join('; ')}`);
    assert.deepEqual((await walStatus(fixture.repository, 'main')).gaps, []);
    assert.equal(await rowsAtLatest(fixture, major), Number(await one(standby, 'select count(*) from log')));
  });

test('a standby whose replay is paused – what it receives is stored all the same, also after its restart', async () => {
  await using fixture = await makeFixture();
  await using primary = await startTestServer({
    major: 17,
    initdbArgs: ['--wal-segsize=1'],
    config: standbySettings,
  });
  await query(primary, 'create table log (n int, body text)');
  const backup = await fixture.takeBackup(primary);
  await using standby = await startStandby(fixture, primary, backup);
  await using stream = await startWalStream(fixture, standby, { intervalMs: 500, clock: hastyClock });
  await upToReceived(stream, standby);
  await query(standby, 'select pg_wal_replay_pause()');
  const load = startLoad(primary);
  await untilVisited(standby);
  await sleep(2000);
  await upToReceived(stream, standby);
  assert.ok(stream.durable > parseLsn(await one(standby, 'pg_last_wal_replay_lsn()')) + 500_000n);
  await standby.stop('fast');
  await standby.start();
  // Paused before it has replayed what it had received, it receives nothing, and answers for less than is stored.
  await query(standby, 'select pg_wal_replay_pause()');
  await sleep(1000);
  const rows = await load.end();
  await query(standby, 'select pg_wal_replay_resume()');
  await stream.upTo(await one(primary, 'pg_current_wal_flush_lsn()'));
  assert.deepEqual((await walStatus(fixture.repository, 'main')).gaps, []);
  assert.equal(await rowsAtLatest(fixture, 17), rows);
});
