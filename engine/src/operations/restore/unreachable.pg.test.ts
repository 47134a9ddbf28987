import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { backupFacts } from '../../catalog/index.ts';
import { parseLsn } from '../../postgres/index.ts';
import { walStatus } from '../wal/status.ts';
import { type FindRecoveryOptions, findRecovery } from './find-recovery.ts';
import { parseTarget } from './target-words.ts';

const smallSegments = ['--wal-segsize=1'];

async function now(server: TestServer): Promise<{ lsn: string; time: string }> {
  const { rows } = await query<{ lsn: string; time: string }>(
    server,
    'select pg_current_wal_flush_lsn()::text as lsn, clock_timestamp()::text as time',
  );
  return rows[0]!;
}

function recover(fixture: {
  repository: FindRecoveryOptions['repository'];
  identities: FindRecoveryOptions['identities'];
}) {
  return (words: string) => {
    const target = parseTarget(words, new Date());
    if (target.kind === 'backup') throw new Error('no target');
    const { repository, identities } = fixture;
    return findRecovery({
      repository,
      identities,
      database: 'main',
      target,
      signal: new AbortController().signal,
    });
  };
}

test('the stream begins after the backup has ended – the new slot reaches back: no gap', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: smallSegments });
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int, t text)');
  const { id } = await fixture.takeBackup(server);
  // Several segments on, which the server still has: the last checkpoint is the backup's.
  for (let i = 0; i < 3; i++) await query(server, 'insert into t values (1)', 'select pg_switch_wal()');
  const { lsn } = await now(server);
  await using stream = await startWalStream(fixture, server);
  await stream.upTo(lsn);
  const { windows } = await walStatus(fixture.repository, 'main');
  assert.ok(parseLsn(windows[0]!.to) >= parseLsn(lsn), `${id}: ${JSON.stringify(windows)}, ${lsn}`);
});

test('targets in a gap – refused, with what can be reached on both sides; never taken for its edge', async () => {
  await using server = await startTestServer({
    major: 17,
    initdbArgs: smallSegments,
    config: { min_wal_size: '2MB', max_wal_size: '2MB' },
  });
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int, t text)');
  const first = await startWalStream(fixture, server);
  await fixture.takeBackup(server);
  await query(server, 'insert into t values (1)');
  await first.upToNow();
  await first.end();
  await query(server, `select pg_drop_replication_slot('helvino')`);
  await sleep(10);
  await query(server, 'insert into t values (2)');
  const inGap = await now(server);
  await sleep(10);
  for (let i = 0; i < 4; i++)
    await query(server, 'insert into t values (3)', 'select pg_switch_wal()', 'checkpoint');
  await using second = await startWalStream(fixture, server);
  await query(server, 'insert into t values (4)');
  await second.upToNow();
  const to = recover(fixture);
  // Stored, and stored after the time that is asked for, but not what was written then.
  const gap = /there is a gap from ([0-9A-F/]+) to ([0-9A-F/]+) \((.*)\): .* may be in it, or behind it/;
  for (const words of [inGap.time, 'xid:999999', 'name:nowhere'])
    await assert.rejects(to(words), (thrown) => {
      assert.ok(thrown instanceof HelvinoError && thrown.code === 'TARGET_UNREACHABLE', String(thrown));
      const [, from = '', until = '', why = ''] = gap.exec(thrown.message) ?? assert.fail(thrown.message);
      assert.ok(
        parseLsn(from) <= parseLsn(inGap.lsn) && parseLsn(inGap.lsn) < parseLsn(until),
        thrown.message,
      );
      assert.match(why, /slot was not there/);
      assert.doesNotMatch(thrown.message, /nothing shows/);
      assert.match(thrown.hint ?? '', new RegExp(`to ${from}; .*point-in-time\\.md`));
      return true;
    });

  const newer = await fixture.takeBackup(server);
  await second.upToNow();
  for (const words of [inGap.lsn, inGap.time]) {
    await assert.rejects(to(words), (thrown) => {
      assert.ok(thrown instanceof HelvinoError && thrown.code === 'TARGET_UNREACHABLE', String(thrown));
      const { windows } = thrown.context as { windows: { from: string; to: string; backup: string }[] };
      assert.equal(windows.length, 2);
      assert.ok(
        parseLsn(windows[0]!.to) < parseLsn(inGap.lsn) && parseLsn(inGap.lsn) < parseLsn(windows[1]!.from),
      );
      assert.equal(windows[1]!.backup, newer.id);
      assert.match(thrown.hint ?? '', new RegExp(`to ${windows[0]!.to}, and from ${windows[1]!.from} `));
      return true;
    });
  }
});

test('this host runs an hour behind the server – a time before the end of the backup is still refused', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: smallSegments });
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int)');
  await using stream = await startWalStream(fixture, server);
  const { time } = await now(server);
  await query(server, 'insert into t values (1)');
  const behind = { ...systemClock, now: () => new Date(Date.now() - 3_600_000) };
  const manifest = await fixture.takeBackup(server, { clock: behind });
  await query(server, 'insert into t values (2)');
  await stream.upToNow();
  const { ended = '' } = backupFacts(manifest);
  assert.ok(Math.abs(new Date(ended).getTime() - Date.now()) < 60_000, ended);
  await assert.rejects(recover(fixture)(time), {
    code: 'TARGET_UNREACHABLE',
    message: /before the end of every backup/,
  });
});

test('backups and no stored WAL – a transaction, a name and a time after them are refused with what can be reached', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: smallSegments });
  await using fixture = await makeFixture();
  const { id } = await fixture.takeBackup(server);
  const { time } = await now(server);
  for (const words of ['xid:999999', 'before:xid:999999', 'name:nowhere', time])
    await assert.rejects(recover(fixture)(words), (thrown) => {
      assert.ok(thrown instanceof HelvinoError && thrown.code === 'TARGET_UNREACHABLE', String(thrown));
      assert.match(thrown.hint ?? '', new RegExp(`the end of backup ${id}`));
      return true;
    });
});
