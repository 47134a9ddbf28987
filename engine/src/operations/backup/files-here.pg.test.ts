/** When the server's files are read, and when they are not. */
import assert from 'node:assert/strict';
import { appendFile, chmod, chown, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { bigTable, fails, loseSummaries } from '../../../test/backup-faults.ts';
import { makeFixture, notPassed, query, withClient } from '../../../test/backup-fixture.ts';
import { standbySettings, startStandby } from '../../../test/failover.ts';
import { notedProgress } from '../../../test/noted-progress.ts';
import {
  edgeMajors,
  serverFolder,
  startTestServer,
  type TestServer,
  testServerUser,
} from '../../../test/pg-server.ts';
import type { ErrorCode } from '../../base/error-codes.ts';
import { readDataPlace } from '../../postgres/index.ts';
import { assertOurs, filesAtHand, filesHere } from './files-here.ts';

test("files that are elsewhere, or another server's – SOURCE_UNREADABLE says which", async () => {
  await using server = await startTestServer({ major: 17 });
  await using other = await startTestServer({ major: 17 });
  await withClient(server, async (client) => {
    const slot = 'helvino_backup_test';
    await client.query('select pg_create_physical_replication_slot($1)', [slot]);
    const place = await readDataPlace(client);
    assert.deepEqual([place.dataDir, place.filePages], [server.dataDir, 131072]);
    await assertOurs(client, place, slot);
    const refused = (dataDir: string, name: string | undefined, code: ErrorCode) =>
      fails(assertOurs(client, { ...place, dataDir }, name), code);
    const gone = await refused('/nowhere', slot, 'SOURCE_UNREADABLE');
    assert.match(gone.message, /not to be seen here: \/nowhere: ENOENT$/);
    assert.match(gone.hint ?? '', /may read \/nowhere, .*--read replication/);
    const wrong = await refused(other.dataDir, slot, 'SOURCE_UNREADABLE');
    assert.match(wrong.message, /is another server's, although it has the same path$/);
    const apart = await refused(server.dataDir, 'helvino_backup_none', 'SOURCE_UNREADABLE');
    assert.match(apart.message, /lead to different servers$/);
    await refused(server.dataDir, undefined, 'SERVER_SETTING');
  });
});

test('a role without rights to begin a backup – SERVER_AUTH', async () => {
  await using server = await startTestServer({ major: 16 });
  await using fixture = await makeFixture();
  await query(server, 'create role weak login replication', 'grant pg_read_all_settings to weak');
  const url = server.url.replace('postgres@', 'weak@');
  await fails(fixture.takeBackup({ ...server, url } as TestServer, { read: 'files' }), 'SERVER_AUTH');
  await query(server, 'grant execute on function pg_backup_start, pg_backup_stop to weak');
  const granted = await fixture.takeBackup({ ...server, url } as TestServer, {
    read: 'files',
    fingerprint: 'off',
  });
  assert.equal(granted.facts.read, 'files');
});

/** Root reads as itself, and is taken for the server's user; then for the one that is given to what it returns. */
async function asServerUser(t: TestContext): Promise<(uid: number) => void> {
  let uid = (await testServerUser())?.uid ?? process.geteuid!();
  // Once in a test: of two, the first would stay.
  t.mock.method(process as unknown as { geteuid(): number }, 'geteuid', () => uid);
  return (other) => {
    uid = other;
  };
}

async function fromElsewhere(server: TestServer, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: server.port,
    user: 'postgres',
    database: 'postgres',
    stream: () => {
      const socket = new Socket();
      const connect = socket.connect.bind(socket);
      socket.connect = (() =>
        connect({
          host: '127.0.0.1',
          port: server.port,
          localAddress: '127.0.0.2',
        })) as typeof socket.connect;
      return socket;
    },
  });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

const automatic = { kind: 'full', read: 'auto', fingerprint: 'off' } as const;

for (const major of edgeMajors) {
  test(`PostgreSQL ${major}, read: auto – the files where nothing stands in the way, else what the server sends; it says why`, async (t) => {
    const become = await asServerUser(t);
    await using server = await startTestServer({ major });
    await using fixture = await makeFixture();
    const expect = async (why: RegExp | undefined, user = 'postgres') => {
      const url = server.url.replace('postgres@', `${user}@`);
      const { progress, notes } = notedProgress();
      const backup = await fixture.takeBackup({ ...server, url } as TestServer, { ...automatic, progress });
      assert.deepEqual(backup.facts.warnings, []);
      assert.equal(backup.facts.read, why === undefined ? 'files' : 'replication');
      const said = notes.filter((note) => note.startsWith('the files are not read here: '));
      assert.equal(said.length, why === undefined ? 0 : 1);
      if (why) assert.match(said[0]!, why);
    };
    await expect(undefined);
    await query(server, 'create role weak login replication');
    await expect(/pg_read_all_settings|permission denied/, 'weak');
    await query(server, 'grant pg_read_all_settings to weak');
    await expect(/may not call the functions/, 'weak');
    const functions =
      major === 14
        ? 'pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean)'
        : 'pg_backup_start, pg_backup_stop';
    await query(server, `grant execute on function ${functions} to weak`);
    await expect(undefined, 'weak');
    await query(server, `alter system set idle_session_timeout = '1h'`, 'select pg_reload_conf()');
    await expect(/ends idle sessions/);
    await query(server, 'alter system reset idle_session_timeout', 'select pg_reload_conf()');
    await expect(undefined);
    const space = await serverFolder('hv-space-');
    await query(server, `create tablespace side location '${space}'`);
    await expect(/there are tablespaces/);
    await query(server, 'drop tablespace side');
    await rm(space, { recursive: true });
    become(4711);
    await expect(/belongs to user \d+, and this process to another/);
  });
}

test('read: auto, and the connections lead to different servers, or through a pooler – the files are not taken for theirs', async (t) => {
  await asServerUser(t);
  await using server = await startTestServer({ major: 17 });
  await appendFile(join(server.dataDir, 'pg_hba.conf'), 'host all all 127.0.0.2/32 trust\n');
  await query(server, 'select pg_reload_conf()');
  await withClient(server, async (client) => {
    const link = { connection: { show: async () => '0' }, slot: 'helvino_backup_test' };
    const dataDirOf = async (slot: string | undefined) => {
      const here = await filesAtHand(client, 170000, { ...link, slot });
      return 'why' in here ? here.why : here.dataDir;
    };
    assert.match(await dataDirOf(link.slot), /lead to different servers/);
    await client.query('select pg_create_physical_replication_slot($1)', [link.slot]);
    assert.equal(await dataDirOf(link.slot), server.dataDir);
    assert.match(await dataDirOf(undefined), /without a replication slot/);
    // From another address, as from another machine that has the same files mounted.
    await fromElsewhere(server, async (elsewhere) => {
      const here = await filesAtHand(elsewhere, 170000, link);
      assert.deepEqual(here, { why: 'the client has another address than the server' });
    });
    // What a pooler gives as its own.
    Object.assign(client, { processID: 1 });
    assert.match(await dataDirOf(link.slot), /leads through a pooler/);
  });
});

test('read: auto on a standby, and after the server refused an incremental backup – the files; both are proven', async (t) => {
  await asServerUser(t);
  await using server = await startTestServer({
    major: 17,
    initdbArgs: ['-k'],
    config: { ...standbySettings, summarize_wal: 'on' },
  });
  await using fixture = await makeFixture();
  await query(server, bigTable('big'));
  const first = await fixture.takeBackup(server);
  await query(server, 'update big set t = t where i < 100');
  await loseSummaries(server);
  const next = await fixture.takeBackup(server, { read: 'auto' });
  assert.deepEqual(
    [next.parent, next.facts.transfer, next.facts.read],
    [first.id, 'changed-chunks', 'files'],
  );
  assert.match(String(next.facts.warnings), /cannot say which pages changed/);
  assert.deepEqual(notPassed(await fixture.drillIt(next)), []);
  await using standby = await startStandby(fixture, server, first);
  const ofStandby = await fixture.takeBackup(standby, { ...automatic, database: 'standby' });
  assert.equal(ofStandby.facts.read, 'files');
  const { checks } = await fixture.drillIt(ofStandby);
  assert.deepEqual(
    checks.filter(({ state }) => state === 'failed'),
    [],
  );
});

test('a folder of a database that only the server sees – SOURCE_UNREADABLE names it; one that is being dropped is waited for', async () => {
  await using server = await startTestServer({ templates: true, major: 16 });
  await query(server, 'create database second', 'checkpoint');
  const sql = `select oid::text from pg_database where datname = 'second'`;
  const { rows } = await query<{ oid: string }>(server, sql);
  const folder = join(server.dataDir, 'base', rows[0]!.oid);
  await withClient(server, async (client) => {
    const slot = 'helvino_backup_test';
    await client.query('select pg_create_physical_replication_slot($1)', [slot]);
    // As an empty folder looks over which the server's own view has a disk mounted.
    await rename(folder, `${folder}.aside`);
    await mkdir(folder);
    const error = await fails(filesHere(client, slot), 'SOURCE_UNREADABLE');
    assert.ok(error.message.startsWith(`${folder} cannot be read: the server has it`), error.message);
    assert.match(error.hint ?? '', /where the same disks are mounted/);
    const begun = performance.now();
    const looking = filesHere(client, slot);
    await sleep(500);
    await rm(folder, { recursive: true });
    await rename(`${folder}.aside`, folder);
    assert.equal((await looking).dataDir, server.dataDir);
    assert.ok(performance.now() - begun > 900);
  });
});

test('as root, and a file, a folder or the data directory itself is not of the server’s user – refused', async (t) => {
  if ((await testServerUser()) === undefined) return t.skip('not root');
  await using server = await startTestServer({ major: 18 });
  await using fixture = await makeFixture();
  await query(server, 'create table t as select 1 as i');
  const refused = async (path: string) => {
    const error = await fails(fixture.takeBackup(server, { read: 'files' }), 'SOURCE_UNREADABLE');
    assert.ok(error.message.startsWith(`${path} cannot be read: it belongs to user 0, `), error.message);
    await rm(path, { recursive: true });
  };
  const path = join(server.dataDir, 'base/5/notes');
  await writeFile(path, 'of root');
  await refused(path);
  await writeFile(path, Buffer.alloc(1 << 20));
  await refused(path);
  await mkdir(path);
  await refused(path);
  // The path leads through a folder of root, as a folder that the server's user may write to leads through a link.
  await withClient(server, async (client) => {
    const slot = 'helvino_backup_test';
    await client.query('select pg_create_physical_replication_slot($1)', [slot]);
    const { uid, gid } = await stat(server.dataDir);
    await chmod(server.dataDir, 0o755);
    await chown(server.dataDir, 0, 0);
    try {
      assert.equal((await filesHere(client, slot)).owner, uid);
    } finally {
      await chown(server.dataDir, uid, gid);
    }
  });
});
