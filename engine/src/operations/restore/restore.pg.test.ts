/** What a restored directory is like, what is refused, and restoring over what is there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { chown, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fails } from '../../../test/backup-faults.ts';
import {
  differences,
  type Fixture,
  makeFixture,
  query,
  serverContents,
  smallDisk,
  startRestored,
  treeOf,
} from '../../../test/backup-fixture.ts';
import { notedProgress } from '../../../test/noted-progress.ts';
import { serverFolder, startTestServer, type TestServer, testServerUser } from '../../../test/pg-server.ts';
import { silentProgress } from '../../base/progress.ts';
import { createIdentity, type Manifest, openIdentities, openRepository } from '../../repository/index.ts';
import { openFsDriver } from '../../storage/index.ts';

let server: TestServer;
let fixture: Fixture;
let manifest: Manifest;

before(async () => {
  fixture = await makeFixture();
  server = await startTestServer({
    templates: true,
    major: 17,
    initdbArgs: ['-k', '-g'],
    config: { summarize_wal: 'on' },
  });
  await query(
    server,
    'create table t as select i, md5(i::text) as m from generate_series(1, 50000) i',
    'create index on t (m)',
    `create table big as select i, repeat(md5(i::text), 30) as m from generate_series(1, 10000) i`,
  );
  manifest = await fixture.takeBackup(server);
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await fixture?.[Symbol.asyncDispose]();
});

test('a restored directory – has every file with size, mode and owner; label and empty folders; no leftovers', async () => {
  const { directory, files, bytes } = await fixture.restoreTo(manifest);
  const user = (await testServerUser()) ?? { uid: process.getuid!(), gid: process.getgid!() };
  let count = 0;
  for await (const file of fixture.repository.files(manifest)) {
    const facts = await stat(join(directory, file.path));
    assert.equal(facts.mode & 0o7777, file.mode, file.path);
    assert.deepEqual([facts.uid, facts.gid], [user.uid, user.gid], file.path);
    if (file.type === 'file' && file.path !== 'postgresql.auto.conf')
      assert.equal(facts.size, file.size, file.path);
    count++;
  }
  const tree = await treeOf(directory);
  assert.deepEqual(
    Object.keys(tree).filter((path) => /helvino|postmaster\.pid|^backup_manifest$/.test(path)),
    [],
  );
  assert.match(await readFile(join(directory, 'backup_label'), 'latin1'), /^START WAL LOCATION: /);
  assert.equal(await readFile(join(directory, 'recovery.signal'), 'latin1'), '');
  assert.equal(Object.keys(tree).length, count + 1, 'recovery.signal is the only addition');
  for (const folder of ['pg_notify', 'pg_replslot', 'pg_stat_tmp', 'pg_tblspc', 'pg_twophase'])
    assert.deepEqual(await readdir(join(directory, folder)), [], folder);
  assert.equal(files, count);
  assert.equal(bytes, manifest.totals.bytes);
  // What the server never changes while it runs is as on the source (initdb -g: mode 0750).
  for (const path of ['PG_VERSION', 'pg_hba.conf', 'base/1/PG_VERSION', 'base', 'global/pg_control'])
    assert.equal(
      (await stat(join(directory, path))).mode,
      (await stat(join(server.dataDir, path))).mode,
      path,
    );

  // The WAL of the server that was restored is of its own timeline.
  await using restored = await startRestored(directory, 17);
  const { rows } = await query<{ timeline: number }>(
    restored,
    'select timeline_id as timeline from pg_control_checkpoint()',
  );
  assert.equal(rows[0]!.timeline, 2);
});

test('another owner – only root, who gives everything away', async (t) => {
  if (process.getuid?.() !== 0) {
    await fails(fixture.restoreTo(manifest, { owner: '12345' }), 'TARGET_DENIED', 77);
    return t.diagnostic('not root: only the refusal was looked at');
  }
  const nowhere = join(fixture.home, 'nowhere');
  for (const owner of ['4294967295', '99999999999999', '12345:4294967295', '12345:54321:1', 'nobody-here'])
    await fails(fixture.restoreTo(manifest, { owner, directory: nowhere }), 'USAGE', 64);
  await assert.rejects(stat(nowhere), { code: 'ENOENT' });
  const { directory } = await fixture.restoreTo(manifest, { owner: '12345:54321' });
  const wrong = Object.entries(await treeOf(directory)).filter(
    ([, facts]) => !facts.includes(' 12345:54321 '),
  );
  assert.deepEqual(wrong, []);
  const { uid, gid } = await stat(directory);
  assert.deepEqual([uid, gid], [12345, 54321]);
  await rm(directory, { recursive: true });
});

test('a directory in folders that are not there – they are made such that the account of the server gets through', async () => {
  const directory = join(await serverFolder('hv-deep-'), 'new/deep/data');
  await fixture.restoreTo(manifest, { directory });
  assert.equal((await stat(directory)).mode & 0o777, 0o700);
  for (const above of ['..', '../..']) assert.equal((await stat(join(directory, above))).mode & 0o055, 0o055);
  await using restored = await startRestored(directory, 17);
  assert.equal((await query(restored, 'select 1')).rows.length, 1);
  await restored.stop();
  await rm(join(directory, '../../..'), { recursive: true });
});

test('a directory that is not empty, or in use – is refused and not touched', async () => {
  const directory = join(fixture.home, 'not empty');
  await mkdir(directory);
  await writeFile(join(directory, 'mine.txt'), 'mine');
  const before = await treeOf(fixture.home);
  await fails(fixture.restoreTo(manifest, { directory }), 'TARGET_NOT_EMPTY', 73);
  await fails(fixture.restoreTo(manifest, { directory, delta: true }), 'TARGET_NOT_EMPTY', 73);
  await fails(fixture.restoreTo(manifest, { directory: join(directory, 'mine.txt') }), 'TARGET_IO', 74);
  assert.deepEqual(differences(await treeOf(fixture.home), before), []);
  // What looks like the marker of a restore that was killed, and is none.
  const marker = join(directory, 'helvino-restore.json');
  const foreign = join(fixture.home, 'foreign.txt');
  await writeFile(foreign, 'theirs\n');
  for (const make of [
    () => writeFile(marker, ''),
    () => writeFile(marker, '{"ok":true}\n'),
    () => symlink(foreign, marker),
  ]) {
    await make();
    for (const delta of [false, true])
      await fails(fixture.restoreTo(manifest, { directory, delta }), 'TARGET_NOT_EMPTY', 73);
    assert.deepEqual((await readdir(directory)).sort(), ['helvino-restore.json', 'mine.txt']);
    await rm(marker);
  }
  await rm(join(directory, 'mine.txt'));
  await symlink(foreign, marker);
  await fails(fixture.restoreTo(manifest, { directory }), 'TARGET_NOT_EMPTY', 73);
  assert.equal(await readFile(foreign, 'utf8'), 'theirs\n');
  await rm(marker);
  // Nothing but the begin of one: it was killed there.
  await writeFile(marker, '{"backup":"2026');
  await fixture.restoreTo(manifest, { directory });
  assert.equal((await readdir(directory)).includes('helvino-restore.json'), false);
  for (const delta of [false, true])
    await fails(fixture.restoreTo(manifest, { directory: server.dataDir, delta }), 'TARGET_IN_USE', 73);
  // What the lock file says of a server in a container: a number that is another process's here, or nobody's.
  const lockFile = join(server.dataDir, 'postmaster.pid');
  const lock = await readFile(lockFile, 'utf8');
  for (const pid of [process.pid, 2 ** 22 + 1]) {
    await writeFile(lockFile, lock.replace(/^\d+/, String(pid)));
    const directory = server.dataDir;
    await fails(fixture.restoreTo(manifest, { directory, delta: true }), 'TARGET_IN_USE', 73);
  }
  await writeFile(lockFile, lock);
  await query(server, 'select count(*) from t', 'checkpoint');
});

test('a wrong or missing identity, a newer format – refused before anything is written', async () => {
  const directory = join(fixture.home, 'never');
  const identities = await openIdentities(await createIdentity(), 'a wrong file');
  await fails(fixture.restoreTo(manifest, { directory, identities }), 'KEY_WRONG', 77);
  await assert.rejects(stat(directory), { code: 'ENOENT' });
  const driver = await openFsDriver({ root: fixture.root });
  await fails(openRepository(driver, { identities }), 'KEY_WRONG', 77);
  await fails(openRepository(driver, {}), 'KEY_MISSING', 77);
  await fails(openIdentities('# nothing\n', 'an empty file'), 'KEY_MISSING', 77);

  await using other = await makeFixture();
  const descriptor = (await readdir(other.root)).find((name) => /json|helvino|repo/.test(name))!;
  const path = join(other.root, descriptor);
  const json = JSON.parse(await readFile(path, 'utf8')) as { format: number };
  await writeFile(path, JSON.stringify({ ...json, format: json.format + 1 }));
  const newer = await openFsDriver({ root: other.root });
  await fails(openRepository(newer, { identities: other.identities }), 'REPOSITORY_TOO_NEW', 78);
});

test('a disk that is too small – refused before anything is written', async (t) => {
  await using disk = await smallDisk(16 << 20);
  if (!disk) return t.skip('needs root and the right to mount a tmpfs');
  const error = await fails(
    fixture.restoreTo(manifest, { directory: join(disk.path, 'data') }),
    'TARGET_TOO_SMALL',
    74,
  );
  assert.equal(error.context.needed, manifest.totals.bytes);
  assert.deepEqual(await readdir(disk.path), []);
});

test('a disk that gets full half-way – TARGET_TOO_SMALL; with room the same restore goes on', async (t) => {
  await using disk = await smallDisk(manifest.totals.bytes + (8 << 20));
  if (!disk) return t.skip('needs root and the right to mount a tmpfs');
  const directory = join(disk.path, 'data');
  const filler = join(disk.path, 'filler');
  const phase = (name: string) => name === 'restoring' && fillUp(filler);
  const progress = { ...silentProgress, phase };
  await fails(fixture.restoreTo(manifest, { directory, progress }), 'TARGET_TOO_SMALL', 74);
  await assert.rejects(stat(join(directory, 'global/pg_control')), { code: 'ENOENT' });
  rmSync(filler);
  await fixture.restoreTo(manifest, { directory });
  const fresh = await fixture.restoreTo(manifest);
  assert.deepEqual(differences(await treeOf(directory), await treeOf(fresh.directory)), []);
});

test('a place that cannot be written, from the begin or from half-way on – TARGET_DENIED; nothing to start; the same restore goes on', async (t) => {
  await using disk = await smallDisk(manifest.totals.bytes + (64 << 20));
  if (!disk) return t.skip('needs root and the right to mount a tmpfs');
  const directory = join(disk.path, 'data');
  const allow = (how: 'ro' | 'rw') => spawnSync('mount', ['-o', `remount,${how}`, disk.path]);
  assert.equal(allow('ro').status, 0);
  await fails(fixture.restoreTo(manifest, { directory }), 'TARGET_DENIED', 77);
  assert.deepEqual(await readdir(disk.path), []);
  allow('rw');
  const phase = (name: string) => {
    // No file is open for writing yet: a file system with one cannot become read-only.
    if (name.startsWith('laying out')) allow('ro');
  };
  await fails(
    fixture.restoreTo(manifest, { directory, progress: { ...silentProgress, phase } }),
    'TARGET_DENIED',
    77,
  );
  await assert.rejects(stat(join(directory, 'global/pg_control')), { code: 'ENOENT' });
  allow('rw');
  await fixture.restoreTo(manifest, { directory });
  const fresh = await fixture.restoreTo(manifest);
  assert.deepEqual(differences(await treeOf(directory), await treeOf(fresh.directory)), []);
});

function fillUp(path: string): void {
  const fd = openSync(path, 'w');
  try {
    for (;;) writeSync(fd, Buffer.alloc(1 << 20, 1));
  } catch {
    // full: all but the last
  } finally {
    closeSync(fd);
  }
}

test('delta into a diverged copy – becomes what a fresh restore is, and writes only what differs', async () => {
  const { directory } = await fixture.restoreTo(manifest);
  {
    await using copy = await startRestored(directory, 17);
    await query(
      copy,
      'create database of_the_copy',
      'update t set m = upper(m) where i % 100 = 0',
      'create table only_here as select i from generate_series(1, 10000) i',
      'vacuum full big',
    );
    await copy.stop('fast');
  }
  await query(
    server,
    'delete from t where i < 500',
    'create table only_there as select 1 as i',
    'checkpoint',
  );
  const later = await fixture.takeBackup(server);
  await writeFile(join(directory, 'stray file'), 'x');
  await mkdir(join(directory, 'base/stray/folder'), { recursive: true });
  await rm(join(directory, 'pg_notify'), { recursive: true, force: true });
  await rm(join(directory, 'PG_VERSION'));
  await mkdir(join(directory, 'PG_VERSION'));
  await writeFile(join(directory, 'pg_notify'), 'a file where a folder belongs');
  const user = await testServerUser();
  if (user) await chown(join(directory, 'global'), 0, 0);

  await fails(fixture.restoreTo(later, { directory }), 'TARGET_NOT_EMPTY', 73);
  const wal = join(fixture.home, 'wal of its own');
  await rename(join(directory, 'pg_wal'), wal);
  await symlink(wal, join(directory, 'pg_wal'));
  const kept = (await readdir(wal)).length;
  const { progress, notes } = notedProgress();
  const delta = await fixture.restoreTo(later, { directory, delta: true, progress });
  assert.match(notes.join('\n'), /pg_wal was a link to .*wal of its own; it is a folder now/);
  assert.equal((await readdir(wal)).length, kept);
  const fresh = await fixture.restoreTo(later);
  assert.deepEqual(differences(await treeOf(directory), await treeOf(fresh.directory)), []);
  assert.ok(delta.removed > 10, `removed ${delta.removed}`);
  assert.ok(
    delta.written > 0 && delta.written < delta.bytes * 0.7,
    `wrote ${delta.written} of ${delta.bytes}`,
  );
  const again = await fixture.restoreTo(later, { directory, delta: true });
  // Again: the configuration that the restore appended to, the control file, and nothing else.
  assert.ok(again.written < 100_000, `wrote ${again.written}`);
  assert.deepEqual(differences(await treeOf(directory), await treeOf(fresh.directory)), []);
  await using restored = await startRestored(directory, 17);
  assert.deepEqual(await serverContents(restored), await fixture.recorded(later));
});
