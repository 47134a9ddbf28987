import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { edgeMajors } from '../../test/pg-server.ts';
import { findBinaries, type ServerBinaries } from './binaries.ts';
import { connectSql } from './connect.ts';
import { initCluster, type LocalServer, startLocalServer } from './local-server.ts';
import { createScratch, type Scratch, sweepScratch } from './scratch.ts';

const binariesOf = (major: number) => findBinaries(major, { env: process.env, extraDirs: [], fetch: false });

async function ask(
  server: LocalServer,
  sql: string,
  database = 'postgres',
): Promise<Record<string, unknown>[]> {
  const client = await connectSql(server.connection, { database });
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

for (const major of edgeMajors) {
  suite(`local server of PostgreSQL ${major}`, () => {
    let binaries: ServerBinaries;
    let scratch: Scratch;
    let dataDir: string;
    before(async () => {
      binaries = await binariesOf(major);
      scratch = await createScratch({ purpose: 'test' });
      dataDir = join(scratch.directory, 'data');
      await initCluster({ binaries, dataDir, checksums: true });
    });
    after(() => scratch.remove());

    const start = (settings: Record<string, string> = {}, directory = dataDir) =>
      startLocalServer({
        binaries,
        dataDir: directory,
        runDir: scratch.directory,
        settings,
        readyTimeoutMs: 60_000,
      });

    test('a new cluster – takes connections and settings, stops cleanly, comes back after a crash', async () => {
      const first = await start({ work_mem: '5MB' });
      await ask(first, 'create table t as select 1 as a');
      const facts = `select current_setting('work_mem') as mem, current_setting('data_checksums') as sums, current_setting('listen_addresses') as net`;
      assert.deepEqual(await ask(first, facts), [{ mem: '5MB', sums: 'on', net: '' }]);
      await first.stop('immediate');
      const second = await start();
      assert.deepEqual(await ask(second, 'select a from t'), [{ a: 1 }]);
      await second.stop('fast');
      await second.stop('fast');
      assert.ok(!(await readdir(dataDir)).includes('postmaster.pid'));
    });

    test('template1 takes no connections and postgres is gone – another database that is known is used', async () => {
      const directory = join(scratch.directory, 'closed');
      await initCluster({ binaries, dataDir: directory, checksums: false });
      const at = (database: string | undefined) =>
        startLocalServer({
          binaries,
          dataDir: directory,
          runDir: scratch.directory,
          database,
          readyTimeoutMs: 60_000,
        });
      const first = await at(undefined);
      assert.equal(first.connection.database, 'template1');
      await ask(first, 'create database "my shop"');
      await ask(first, 'drop database postgres', 'my shop');
      await ask(first, 'alter database template1 allow_connections false', 'my shop');
      await first.stop('fast');
      const second = await at('my shop');
      assert.equal(second.connection.database, 'my shop');
      await second.stop('fast');
      await assert.rejects(at(undefined), {
        code: 'LOCAL_SERVER',
        message: 'no database of template1, postgres takes connections',
      });
      await rm(directory, { recursive: true });
    });

    test('a role that is not there – the server starts; who connects is told', async () => {
      const server = await startLocalServer({
        binaries,
        dataDir,
        runDir: scratch.directory,
        user: 'nobody here',
        readyTimeoutMs: 60_000,
      });
      await assert.rejects(connectSql(server.connection), /role "nobody here" does not exist/);
      await server.stop('fast');
    });

    test('settings of the source that reach out or name what is not here – have no effect', async () => {
      const marks = join(scratch.directory, 'marks');
      await mkdir(marks, { mode: 0o777 });
      const touch = (name: string) => `touch ${join(marks, name)}`;
      await rm(join(dataDir, 'postgresql.conf'));
      await rm(join(dataDir, 'pg_hba.conf'));
      const hostile = {
        shared_preload_libraries: 'not_here',
        session_preload_libraries: 'not_here',
        archive_mode: 'on',
        archive_command: touch('archived'),
        archive_cleanup_command: touch('cleaned'),
        recovery_end_command: touch('ended'),
        primary_conninfo: 'host=192.0.2.1',
        listen_addresses: '*',
        ssl: 'on',
        logging_collector: 'on',
        synchronous_standby_names: 'nobody',
        max_connections: '3',
        max_logical_replication_workers: '4',
        default_transaction_read_only: 'on',
      };
      const lines = Object.entries(hostile).map(([name, value]) => `${name} = '${value}'\n`);
      await appendFile(join(dataDir, 'postgresql.auto.conf'), `${lines.join('')}restore_command = 'false'\n`);
      await writeFile(join(dataDir, 'recovery.signal'), '');
      const server = await start();
      await ask(
        server,
        `alter role postgres set session_preload_libraries = 'not_here'; alter role postgres set role = 'pg_monitor';
        alter database postgres set statement_timeout = 1; alter database postgres set default_transaction_read_only = on`,
      );
      assert.deepEqual(await ask(server, 'select current_user as who, pg_sleep(0.05)::text as slept'), [
        { who: 'postgres', slept: '' },
      ]);
      await ask(server, 'insert into t values (2); select pg_switch_wal()');
      const shown = await ask(
        server,
        `select current_setting('listen_addresses') as net, current_setting('archive_mode') as archive, current_setting('ssl') as ssl,
           current_setting('max_logical_replication_workers') as subscribers`,
      );
      assert.deepEqual(shown, [{ net: '', archive: 'off', ssl: 'off', subscribers: '0' }]);
      await server.stop('fast');
      assert.deepEqual(await readdir(marks), []);
    });

    test('prepared transactions and a standby’s demands – recovery has room for them', async () => {
      const server = await start({ max_prepared_transactions: '300', max_connections: '200' });
      await ask(server, `begin; insert into t values (3); prepare transaction 'left'`);
      await server.stop('immediate');
      const again = await start();
      assert.deepEqual(
        await ask(
          again,
          `select gid, current_setting('max_prepared_transactions') as room from pg_prepared_xacts`,
        ),
        [{ gid: 'left', room: '300' }],
      );
      await again.stop('fast');
    });

    test('a server that cannot start – LOCAL_SERVER with what it said, nothing keeps running', async () => {
      await assert.rejects(start({ work_mem: 'much' }), {
        code: 'LOCAL_SERVER',
        message: /did not start: .*work_mem/,
      });
      await assert.rejects(start({}, join(scratch.directory, 'nowhere')), {
        code: 'LOCAL_SERVER',
        message: /no whole PostgreSQL cluster/,
      });
      const other = await binariesOf(major === 14 ? 18 : 14);
      const options = { dataDir, runDir: scratch.directory, readyTimeoutMs: 60_000 };
      await assert.rejects(startLocalServer({ ...options, binaries: other }), {
        code: 'LOCAL_SERVER',
        message: /incompatible/,
      });
      const long = join(scratch.directory, 'x'.repeat(100));
      await assert.rejects(startLocalServer({ ...options, binaries, runDir: long }), {
        code: 'LOCAL_SERVER',
        message: /socket is too long/,
      });
      assert.ok(!(await readdir(dataDir)).includes('postmaster.pid'));
    });

    test('an abort while it starts – the server is stopped', async () => {
      const options = { binaries, dataDir, runDir: scratch.directory, readyTimeoutMs: 60_000 };
      await assert.rejects(
        startLocalServer({ ...options, signal: AbortSignal.abort(new Error('enough')) }),
        /enough/,
      );
      assert.ok(!(await readdir(dataDir)).includes('postmaster.pid'));
    });

    test('a directory with a tablespace that belongs to root – given to the account of the server', {
      skip: process.getuid?.() !== 0 && 'needs root',
    }, async () => {
      const space = join(scratch.directory, 'space');
      await mkdir(space);
      await symlink(space, join(dataDir, 'pg_tblspc/99999'));
      await mkdir(join(space, `PG_${major}_1`));
      await chown(dataDir, 0, 0);
      await chown(join(dataDir, 'global/pg_control'), 0, 0);
      const server = await start();
      assert.deepEqual(await ask(server, 'select 1 as one'), [{ one: 1 }]);
      await server.stop('fast');
      await rm(join(dataDir, 'pg_tblspc/99999'));
    });
  });
}

test('helvino was killed while its server ran – the next sweep stops the server and removes its folder', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'hv-sweep-'));
  await chmod(parent, 0o711);
  const at = (name: string) => JSON.stringify(fileURLToPath(new URL(name, import.meta.url)));
  const program = `
    const { findBinaries } = await import(${at('./binaries.ts')});
    const { createScratch } = await import(${at('./scratch.ts')});
    const { initCluster, startLocalServer } = await import(${at('./local-server.ts')});
    const outer = await createScratch({ parent: process.argv[1], purpose: 'demo' });
    const inner = await createScratch({ parent: outer.directory, purpose: 'drill' });
    const binaries = await findBinaries(18, { env: process.env, extraDirs: [], fetch: false });
    const dataDir = inner.directory + '/data';
    await initCluster({ binaries, dataDir, checksums: false });
    const server = await startLocalServer({ binaries, dataDir, runDir: inner.directory, readyTimeoutMs: 60000 });
    console.log(server.pid); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, parent], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await Promise.race([once(child.stdout, 'data'), once(child, 'close')])) as [Buffer];
  const pid = Number(line.toString());
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.match(await readFile(`/proc/${pid}/cmdline`, 'utf8'), /postgres/, 'the server outlives its owner');
  assert.equal((await sweepScratch({ parent })).length, 1);
  const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => 'gone');
  assert.match(state, /^gone$|\) Z /);
  assert.deepEqual(await readdir(parent), []);
  await rm(parent, { recursive: true });
});
