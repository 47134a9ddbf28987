/** What goes wrong during a backup: a clear error, nothing committed, earlier backups as they were. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { bigTable, fails, onceReceived, tableChanges } from '../../../test/backup-faults.ts';
import {
  type Fixture,
  makeFixture,
  notPassed,
  query,
  serverContents,
  smallDisk,
  withClient,
} from '../../../test/backup-fixture.ts';
import { flip } from '../../../test/damage-files.ts';
import { notedProgress } from '../../../test/noted-progress.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import { packName } from '../../repository/index.ts';
import { recordVerification, verify } from '../verify/index.ts';
import type { BackupOptions } from './backup.ts';

const run = promisify(execFile);
let server: TestServer;
let fixture: Fixture;

before(async () => {
  fixture = await makeFixture();
  server = await startTestServer({ major: 16, initdbArgs: ['-k'] });
  await query(server, bigTable('big'));
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await fixture?.[Symbol.asyncDispose]();
});

const idsOf = async (of: Fixture, database: string) =>
  (await of.repository.backups(database)).map((b) => b.id);

test('the server stops, or ends the connection, in the middle – SERVER_GONE; nothing is committed; the next backup works', async () => {
  const first = await fixture.takeBackup(server);
  const crash = onceReceived(5e6, () => server.stop('immediate'));
  const gone = fixture.takeBackup(server, { kind: 'full', maxRateKiB: 16384, progress: crash.progress });
  await fails(gone, 'SERVER_GONE', 75);
  await crash.done();
  assert.deepEqual(await idsOf(fixture, 'main'), [first.id]);
  await fails(fixture.takeBackup(server), 'SERVER_UNREACHABLE', 69);
  await server.start();

  const terminate = onceReceived(5e6, () =>
    query(server, `select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'`),
  );
  const ended = fixture.takeBackup(server, { kind: 'full', maxRateKiB: 16384, progress: terminate.progress });
  await fails(ended, 'SERVER_GONE', 75);
  await terminate.done();
  assert.deepEqual(await idsOf(fixture, 'main'), [first.id]);
  const { rows } = await query<{ slots: string }>(
    server,
    'select count(*)::text as slots from pg_replication_slots',
  );
  assert.equal(rows[0]!.slots, '0', 'the temporary slot is gone');

  const next = await fixture.takeBackup(server);
  assert.deepEqual([next.kind, next.parent], ['incremental', first.id]);
  assert.deepEqual(notPassed(await fixture.drillIt(next)), []);
});

test('a backup that is interrupted – stops soon, commits nothing', async () => {
  const before = await idsOf(fixture, 'main');
  const controller = new AbortController();
  const interrupt = onceReceived(3e6, async () =>
    controller.abort(new HelvinoError('INTERRUPTED', 'stopped')),
  );
  const begun = performance.now();
  const stopped = fixture.takeBackup(server, {
    kind: 'full',
    maxRateKiB: 4096,
    progress: interrupt.progress,
    signal: controller.signal,
  });
  await fails(stopped, 'INTERRUPTED', 130);
  assert.ok(performance.now() - begun < 5000);
  assert.deepEqual(await idsOf(fixture, 'main'), before);
});

test('tables dropped, truncated, shrunk and grown during the backup – it succeeds and is proven', async () => {
  await query(server, ...['dropped', 'truncated', 'shrunk', 'grown'].map(bigTable));
  await query(server, 'checkpoint');
  const changes = onceReceived(2e6, () =>
    withClient(server, async (client) => {
      for (const statement of tableChanges) {
        await client.query(statement);
        await sleep(100);
      }
    }),
  );
  const manifest = await fixture.takeBackup(server, {
    kind: 'full',
    maxRateKiB: 24576,
    progress: changes.progress,
  });
  await changes.done();
  assert.deepEqual(await fixture.recorded(manifest), await serverContents(server));
  assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);
});

test('another cluster under the same name – SERVER_WRONG_CLUSTER, unless it is said to be new', async () => {
  await using other = await startTestServer({ major: 16 });
  const before = await idsOf(fixture, 'main');
  const error = await fails(fixture.takeBackup(other), 'SERVER_WRONG_CLUSTER', 65);
  assert.match(error.hint ?? '', /--new-cluster/);
  assert.deepEqual(await idsOf(fixture, 'main'), before);
  const anew = await fixture.takeBackup(other, { newCluster: true });
  assert.equal(anew.kind, 'full');
  await fails(fixture.takeBackup(server), 'SERVER_WRONG_CLUSTER', 65);
});

test('a page of the source is corrupt – SERVER_CORRUPT names file and block; the earlier backup is as it was', async () => {
  await using source = await startTestServer({ major: 18, initdbArgs: ['-k'] });
  await query(source, 'create table precious as select i, md5(i::text) as t from generate_series(1, 5000) i');
  const earlier = await fixture.takeBackup(source, { database: 'corrupt' });
  const { rows } = await query<{ path: string }>(source, `select pg_relation_filepath('precious') as path`);
  const path = rows[0]!.path;
  await source.stop('fast');
  const file = await open(join(source.dataDir, path), 'r+');
  await file.write(Buffer.alloc(64, 0xff), 0, 64, 3 * 8192 + 5000);
  await file.close();
  await source.start();

  for (const kind of ['full', 'incremental'] as const) {
    const error = await fails(
      fixture.takeBackup(source, { database: 'corrupt', kind }),
      'SERVER_CORRUPT',
      65,
    );
    const shown = `${error.message} ${JSON.stringify(error.context)}`;
    assert.ok(shown.includes(path), shown);
    assert.match(shown, /block"?:? ?3\b/);
  }
  assert.deepEqual(await idsOf(fixture, 'corrupt'), [earlier.id]);
  assert.deepEqual(notPassed(await fixture.drillIt(earlier)), []);

  // Asked not to look, the backup is made; the drill finds it.
  const careless = await fixture.takeBackup(source, { database: 'corrupt', verifyChecksums: false });
  assert.equal(careless.facts.checksumsVerified, false);
  const report = await fixture.drillIt(careless);
  assert.equal(report.verdict, 'failed');
  const pages = report.checks.find((check) => check.name === 'page checksums');
  assert.equal(pages?.state, 'failed', JSON.stringify(report.checks));
  assert.ok(
    pages?.findings?.some((line) => line.includes(`${path}, block 3`)),
    JSON.stringify(pages),
  );
});

test('the disk of the repository gets full – STORAGE_FULL; earlier backups are fine', async (t) => {
  await using disk = await smallDisk(24 << 20);
  if (!disk) return t.skip('needs root and the right to mount a tmpfs');
  await using full = await makeFixture({ root: join(disk.path, 'repository') });
  await using source = await startTestServer({ major: 17, initdbArgs: ['-k'] });
  const earlier = await full.takeBackup(source);
  await query(
    source,
    `create table noise as select i, (select string_agg(sha512((i * 1000 + j)::text::bytea)::text, '') from generate_series(1, 8) j) as t
     from generate_series(1, 70000) i`,
  );
  await fails(full.takeBackup(source), 'STORAGE_FULL', 74);
  assert.deepEqual(await idsOf(full, 'main'), [earlier.id]);
  await fails(full.takeBackup(source, { kind: 'full' }), 'STORAGE_FULL', 74);
  // The proof of the drill needs a little room.
  await run('mount', ['-o', `remount,size=${64 << 20}`, disk.path]);
  assert.deepEqual(notPassed(await full.drillIt(earlier)), []);
  const next = await full.takeBackup(source);
  assert.equal(next.parent, earlier.id);
  assert.deepEqual(await full.recorded(next), await serverContents(source));
});

test('the repository cannot be written – STORAGE_DENIED; what is there restores', async (t) => {
  await using disk = await smallDisk(64 << 20);
  if (!disk && process.getuid?.() === 0) return t.skip('as root it needs the right to mount a tmpfs');
  await using own = await makeFixture(disk ? { root: join(disk.path, 'repository') } : {});
  const earlier = await own.takeBackup(server, { fingerprint: 'off' });
  // Root may write anything, but not on a file system that is read-only.
  if (disk) await run('mount', ['-o', 'remount,ro', disk.path]);
  else await run('chmod', ['-R', 'a-w', own.root]);
  try {
    await fails(own.takeBackup(server), 'STORAGE_DENIED', 77);
    assert.deepEqual(await own.contentsOf(earlier), await serverContents(server));
  } finally {
    if (!disk) await run('chmod', ['-R', 'u+w', own.root]);
  }
});

test('a verification, or a drill, found the newest backup damaged – the next is a full one, and good; an incremental is refused until it is mended', async () => {
  const { repository, identities } = fixture;
  const [database, how] = ['hurt', { program: 'test', clock: systemClock, signal: fixture.ended }];
  const backup = (overrides: Partial<BackupOptions> = {}) =>
    fixture.takeBackup(server, { database, fingerprint: 'off', ...overrides });
  /** As the host, which has no identity. */
  const verified = async (readData = true) => {
    const progress = silentProgress;
    const report = await verify({ ...how, repository, database, readData, progress });
    await recordVerification(repository, report, { ...how, databases: [database], progress });
    return report.verdict;
  };
  const refused = async () => {
    const { message } = await fails(backup({ kind: 'incremental' }), 'REPOSITORY_DAMAGED', 65);
    assert.ok(message.includes(newest.id), message);
  };
  const flipped = async () => {
    const [largest] = [...newest.packs].sort((a, b) => b.size - a.size);
    await flip(join(fixture.root, packName(largest!.id)), largest!.size >> 1);
  };
  let newest = await backup();

  await flipped();
  assert.deepEqual([await verified(), await verified(false)], ['failed', 'passed']);
  await refused();
  await flipped();
  await refused();
  assert.equal(await verified(), 'passed');
  const parent = newest.id;
  newest = await backup({ kind: 'incremental' });
  assert.equal(newest.parent, parent);

  await flipped();
  const drilled = await fixture.drillIt(newest);
  assert.match(drilled.checks.find(({ name }) => name === 'restore')!.damaged!, /^packs\//);
  await refused();
  const { progress, notes } = notedProgress();
  newest = await backup({ progress });
  assert.equal(newest.kind, 'full');
  assert.match(notes.join(), /a full backup is made: .*the drill of .* found backup .* damaged/);
  const again = await verify({
    ...how,
    repository,
    identities,
    backupId: newest.id,
    readData: true,
    progress,
  });
  assert.equal(again.verdict, 'passed');
  assert.equal((await backup()).parent, newest.id);
});
