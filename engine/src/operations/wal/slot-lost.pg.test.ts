import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { edgeMajors, startTestServer } from '../../../test/pg-server.ts';
import { enoughRoom, loseSlotWhileStarting, tightConfig, writeMuch } from '../../../test/slot-loss.ts';
import { rowsAtLatest, startWalStream } from '../../../test/wal-stream.ts';
import { walStatus } from './status.ts';

for (const major of edgeMajors) {
  test(`PostgreSQL ${major}, a slot that lost WAL – a typed gap and a warning, the stream goes on, a new backup closes it`, async () => {
    await using server = await startTestServer({
      major,
      initdbArgs: ['--wal-segsize=1'],
      config: tightConfig,
    });
    await using fixture = await makeFixture();
    await query(server, 'create table log (n int, body text)');
    const first = await startWalStream(fixture, server);
    await first.upToNow();
    await fixture.takeBackup(server);
    await query(server, `insert into log values (0, 'stored')`);
    await first.upToNow();
    await first.end();
    assert.deepEqual((await walStatus(fixture.repository, 'main')).gaps, []);

    await writeMuch(server, 1);
    const slots = await query<{ status: string }>(
      server,
      'select wal_status as status from pg_replication_slots',
    );
    assert.equal(slots.rows[0]!.status, 'lost');
    await query(server, ...enoughRoom);

    await using second = await startWalStream(fixture, server);
    await query(server, `insert into log values (-1, 'after')`);
    await second.upToNow();
    assert.match(second.notes.join('\n'), /warn: the replication slot helvino had lost WAL/);
    assert.match(second.notes.join('\n'), /warn: WAL from \S+ to \S+ is missing .* take a backup/);
    const open = await walStatus(fixture.repository, 'main');
    assert.equal(open.ranges.length, 2);
    assert.deepEqual(
      open.gaps.map(({ reason, from, to, closedBy }) => ({ reason, from, to, closedBy })),
      [{ reason: 'slot-lost', from: open.ranges[0]!.to, to: open.ranges[1]!.from, closedBy: undefined }],
    );
    assert.ok(open.gaps[0]!.time);
    assert.equal(open.windows[0]!.to, open.ranges[0]!.to, 'no promise beyond the gap');

    const backup = await fixture.takeBackup(server);
    await query(server, `insert into log values (-2, 'after the backup')`);
    await second.upToNow();
    const closed = await walStatus(fixture.repository, 'main');
    assert.deepEqual(
      closed.gaps.map(({ reason, closedBy }) => ({ reason, closedBy })),
      [{ reason: 'slot-lost', closedBy: backup.id }],
    );
    assert.equal(closed.windows[1]!.to, closed.ranges[1]!.to);
    assert.equal(await rowsAtLatest(fixture, major), 120_003);
  });
}

test('PostgreSQL 18, a slot that is lost while the stream starts, and again when it was made anew – the same', () =>
  loseSlotWhileStarting(18));

test('the slot was dropped, the server still has the WAL – no gap', async () => {
  await using server = await startTestServer({
    major: 17,
    initdbArgs: ['--wal-segsize=1'],
    config: { wal_keep_size: '64MB' },
  });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  const first = await startWalStream(fixture, server);
  await fixture.takeBackup(server);
  await first.upToNow();
  await first.end();
  for (let i = 0; i < 100; i++) {
    const { rows } = await query<{ active: boolean }>(server, 'select active from pg_replication_slots');
    if (!rows[0]!.active) break;
    await sleep(50);
  }
  await query(server, `select pg_drop_replication_slot('helvino')`);
  await writeMuch(server, 1);
  await using second = await startWalStream(fixture, server);
  await second.upToNow();
  const status = await walStatus(fixture.repository, 'main');
  assert.equal(status.ranges.length, 1);
  assert.deepEqual(status.gaps, []);
  assert.doesNotMatch(second.notes.join('\n'), /missing/);
  assert.equal(await rowsAtLatest(fixture, 17), 120_000);
});

test('the slot was dropped, and the WAL is gone – a gap with that reason', async () => {
  await using server = await startTestServer({
    major: 16,
    initdbArgs: ['--wal-segsize=1'],
    config: { max_wal_size: '2MB', min_wal_size: '2MB' },
  });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  const first = await startWalStream(fixture, server);
  await first.upToNow();
  await first.end();
  for (let i = 0; i < 100; i++) {
    const { rows } = await query<{ active: boolean }>(server, 'select active from pg_replication_slots');
    if (!rows[0]!.active) break;
    await sleep(50);
  }
  await query(server, `select pg_drop_replication_slot('helvino')`);
  await writeMuch(server, 1);
  await using second = await startWalStream(fixture, server);
  await second.upToNow();
  const { gaps } = await walStatus(fixture.repository, 'main');
  assert.deepEqual(
    gaps.map(({ reason }) => reason),
    ['slot-missing'],
  );
});
