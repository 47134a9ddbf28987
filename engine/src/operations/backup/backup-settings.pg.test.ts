/** Settings of the source that change how a backup has to be made. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { loseSummaries } from '../../../test/backup-faults.ts';
import {
  type Fixture,
  makeFixture,
  notPassed,
  query,
  serverContents,
  startRestored,
  withClient,
} from '../../../test/backup-fixture.ts';
import { startTestServer } from '../../../test/pg-server.ts';
import { parseLsn } from '../../postgres/index.ts';

let fixture: Fixture;

before(async () => {
  fixture = await makeFixture();
});

after(async () => {
  await fixture?.[Symbol.asyncDispose]();
});

const warningsOf = (manifest: { facts: Record<string, unknown> }) => manifest.facts.warnings as string[];

test('WAL summaries with a gap – the incremental backup reads all, says so, and is proven; the next has pages again', async () => {
  await using server = await startTestServer({
    major: 18,
    initdbArgs: ['-k'],
    config: { summarize_wal: 'on' },
  });
  await query(server, 'create table t as select i, md5(i::text) as m from generate_series(1, 20000) i');
  await fixture.takeBackup(server, { database: 'summaries' });
  await query(server, `update t set m = 'changed' where i % 50 = 0`);
  await loseSummaries(server);

  const manifest = await fixture.takeBackup(server, { database: 'summaries' });
  assert.equal(manifest.kind, 'incremental');
  assert.equal(manifest.facts.transfer, 'changed-chunks');
  assert.match(warningsOf(manifest).join('\n'), /summaries/);
  assert.deepEqual(await fixture.recorded(manifest), await serverContents(server));
  assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);

  await query(server, 'delete from t where i = 7');
  const next = await fixture.takeBackup(server, { database: 'summaries' });
  assert.equal(next.facts.transfer, 'changed-pages');
  assert.deepEqual(notPassed(await fixture.drillIt(next)), []);
});

test('no replication slots, small segments of WAL, a prepared transaction – warned of, all WAL is there, the transaction is restored', async () => {
  await using server = await startTestServer({
    major: 15,
    initdbArgs: ['-k', '--wal-segsize=1'],
    config: {
      max_replication_slots: 0,
      max_wal_senders: 1,
      max_prepared_transactions: 5,
      wal_keep_size: '200MB',
      min_wal_size: '2MB',
    },
  });
  await query(server, 'create table t as select i, md5(i::text) as m from generate_series(1, 20000) i');
  await withClient(server, async (client) => {
    await client.query('begin');
    await client.query(`insert into t values (-1, 'prepared')`);
    await client.query(`prepare transaction 'half'`);
  });
  let progressed = false;
  const load = async () => {
    if (progressed) return;
    progressed = true;
    for (let i = 0; i < 5; i++)
      await query(server, `update t set m = m || 'x' where i % 10 = ${i}`, 'select pg_switch_wal()');
  };
  const work: Promise<void>[] = [];
  const manifest = await fixture.takeBackup(server, {
    database: 'settings',
    // Slow enough that the load is done before it.
    maxRateKiB: 6144,
    progress: {
      phase: (name) => {
        if (name === 'receiving') work.push(load());
      },
      advance() {},
      total() {},
      note() {},
    },
  });
  await Promise.all(work);
  assert.match(warningsOf(manifest).join('\n'), /no replication slot/);
  const span = parseLsn(String(manifest.facts.walEnd)) - parseLsn(String(manifest.facts.startLsn));
  assert.ok(span > 3n << 20n, `the WAL is several segments: ${span}`);
  assert.deepEqual(await fixture.recorded(manifest), await serverContents(server));
  assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);

  const { directory } = await fixture.restoreTo(manifest);
  await using restored = await startRestored(directory, 15);
  const { rows } = await query<{ gid: string }>(restored, 'select gid from pg_prepared_xacts');
  assert.deepEqual(rows, [{ gid: 'half' }]);
  await query(restored, `commit prepared 'half'`);
  const committed = await query<{ m: string }>(restored, 'select m from t where i = -1');
  assert.deepEqual(committed.rows, [{ m: 'prepared' }]);
});

test('no data checksums – the backup works; the drill says that pages are unproven', async () => {
  await using server = await startTestServer({ major: 14 });
  const manifest = await fixture.takeBackup(server, { database: 'no-checksums' });
  assert.equal(manifest.facts.checksumsVerified, false);
  const report = await fixture.drillIt(manifest);
  assert.equal(report.verdict, 'partly proven');
  assert.match(notPassed(report).join('\n'), /^page checksums unproven: .*--data-checksums[^\n]*$/);
});

test('wal_level minimal – SERVER_SETTING or the like, with what to do', async () => {
  await using server = await startTestServer({
    major: 17,
    config: { wal_level: 'minimal', max_wal_senders: 0 },
  });
  await assert.rejects(
    fixture.takeBackup(server, { database: 'minimal' }),
    (error: Error & { code: string; hint?: string }) => {
      assert.equal(error.code, 'SERVER_SETTING', error.message);
      assert.match(`${error.message} ${error.hint}`, /wal_level|max_wal_senders/);
      return true;
    },
  );
  assert.deepEqual(await fixture.repository.backups('minimal'), []);
});
