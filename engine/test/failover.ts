/** A primary and a standby that change places, with one WAL stream over it all; then restores to points of each time. */
import assert from 'node:assert/strict';
import { appendFile, chown, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentProgress } from '../src/base/progress.ts';
import { backupFacts } from '../src/catalog/index.ts';
import { findTransactions } from '../src/operations/find/find.ts';
import { findRecovery } from '../src/operations/restore/find-recovery.ts';
import { parseTarget } from '../src/operations/restore/target-words.ts';
import { walStatus } from '../src/operations/wal/status.ts';
import { parseLsn, resolveConnection } from '../src/postgres/index.ts';
import type { Manifest } from '../src/repository/index.ts';
import { type Fixture, makeFixture, query, startRestored } from './backup-fixture.ts';
import { startTestServer, type TestMajor, type TestServer, testServerUser } from './pg-server.ts';
import { startWalStream } from './wal-stream.ts';

export const standbySettings = { wal_keep_size: '64MB', wal_level: 'replica', hot_standby: 'on' };

/** A standby, made of a restore of our own: the newest state, on the primary's timeline, following it. */
export async function startStandby(
  fixture: Fixture,
  primary: TestServer,
  manifest: Manifest,
): Promise<TestServer> {
  const directory = join(fixture.home, `standby-${primary.port}`);
  await fixture.restoreTo(manifest, { directory, newTimeline: false });
  const conf = join(directory, 'postgresql.auto.conf');
  await appendFile(
    conf,
    `primary_conninfo = 'host=127.0.0.1 port=${primary.port} user=postgres'\nrecovery_target_timeline = 'latest'\n`,
  );
  const signal = join(directory, 'standby.signal');
  await writeFile(signal, '');
  const user = await testServerUser();
  if (user) for (const file of [conf, signal]) await chown(file, user.uid, user.gid);
  return startTestServer({ major: primary.major, dataDir: directory, config: standbySettings });
}

/** Until the query's only column `so` is true. */
export async function untilSo(server: TestServer, sql: string): Promise<void> {
  for (let i = 0; i < 600; i++, await sleep(50))
    if ((await query<{ so: boolean }>(server, sql)).rows[0]?.so) return;
  throw new Error(`never: ${sql}: ${server.log()}`);
}

/** The standby has all of the primary. */
async function inStep(primary: TestServer, standby: TestServer): Promise<void> {
  const { rows } = await query<{ lsn: string }>(primary, 'select pg_current_wal_flush_lsn()::text as lsn');
  await untilSo(standby, `select coalesce(pg_last_wal_replay_lsn(), '0/0') >= '${rows[0]!.lsn}' as so`);
}

async function promote(server: TestServer): Promise<void> {
  await query(server, 'select pg_promote()');
  await untilSo(server, 'select not pg_is_in_recovery() as so');
}

async function rowsAt(
  fixture: Fixture,
  words: string,
  { major, timeline }: { major: TestMajor; timeline?: number },
) {
  const target = parseTarget(words, new Date());
  if (target.kind === 'backup') throw new Error('no target');
  const { repository, identities } = fixture;
  const signal = new AbortController().signal;
  const recovery = await findRecovery({ repository, identities, database: 'main', target, timeline, signal });
  const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
  await using server = await startRestored(directory, major);
  const { rows } = await query<{ n: number }>(server, 'select n from log order by n');
  await server.stop('immediate');
  await rm(directory, { recursive: true });
  return rows.map(({ n }) => n);
}

/** All of it is searched without the identity, and what was done before a timeline was left is no past one's. */
async function assertFound({ repository }: Fixture, backup: Manifest): Promise<void> {
  const { transactions, notSearched } = await findTransactions({
    repository,
    database: 'main',
    filter: { tables: ['log'], drops: false, truncates: false, all: false },
    limit: 1000,
    progress: silentProgress,
    signal: new AbortController().signal,
  });
  assert.deepEqual(notSearched, []);
  const from = parseLsn(backupFacts(backup).walEnd);
  const later = transactions.filter(({ lsn }) => lsn >= from);
  assert.deepEqual(
    later.map(({ timeline, isPast, unreachable }) => [timeline, isPast, unreachable]),
    [1, 2, 3].flatMap((timeline) =>
      Array.from({ length: timeline === 2 ? 15 : timeline === 1 ? 10 : 5 }, () => [
        timeline,
        false,
        undefined,
      ]),
    ),
  );
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/** `crash`: the primary is not shut down in order, and has WAL that its standby never got. */
export async function failOverAndBack(major: TestMajor, { crash }: { crash: boolean }): Promise<void> {
  await using fixture = await makeFixture();
  await using first = await startTestServer({
    major,
    initdbArgs: ['--wal-segsize=1'],
    config: standbySettings,
  });
  let n = 0;
  const add = async (server: TestServer, count: number) => {
    for (let i = 0; i < count; i++) await query(server, `insert into log values (${++n})`);
    await query(server, `select pg_create_restore_point('point ${n}')`);
    await query(server, `insert into log values (${++n})`);
  };
  await query(first, 'create table log (n int primary key)');
  const backup = await fixture.takeBackup(first);
  await using standby = await startStandby(fixture, first, backup);
  const url = `host=127.0.0.1,127.0.0.1 port=${first.port},${standby.port} user=postgres dbname=postgres target_session_attrs=read-write`;
  const stream = await startWalStream(fixture, first, { connection: await resolveConnection({ url }, {}) });
  await add(first, 9);
  await inStep(first, standby);
  await stream.upToNow(first);

  // The failover: the stream finds the new primary by itself.
  if (crash) {
    await query(standby, 'select pg_wal_replay_pause()');
    await query(first, `select pg_logical_emit_message(false, 'lost', 'never on the standby')`);
  }
  await first.stop(crash ? 'immediate' : 'fast');
  if (crash) await query(standby, 'select pg_wal_replay_resume()');
  await promote(standby);
  await add(standby, 9);
  await stream.upToNow(standby);

  // And back: the old primary's place is taken by a new standby of the new primary, on the newest backup.
  const second = await fixture.takeBackup(standby);
  await using again = await startStandby(fixture, standby, second);
  await add(standby, 4);
  await inStep(standby, again);
  await stream.upToNow(standby);
  await stream.end();
  await standby.stop('fast');
  await promote(again);
  await using last = await startWalStream(fixture, again);
  await add(again, 4);
  await last.upToNow(again);
  await last.end();

  const status = await walStatus(fixture.repository, 'main');
  assert.deepEqual(status.gaps, []);
  assert.deepEqual(
    status.windows.map(({ timeline }) => timeline),
    [3, 3],
    'each backup leads to the newest timeline',
  );
  await assertFound(fixture, backup);
  assert.deepEqual(await rowsAt(fixture, 'name:point 9', { major }), upTo(9));
  assert.deepEqual(await rowsAt(fixture, 'name:point 19', { major }), upTo(19));
  assert.deepEqual(await rowsAt(fixture, 'name:point 24', { major }), upTo(24));
  assert.deepEqual(await rowsAt(fixture, 'name:point 29', { major }), upTo(29));
  assert.deepEqual(await rowsAt(fixture, 'latest', { major }), upTo(30));
  assert.deepEqual(await rowsAt(fixture, 'latest', { major, timeline: 2 }), upTo(25));
  assert.deepEqual(await rowsAt(fixture, 'latest', { major, timeline: 1 }), upTo(10));
}
