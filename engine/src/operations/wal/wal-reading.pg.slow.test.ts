import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startLoad, states, untilListened, untilVisited } from '../../../test/busy-server.ts';
import { startTestServer, type TestMajor } from '../../../test/pg-server.ts';
import { rowsAtLatest, startWalStream } from '../../../test/wal-stream.ts';
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
