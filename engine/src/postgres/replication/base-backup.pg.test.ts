import assert from 'node:assert/strict';
import { lstat, open, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { serverFolder, startTestServer, type TestServer, testMajors } from '../../../test/pg-server.ts';
import { type ReceivedBackup, receiveBackup, writeBackup } from '../../../test/receive-backup.ts';
import { HelvinoError } from '../../base/errors.ts';
import { connectSql } from '../connect.ts';
import { resolveConnection } from '../conninfo.ts';
import { openReplication, type ReplicationConnection } from './replication-connection.ts';

const connect = async (server: TestServer): Promise<ReplicationConnection> =>
  openReplication(await resolveConnection({ url: server.url }, {}));

async function execute(server: TestServer, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const client = await connectSql(await resolveConnection({ url: server.url }, {}));
  let rows: Record<string, unknown>[] = [];
  for (const statement of statements) ({ rows } = await client.query<Record<string, unknown>>(statement));
  await client.end();
  return rows;
}

/** What PostgreSQL leaves out: https://www.postgresql.org/docs/current/protocol-replication.html */
const emptied = [
  'pg_wal',
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
];
const left = new Set(['postmaster.pid', 'postmaster.opts', 'current_logfiles.tmp', 'backup_label.old']);

/** Every path that a backup must have, by path: the kind of file. */
async function dataDirectory(root: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const walk = async (folder: string) => {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (left.has(path) || entry.name.startsWith('pg_internal.init')) continue;
      if (entry.isSymbolicLink()) {
        found.set(path, `to ${await readlink(join(root, path))}`);
        await walk(path);
      } else if (entry.isDirectory()) {
        found.set(path, 'directory');
        if (!emptied.includes(path)) await walk(path);
      } else found.set(path, 'file');
    }
  };
  await walk('');
  const inWal = await readdir(join(root, 'pg_wal'), { withFileTypes: true });
  for (const entry of inWal) if (entry.isDirectory()) found.set(`pg_wal/${entry.name}`, 'directory');
  found.set('backup_label', 'file');
  return found;
}

function received(backup: ReceivedBackup): Map<string, string> {
  const kind = ({ type, linkTarget }: { type: string; linkTarget?: string }) =>
    type === 'symlink' ? `to ${linkTarget}` : type;
  return new Map([...backup.entries].map(([path, { header }]) => [path, kind(header)]));
}

const sorted = (map: Map<string, string>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

for (const major of testMajors) {
  test(`PostgreSQL ${major} – a base backup has every file of the data directory and of a tablespace, as on disk`, async () => {
    await using server = await startTestServer({ templates: true, major, config: { autovacuum: 'off' } });
    const space = await serverFolder();
    await execute(
      server,
      `create tablespace elsewhere location '${space}'`,
      'create table t tablespace elsewhere as select generate_series(1, 10000) as a',
      'checkpoint',
    );
    const [oid] = await execute(server, "select oid::text from pg_tablespace where spcname = 'elsewhere'");
    const connection = await connect(server);
    assert.equal(Math.floor(connection.serverVersion / 10_000), major);
    const before = await connection.identify();
    const backup = await receiveBackup(connection);
    // the connection is usable afterwards
    const after = await connection.identify();
    await connection.close();

    assert.deepEqual([after.systemId, before.timeline], [before.systemId, 1]);
    assert.ok(before.xlogpos <= backup.result.startLsn && backup.result.startLsn < backup.result.stopLsn);
    assert.deepEqual([backup.result.startTimeline, backup.result.stopTimeline], [1, 1]);
    assert.equal(backup.started.startLsn, backup.result.startLsn);
    const spaces = backup.started.tablespaces.map((t) => [t.oid, t.location]);
    assert.deepEqual(spaces, [
      [oid!.oid, space],
      [undefined, ''],
    ]);
    assert.ok(backup.started.tablespaces.every((t) => t.sizeKiB! > 0));

    const onDisk = await dataDirectory(server.dataDir);
    assert.deepEqual(sorted(received(backup)), sorted(onDisk));
    let compared = 0;
    for (const [path, { header, content }] of backup.entries) {
      if (header.type !== 'file' || !/^(base|pg_tblspc)\//.test(path)) continue;
      assert.ok(content.equals(await readFile(join(server.dataDir, path))), path);
      const { mode, uid, mtimeMs } = await lstat(join(server.dataDir, path));
      assert.deepEqual(
        [header.mode & 0o777, header.uid, header.mtime],
        [mode & 0o777, uid, Math.floor(mtimeMs / 1000)],
        path,
      );
      compared++;
    }
    assert.ok(compared > 800, String(compared));
    assert.match(backup.entries.get('backup_label')!.content.toString(), /LABEL: helvino's test/);
    await rm(space, { recursive: true });
  });
}

async function corrupt(server: TestServer, table: string, page: number): Promise<string> {
  const [row] = await execute(
    server,
    `select pg_relation_filepath('${table}') as path`,
    'checkpoint',
    `select pg_relation_filepath('${table}') as path`,
  );
  const path = row!.path as string;
  await server.stop();
  const file = await open(join(server.dataDir, path), 'r+');
  await file.write(Buffer.from([0xde, 0xad]), 0, 2, page * 8192 + 100);
  await file.close();
  await server.start();
  return path;
}

for (const major of [14, 18] as const) {
  test(`PostgreSQL ${major}, a page with a wrong checksum – SERVER_CORRUPT with file and block; without verification it is sent`, async () => {
    await using server = await startTestServer({ major, initdbArgs: ['-k'] });
    await execute(server, 'create table t as select generate_series(1, 10000) as a');
    const path = await corrupt(server, 't', 3);
    const connection = await connect(server);
    await assert.rejects(receiveBackup(connection), (thrown) => {
      assert.ok(thrown instanceof HelvinoError, String(thrown));
      assert.equal(thrown.code, 'SERVER_CORRUPT');
      assert.match(thrown.message, new RegExp(`${path} block 3`));
      assert.deepEqual(thrown.context.pages, [{ file: path, block: 3 }]);
      return true;
    });
    const backup = await receiveBackup(connection, { verifyChecksums: false });
    assert.equal(backup.entries.get(path)!.content.readUInt16BE(3 * 8192 + 100), 0xdead);
    await connection.close();
  });
}

test('a standby as source – its backup starts a server of its own', async () => {
  await using primary = await startTestServer({ major: 16 });
  const folder = await serverFolder();
  const first = await connect(primary);
  await writeBackup(await receiveBackup(first, { wal: true }), folder);
  await first.close();
  const asStandby = (dataDir: string) => writeFile(join(dataDir, 'standby.signal'), '');
  const config = { primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres` };
  await using standby = await startTestServer({ major: 16, dataDir: folder, config, prepare: asStandby });
  await execute(primary, 'create table t as select 42 as a', 'checkpoint');
  await standbyHas(standby, primary);

  const connection = await connect(standby);
  const backup = await receiveBackup(connection, { wal: true });
  await connection.close();
  assert.match(backup.entries.get('backup_label')!.content.toString(), /BACKUP FROM: standby/);
  const copy = await serverFolder();
  await writeBackup(backup, copy);
  await rm(join(copy, 'standby.signal'));
  await using restored = await startTestServer({ major: 16, dataDir: copy });
  assert.deepEqual(await execute(restored, 'select a from t'), [{ a: 42 }]);
  for (const path of [folder, copy]) await rm(path, { recursive: true });
});

async function standbyHas(standby: TestServer, primary: TestServer): Promise<void> {
  const [at] = await execute(primary, 'select pg_current_wal_lsn()::text as lsn');
  for (;;) {
    const [row] = await execute(
      standby,
      `select pg_last_wal_replay_lsn() >= '${String(at!.lsn)}' as caught_up`,
    );
    if (row!.caught_up === true) return;
  }
}

for (const mode of ['fast', 'immediate'] as const) {
  test(`the server is stopped (${mode}) during a backup – SERVER_GONE, and so for every later command`, async () => {
    await using server = await startTestServer({ major: 15 });
    const connection = await connect(server);
    let stopped: Promise<void> | undefined;
    const backup = receiveBackup(
      connection,
      { maxRateKiB: 2048 },
      {
        data: () => {
          stopped ??= server.stop(mode);
        },
      },
    );
    const gone = (thrown: unknown) =>
      thrown instanceof HelvinoError && thrown.code === 'SERVER_GONE' && thrown.retry;
    await assert.rejects(backup, gone);
    await assert.rejects(connection.identify(), gone);
    await connection.close();
    await stopped;
  });
}

test('the sink throws – the backup rejects with that exception, and the server ends its part', async () => {
  await using server = await startTestServer({ major: 18 });
  const mine = new Error('the disk is full');
  const count = "select count(*)::int as n from pg_stat_activity where backend_type = 'walsender'";
  for (const hooks of [
    {
      data: () => {
        throw mine;
      },
    },
    { ready: () => Promise.reject(mine) },
  ]) {
    const connection = await connect(server);
    await assert.rejects(receiveBackup(connection, { maxRateKiB: 1024 }, hooks), (thrown) => thrown === mine);
    await assert.rejects(connection.identify(), (thrown) => thrown === mine);
    await connection.close();
  }
  while ((await execute(server, count))[0]!.n !== 0);
});

test('an aborted signal – INTERRUPTED, before and during the backup', async () => {
  await using server = await startTestServer({ major: 17 });
  const stop = new AbortController();
  const connection = await connect(server);
  const interrupted = (thrown: unknown) => thrown instanceof HelvinoError && thrown.code === 'INTERRUPTED';
  const backup = receiveBackup(
    connection,
    { maxRateKiB: 1024, signal: stop.signal },
    { data: () => setImmediate(() => stop.abort()) },
  );
  await assert.rejects(backup, interrupted);
  await connection.close();
  const again = await connect(server);
  await assert.rejects(receiveBackup(again, { signal: stop.signal }), interrupted);
  assert.equal((await again.identify()).timeline, 1);
  await again.close();
});

test('a sink that is not ready – nothing is delivered meanwhile, and nothing is lost', async () => {
  await using server = await startTestServer({ major: 17, config: { autovacuum: 'off' } });
  await execute(server, 'checkpoint');
  const connection = await connect(server);
  let waiting = false;
  let waits = 0;
  const backup = await receiveBackup(
    connection,
    {},
    {
      data: () => assert.equal(waiting, false),
      ready: () => {
        if (waits++ % 10 !== 0) return undefined;
        waiting = true;
        return new Promise((resolve) =>
          setTimeout(() => {
            waiting = false;
            resolve();
          }, 5),
        );
      },
    },
  );
  await connection.close();
  assert.ok(waits > 20, String(waits));
  assert.deepEqual(sorted(received(backup)), sorted(await dataDirectory(server.dataDir)));
});

test('a command that the server refuses – SERVER_ERROR with SQLSTATE, and the connection goes on', async () => {
  await using server = await startTestServer({ major: 14 });
  const connection = await connect(server);
  const refused = (state: string) => (thrown: unknown) =>
    thrown instanceof HelvinoError && thrown.code === 'SERVER_ERROR' && thrown.context.sqlstate === state;
  await assert.rejects(connection.command('IDENTIFY_SYSTEM twice'), refused('42601'));
  await assert.rejects(receiveBackup(connection, { maxRateKiB: 1 }), refused('22003'));
  assert.equal(await connection.show('wal_segment_size'), '16MB');
  assert.deepEqual(await connection.command('SHOW port'), [{ port: String(server.port) }]);
  await connection.close();
});
