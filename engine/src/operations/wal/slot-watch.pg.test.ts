import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startTestServer } from '../../../test/pg-server.ts';
import { startWalStream, type TestStream } from '../../../test/wal-stream.ts';

async function said(stream: TestStream, what: RegExp): Promise<void> {
  for (let i = 0; i < 600; i++, await sleep(50)) if (stream.notes.some((note) => what.test(note))) return;
  throw new Error(`not said: ${what}; said was: ${stream.notes.join('; ')}`);
}

test('a stream that falls behind, then catches up – warns once with the time and the bytes, then says that it is good', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'] });
  await using fixture = await makeFixture();
  await query(server, 'create table t (n int)');
  // Stores so seldom that it is behind; a segment that is full is stored at once.
  await using stream = await startWalStream(fixture, server, {
    intervalMs: 3_600_000,
    watch: { everyMs: 100, maxLag: 0.5, minRoom: 0 },
  });
  await query(server, 'insert into t values (1)');
  await said(stream, /^warn: what is stored is \S+ s and \S+ \S+ behind the server$/);
  await sleep(500);
  assert.equal(stream.notes.filter((note) => /behind the server/.test(note)).length, 1);
  // WAL that fills the segment, and no more after it.
  await query(server, 'checkpoint', 'select pg_switch_wal()');
  await said(stream, /^info: what is stored has caught up/);
});

test('a slot with little room – warns with what is left', async () => {
  await using server = await startTestServer({
    major: 14,
    initdbArgs: ['--wal-segsize=1'],
    config: { max_slot_wal_keep_size: '64MB' },
  });
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, {
    watch: { everyMs: 100, maxLag: 3600, minRoom: 1 << 30 },
  });
  await said(stream, /^warn: the replication slot helvino may be lost after \S+ MiB more WAL/);
  await query(server, `alter system set max_slot_wal_keep_size = -1`, 'select pg_reload_conf()');
  await said(stream, /^info: the replication slot has room again$/);
});

test('a server that answers no more on the old connection – is asked on a new one', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, {
    watch: { everyMs: 300, maxLag: 3600, minRoom: 1 << 30 },
  });
  // A connection that has asked for a second: the ones that begin the stream ask, too, and end.
  const asking = `select pid from pg_stat_activity where query like '%pg_replication_slots%'
    and query not like '%pg_stat_activity%' and query_start > backend_start + interval '1 s'`;
  let pid: number | undefined;
  while (pid === undefined) pid = (await query<{ pid: number }>(server, asking)).rows[0]?.pid;
  process.kill(pid, 'SIGSTOP');
  try {
    await query(server, `alter system set max_slot_wal_keep_size = '64MB'`, 'select pg_reload_conf()');
    await said(stream, /^warn: the replication slot helvino may be lost after/);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});
