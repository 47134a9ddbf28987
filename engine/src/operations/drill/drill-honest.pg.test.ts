/** A drill must not call compared what nobody looked at, and a backup must not mix servers that went on from one point. */
import assert from 'node:assert/strict';
import { chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Fixture, makeFixture, query, smallDisk, startRestored } from '../../../test/backup-fixture.ts';
import { notedProgress } from '../../../test/noted-progress.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import { resolveConnection } from '../../postgres/index.ts';
import { withMeter } from '../../storage/index.ts';
import { checkServer } from '../setup/check-server.ts';
import type { Exercise } from './exercise.ts';

let server: TestServer;
let fixture: Fixture;

before(async () => {
  fixture = await makeFixture();
  server = await startTestServer({
    templates: true,
    major: 17,
    initdbArgs: ['-k'],
    config: { summarize_wal: 'on', autovacuum: 'off' },
  });
  await query(
    server,
    `create table t as select i, repeat(md5(i::text), 20) as m from generate_series(1, 20000) i`,
  );
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await fixture?.[Symbol.asyncDispose]();
});

test('a database that the role may not connect to – its content is unproven, the rest is still compared', async () => {
  await query(
    server,
    'create role watcher login replication',
    'grant pg_read_all_data to watcher',
    'create database secret',
    'revoke connect on database secret from public',
  );
  const url = server.url.replace('postgres@', 'watcher@');
  const { findings } = await checkServer(await resolveConnection({ url }, {}));
  assert.match(findings.find((one) => one.name === 'databases')!.detail, /cannot connect to secret/);
  const manifest = await fixture.takeBackup({ url }, { fingerprint: 'auto' });
  const report = await fixture.drillIt(manifest);
  assert.equal(report.verdict, 'partly proven');
  for (const name of ['row counts', 'content']) {
    const check = report.checks.find((one) => one.name === name)!;
    assert.equal(check.state, 'unproven', name);
    assert.match(check.findings!.join(), /secret/);
  }
  assert.match(report.checks.find((one) => one.name === 'content')!.detail, /content hash of 1 table/);
  await query(server, 'drop database secret');
});

test('two restores of one backup, each backed up – pages of the one are never taken for those of the other', async () => {
  const origin = await fixture.takeBackup(server);
  const first = await fixture.restoreTo(origin);
  const second = await fixture.restoreTo(origin);
  {
    await using one = await startRestored(first.directory, 17, { summarize_wal: 'on' });
    await query(one, `update t set m = 'one' where i < 10000`, 'checkpoint', 'select pg_switch_wal()');
    await fixture.takeBackup(one);
    await one.stop('fast');
  }
  await using two = await startRestored(second.directory, 17, { summarize_wal: 'on' });
  // Same cluster, same timeline, and further on than the parent.
  for (let i = 0; i < 4; i++)
    await query(
      two,
      `insert into t select 0, 'two' from generate_series(1, 20000)`,
      'select pg_switch_wal()',
    );
  await query(two, 'checkpoint');
  const manifest = await fixture.takeBackup(two);
  assert.equal(manifest.facts.timeline, 2);
  assert.deepEqual(await fixture.contentsOf(manifest), await fixture.recorded(manifest));
});

test('a drill that is stopped while a query of it runs – ends at once, and leaves nothing', async () => {
  const manifest = await fixture.takeBackup(server);
  const parent = join(fixture.home, 'stopped');
  const stop = new AbortController();
  const progress = {
    ...silentProgress,
    phase: (name: string) => void (/slow/.test(name) && setTimeout(() => stop.abort(), 500)),
  };
  const exercise: Exercise = {
    plan: 'p',
    skip: ['row counts', 'content', 'schema', 'extensions', 'amcheck'],
    objectives: {},
    assertions: [{ name: 'slow', database: 'postgres', sql: 'select pg_sleep(300)', expect: true }],
    heartbeat: undefined,
    migrations: undefined,
    application: undefined,
  };
  const begun = performance.now();
  const { signal } = stop;
  await assert.rejects(fixture.drillIt(manifest, { parent, exercise, progress, signal }), {
    code: 'INTERRUPTED',
  });
  assert.ok(performance.now() - begun < 60_000);
  assert.deepEqual(await readdir(parent), []);
});

test('a disk with room for the restore and not for its server – the drill ends with that, and the backup is not called bad', async (t) => {
  await using small = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  const manifest = await fixture.takeBackup(small, { database: 'small' });
  await using disk = await smallDisk(manifest.totals.bytes + (64 << 10));
  if (!disk) return t.skip('no file system can be mounted');
  await chmod(disk.path, 0o755);
  await assert.rejects(fixture.drillIt(manifest, { parent: disk.path }), {
    code: 'TARGET_TOO_SMALL',
    message: /^the disk of the drill is full: .*No space left on device/,
  });
  assert.deepEqual(await readdir(disk.path), []);
  assert.deepEqual(await fixture.repository.proofs(manifest.id), []);
});

test('a host whose clock is a year ahead – its report is no proof, and says why', async () => {
  const manifest = await fixture.takeBackup(server);
  const clock = { ...systemClock, now: () => new Date(Date.now() + 365 * 86_400_000) };
  const report = await fixture.drillIt(manifest, { clock });
  assert.equal(report.verdict, 'partly proven');
  assert.deepEqual(
    report.checks.filter(({ state }) => state !== 'passed').map(({ name, detail }) => `${name}: ${detail}`),
    ["clock: the clock of this host is 365 d ahead of the store's: the times in this report are wrong"],
  );
});

test('a repository that cannot be written – is proven all the same; the report is only shown', async () => {
  const manifest = await fixture.takeBackup(server);
  const { progress, notes } = notedProgress();
  const repository = fixture.repository.on({
    ...withMeter(fixture.repository.driver, { bytes: 0, requests: 0 }),
    put: () => Promise.reject(new HelvinoError('STORAGE_DENIED', 'read-only')),
  });
  const report = await fixture.drillIt(manifest, { repository, progress });
  assert.equal(report.verdict, 'proven');
  assert.match(notes.join(), /not kept in the repository: read-only/);
  assert.deepEqual(await fixture.repository.proofs(manifest.id), []);
});
