import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startLoad, states, untilListened, untilVisited } from '../../../test/busy-server.ts';
import { startTestServer, type TestMajor } from '../../../test/pg-server.ts';
import { loseSlotWhileStarting } from '../../../test/slot-loss.ts';
import { hastyClock, rowsAtLatest, startWalStream } from '../../../test/wal-stream.ts';
import { assertNoGap, busyServer, loseSlotBetweenVisits, said } from '../../../test/wal-visits.ts';
import { HelvinoError } from '../../base/errors.ts';
import { walStatus } from './status.ts';

for (const major of [14, 18] as const satisfies TestMajor[])
  test(`PostgreSQL ${major}, a busy server – is visited, others are kept off the slot, nothing is missing; a calm one is listened to`, async () => {
    await using server = await startTestServer({ major, initdbArgs: ['--wal-segsize=1'] });
    await using fixture = await makeFixture();
    await query(server, 'create table log (n int, body text)');
    await using stream = await startWalStream(fixture, server, { intervalMs: 500 });
    await stream.upToNow();
    await fixture.takeBackup(server);
    const busy = startLoad(server);
    await untilVisited(server);
    const second = await startWalStream(fixture, server);
    await assert.rejects(
      second.done,
      (thrown) =>
        thrown instanceof HelvinoError &&
        /another stream uses the replication slot helvino/.test(thrown.message),
    );
    await sleep(1500);
    const rows = await busy.end();
    await stream.upToNow();
    await untilListened(server);
    const status = await walStatus(fixture.repository, 'main');
    assert.equal(status.ranges.length, 1);
    assert.deepEqual(status.gaps, []);
    assert.deepEqual(
      stream.notes.filter((note) => note.startsWith('warn')),
      [],
    );
    assert.equal(await rowsAtLatest(fixture, major), rows);
  });

test('a busy server, its connection cut between two reads – the stream comes back, nothing is missing', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'] });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  await using stream = await startWalStream(fixture, server, { intervalMs: 500 });
  await stream.upToNow();
  const busy = startLoad(server);
  await untilVisited(server);
  await query(server, 'select pg_terminate_backend(pid) from pg_stat_replication');
  await sleep(1000);
  await busy.end();
  await stream.upToNow();
  assert.match(stream.notes.join('\n'), /warn: .* trying again/);
  const status = await walStatus(fixture.repository, 'main');
  assert.equal(status.ranges.length, 1);
  assert.deepEqual(status.gaps, []);
});

test('synchronous, or a server that logs each command – the stream stays', async () => {
  await using server = await startTestServer({ major: 17 });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  for (const [settings, options] of [
    ['select 1', { synchronous: true }],
    [`alter system set log_replication_commands = on`, {}],
  ] as const) {
    await query(server, settings, 'select pg_reload_conf()');
    await using stream = await startWalStream(fixture, server, { intervalMs: 500, ...options });
    await stream.upToNow();
    const busy = startLoad(server);
    const seen = await states(server, 2500);
    await busy.end();
    assert.ok(seen.length > 0 && seen.every(({ active }) => active), 'it streams all the time');
  }
});

test('PostgreSQL 18, the slot is lost between two visits – made anew, no gap', () =>
  loseSlotBetweenVisits(18));

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

test('PostgreSQL 14, the slot is lost while the stream starts, and again when it was made anew – a gap, which a backup closes', () =>
  loseSlotWhileStarting(14));
