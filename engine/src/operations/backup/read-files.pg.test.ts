/** Backups that are read from the server's files: what the server itself would send, under load, and what goes wrong. */
import assert from 'node:assert/strict';
import { chown, mkdir, open, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bigTable, fails, onceRead, tableChanges } from '../../../test/backup-faults.ts';
import {
  type Fixture,
  makeFixture,
  notPassed,
  query,
  serverContents,
  withClient,
} from '../../../test/backup-fixture.ts';
import { standbySettings, startStandby, untilSo } from '../../../test/failover.ts';
import {
  matrixMajors,
  serverFolder,
  startTestServer,
  type TestServer,
  testMajors,
} from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Manifest } from '../../repository/index.ts';

async function filesOf(fixture: Fixture, manifest: Manifest): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const { path, type, mode, uid, gid, size, target } of fixture.repository.files(manifest)) {
    // Both hold what belongs to this backup alone.
    if (path.startsWith('pg_wal/0') || path.startsWith('pg_wal/archive_status/0')) continue;
    files[path] = [type, mode.toString(8), uid, gid, path === 'backup_label' ? '' : size, target].join(' ');
  }
  return files;
}

async function untilThere(server: TestServer): Promise<void> {
  await query(server, 'checkpoint');
  // The statistics of a server are written when it stops; a server that just began may still be at it.
  await sleep(200);
}

for (const major of matrixMajors) {
  test(`PostgreSQL ${major} – has the files that the server sends, and is proven; the next one stores what changed`, async () => {
    const space = await serverFolder('hv-space-');
    await using server = await startTestServer({ templates: true, major, initdbArgs: ['-k'] });
    await using fixture = await makeFixture();
    await query(
      server,
      `create tablespace side location '${space}'`,
      bigTable('big'),
      'create table there (i int) tablespace side',
      'insert into there select generate_series(1, 5000)',
      'create unlogged table fleeting as select generate_series(1, 5000) i',
      'create index on fleeting (i)',
      'create database second',
    );
    // What a server leaves behind, and what it has besides.
    await mkdir(join(server.dataDir, 'base/pgsql_tmp'), { recursive: true });
    await writeFile(join(server.dataDir, 'base/pgsql_tmp/pgsql_tmp1.0'), 'x');
    await writeFile(join(server.dataDir, 'base/1/t3_99999'), 'x');
    await writeFile(join(server.dataDir, 'postgresql.auto.conf.tmp'), 'x');
    await writeFile(join(server.dataDir, 'notes.txt'), 'kept');
    await mkdir(join(server.dataDir, 'empty'));
    const { uid, gid } = await stat(server.dataDir);
    for (const name of ['notes.txt', 'empty', 'base/pgsql_tmp'])
      await chown(join(server.dataDir, name), uid, gid);
    await symlink('/etc', join(server.dataDir, 'elsewhere'));
    await untilThere(server);
    const sent = await fixture.takeBackup(server, { database: 'sent', kind: 'full' });
    const read = await fixture.takeBackup(server, { kind: 'full', read: 'files' });
    assert.equal(read.facts.read, 'files');
    assert.deepEqual(await filesOf(fixture, read), await filesOf(fixture, sent));
    assert.deepEqual(read.facts.tablespaces, sent.facts.tablespaces);
    assert.ok((read.facts.warnings as string[]).some((line) => line.startsWith('elsewhere ')));
    assert.deepEqual(await fixture.recorded(read), await serverContents(server));
    assert.deepEqual(notPassed(await fixture.drillIt(read)), []);

    await query(server, 'update big set t = t where i between 100 and 120', 'drop table there');
    const next = await fixture.takeBackup(server, { read: 'files' });
    assert.deepEqual([next.parent, next.facts.transfer], [read.id, 'changed-chunks']);
    assert.ok(next.totals.fresh < read.totals.fresh / 4, `${next.totals.fresh} of ${read.totals.fresh}`);
    assert.deepEqual(notPassed(await fixture.drillIt(next)), []);
    await rm(space, { recursive: true });
  });
}

test('with WAL summaries – an incremental backup still asks the server for changed pages', async () => {
  await using server = await startTestServer({
    major: 17,
    initdbArgs: ['-k'],
    config: { summarize_wal: 'on' },
  });
  await using fixture = await makeFixture();
  await query(server, bigTable('big'));
  const full = await fixture.takeBackup(server, { read: 'files' });
  await query(server, 'update big set t = t where i between 100 and 120');
  const next = await fixture.takeBackup(server, { read: 'files' });
  assert.deepEqual(
    [next.parent, next.facts.transfer, next.facts.read],
    [full.id, 'changed-pages', 'replication'],
  );
  assert.deepEqual(notPassed(await fixture.drillIt(next)), []);
});

test('tables dropped, truncated, shrunk and grown while they are read – it succeeds and is proven', async () => {
  await using server = await startTestServer({ major: 16, initdbArgs: ['-k'] });
  await using fixture = await makeFixture();
  await query(server, ...['big', 'dropped', 'truncated', 'shrunk', 'grown'].map(bigTable));
  const changes = onceRead(2e6, () => query(server, ...tableChanges));
  const manifest = await fixture.takeBackup(server, {
    read: 'files',
    maxRateKiB: 24576,
    progress: changes.progress,
  });
  await changes.done();
  assert.deepEqual(await fixture.recorded(manifest), await serverContents(server));
  assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);
});

const busyMajors = matrixMajors === testMajors ? testMajors : ([18] as const);
for (const major of busyMajors) {
  test(`PostgreSQL ${major}, busy – pages that are written while they are read are no damage; it is proven`, async () => {
    const config = { shared_buffers: '1MB', bgwriter_delay: '10ms', checkpoint_flush_after: 0 };
    await using server = await startTestServer({ major, initdbArgs: ['-k'], config });
    await using fixture = await makeFixture();
    await query(server, bigTable('busy'), 'create index on busy (t)');
    let running = true;
    const load = withClient(server, async (client) => {
      for (let i = 0; running; i++)
        await client.query(`update busy set t = md5(t) where i % 50 = $1`, [i % 50]);
    });
    try {
      for (let i = 0; i < 2; i++) {
        const manifest = await fixture.takeBackup(server, {
          kind: 'full',
          read: 'files',
          maxRateKiB: 24576,
          fingerprint: 'off',
        });
        const report = await fixture.drillIt(manifest);
        assert.ok(!report.checks.some((check) => check.state === 'failed'), JSON.stringify(report.checks));
      }
    } finally {
      running = false;
      await load;
    }
  });
}

test('a page is corrupt, of a large table or a small one – SERVER_CORRUPT names file and block; nothing is kept', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: ['-k'] });
  await using fixture = await makeFixture();
  await query(
    server,
    bigTable('large'),
    'create table small as select generate_series(1, 1000) i',
    // So that the server has no page to write that it would write over ours.
    'vacuum (freeze) large, small',
    'checkpoint',
  );
  const earlier = await fixture.takeBackup(server, { read: 'files' });
  for (const [name, block] of [
    ['large', 600],
    ['small', 2],
  ] as const) {
    const { rows } = await query<{ path: string }>(server, `select pg_relation_filepath('${name}') as path`);
    const path = join(server.dataDir, rows[0]!.path);
    const file = await open(path, 'r+');
    const page = Buffer.alloc(8192);
    await file.read(page, 0, 8192, block * 8192);
    await file.write(Buffer.alloc(64, 0xff), 0, 64, block * 8192 + 5000);
    for (const kind of ['full', 'incremental'] as const) {
      const error = await fails(fixture.takeBackup(server, { kind, read: 'files' }), 'SERVER_CORRUPT');
      assert.ok(error.message.includes(`${path} block ${block} (its checksum is `), error.message);
    }
    const careless = { kind: 'full', read: 'files', verifyChecksums: false, database: name } as const;
    assert.equal((await fixture.takeBackup(server, careless)).facts.checksumsVerified, false);
    await file.write(page, 0, 8192, block * 8192);
    await file.close();
  }
  assert.deepEqual(
    (await fixture.repository.backups('main')).map((b) => b.id),
    [earlier.id],
  );
  assert.deepEqual(notPassed(await fixture.drillIt(await fixture.takeBackup(server, { read: 'files' }))), []);
});

test('the server stops while its files are read, or the run is interrupted – nothing is kept; the next one works', async () => {
  await using server = await startTestServer({ major: 15, initdbArgs: ['-k'] });
  await using fixture = await makeFixture();
  await query(server, bigTable('big'), bigTable('more'));
  const crash = onceRead(5e6, () => server.stop('immediate'));
  const slow = { read: 'files', kind: 'full', maxRateKiB: 8192 } as const;
  await fails(fixture.takeBackup(server, { ...slow, progress: crash.progress }), 'SERVER_GONE');
  await crash.done();
  await server.start();
  const controller = new AbortController();
  const stop = onceRead(3e6, async () => controller.abort(new HelvinoError('INTERRUPTED', 'stopped')));
  const { signal } = controller;
  await fails(fixture.takeBackup(server, { ...slow, progress: stop.progress, signal }), 'INTERRUPTED');
  assert.deepEqual(await fixture.repository.backups('main'), []);
  assert.deepEqual(notPassed(await fixture.drillIt(await fixture.takeBackup(server, { read: 'files' }))), []);
});

test('a standby is promoted while its files are read – nothing is kept, and the server says why', async () => {
  await using server = await startTestServer({ major: 16, initdbArgs: ['-k'], config: standbySettings });
  await using fixture = await makeFixture();
  await query(server, bigTable('big'));
  const first = await fixture.takeBackup(server);
  await using standby = await startStandby(fixture, server, first);
  const promotion = onceRead(3e6, () => query(standby, 'select pg_promote()'));
  const { progress } = promotion;
  const slow = { read: 'files', kind: 'full', maxRateKiB: 8192, fingerprint: 'off', progress } as const;
  const error = await fails(fixture.takeBackup(standby, slow), 'SERVER_ERROR');
  await promotion.done();
  assert.match(error.message, /promoted during online backup/);
  assert.deepEqual(
    (await fixture.repository.backups('main')).map((b) => b.id),
    [first.id],
  );
});

test('a standby follows a promotion while its files are read – nothing is kept', async () => {
  await using server = await startTestServer({ major: 16, initdbArgs: ['-k'], config: standbySettings });
  await using fixture = await makeFixture();
  await query(server, bigTable('big'));
  const first = await fixture.takeBackup(server);
  await using middle = await startStandby(fixture, server, first);
  await using last = await startStandby(fixture, middle, first);
  const promotion = onceRead(3e6, async () => {
    await query(middle, 'select pg_promote()', 'create table promoted as select 1 as i', 'checkpoint');
    await untilSo(last, `select received_tli = 2 as so from pg_stat_wal_receiver`);
    await untilSo(last, `select to_regclass('promoted') is not null as so`);
    await query(last, 'checkpoint');
  });
  const { progress } = promotion;
  const slow = { read: 'files', kind: 'full', maxRateKiB: 4096, fingerprint: 'off', progress } as const;
  const error = await fails(fixture.takeBackup(last, slow), 'SERVER_ERROR');
  await promotion.done();
  assert.match(error.message, /timeline/);
  assert.deepEqual(
    (await fixture.repository.backups('main')).map((b) => b.id),
    [first.id],
  );
});

test('the server ends idle sessions – the slot outlives a long reading', async () => {
  await using server = await startTestServer({
    major: 15,
    initdbArgs: ['-k'],
    config: { idle_session_timeout: '500ms' },
  });
  await using fixture = await makeFixture();
  await query(server, bigTable('big'));
  const slow = { read: 'files', kind: 'full', maxRateKiB: 8192 } as const;
  const backup = await fixture.takeBackup(server, slow);
  assert.deepEqual(notPassed(await fixture.drillIt(backup)), []);
});

test('long reading – both connections say something after a minute', async () => {
  const config = { log_statement: 'all', log_replication_commands: 'on' };
  await using server = await startTestServer({ major: 17, config });
  await using fixture = await makeFixture();
  await query(server, bigTable('big'));
  const spoken = async (minutes: number) => {
    let passed = 0;
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + passed * 60_000 };
    const { progress, done } = onceRead(2e6, async () => {
      passed = minutes;
    });
    const before = server.log().length;
    await fixture.takeBackup(server, { kind: 'full', read: 'files', fingerprint: 'off', clock, progress });
    await done();
    const log = server.log().slice(before);
    return [
      log.split('select pg_backend_pid()').length,
      log.split('replication command: IDENTIFY_SYSTEM').length,
    ];
  };
  const [sql, replication] = await spoken(0);
  assert.deepEqual(await spoken(1.1), [sql! + 1, replication! + 1]);
});
