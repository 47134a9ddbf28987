import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { matrixMajors, serverFolder, startTestServer, type TestServer } from '../../test/pg-server.ts';
import { receiveBackup, writeBackup } from '../../test/receive-backup.ts';
import { compareFingerprints } from './compare-fingerprints.ts';
import { resolveConnection } from './conninfo.ts';
import { fingerprintDatabase } from './fingerprint.ts';
import { formatLsn } from './lsn.ts';
import { takeQuietPoint } from './quiet-point.ts';
import { openReplication } from './replication/replication-connection.ts';

const walSegmentSize = 16 << 20;

async function connectTo(server: TestServer, database: string): Promise<pg.Client> {
  const client = new pg.Client(server.url.replace(/\/postgres$/, `/${database}`));
  client.on('error', () => {});
  await client.connect();
  return client;
}

for (const major of matrixMajors) {
  suite(`quiet points on PostgreSQL ${major}`, () => {
    let server: TestServer;
    let admin: pg.Client;
    before(async () => {
      server = await startTestServer({
        templates: true,
        major,
        config: { max_prepared_transactions: 5, autovacuum: 'off', idle_in_transaction_session_timeout: 60 },
      });
      admin = await connectTo(server, 'postgres');
      await admin.query('set idle_in_transaction_session_timeout = 0');
      for (const name of ['one', 'two', 'bare']) await admin.query(`create database ${name}`);
      for (const name of ['one', 'two']) {
        const client = await connectTo(server, name);
        await client.query('create table t (k serial primary key, v text)');
        await client.end();
      }
    });
    after(async () => {
      await admin.end();
      await server[Symbol.asyncDispose]();
    });

    const take = (databases: string[], budgetMs?: number) =>
      takeQuietPoint((name) => connectTo(server, name), { databases, walSegmentSize, budgetMs });

    test('an idle server with idle and prepared transactions open – taken at once, for databases with tables, at one position', async () => {
      const idle = await connectTo(server, 'one');
      const prepared = await connectTo(server, 'two');
      await idle.query(
        `set idle_in_transaction_session_timeout = 0; begin; insert into t (v) values ('open')`,
      );
      await prepared.query(`begin; insert into t (v) values ('prepared'); prepare transaction 'p'`);
      await admin.query('set synchronous_commit = on; select txid_current()');
      const result = await take(['one', 'bare', 'two']);
      assert.ok(result.state === 'taken');
      assert.deepEqual([...result.point.clients.keys()], ['one', 'two']);
      const { rows } = await admin.query('select pg_current_wal_insert_lsn()::text as lsn');
      assert.equal(formatLsn(result.point.lsn), rows[0].lsn);
      await idle.query('commit');
      await prepared.query(`commit prepared 'p'`);
      // Longer than the server lets a transaction idle.
      await admin.query('select pg_sleep(0.1)');
      for (const client of result.point.clients.values()) {
        assert.equal((await fingerprintDatabase(client, { content: true }))[0]!.rows, '0');
      }
      await result.point.close();
      await idle.query('truncate t');
      await prepared.query('truncate t');
      await Promise.all([idle.end(), prepared.end()]);
    });

    test('a commit that is in the WAL, and that others do not see while a standby confirms it – no point until they do', async () => {
      const set = async (names: string) => {
        await admin.query(`alter system set synchronous_standby_names = '${names}'`);
        await admin.query('select pg_reload_conf()');
      };
      const writer = await connectTo(server, 'one');
      await set('nobody');
      // The setting comes into force a moment later: until a commit waits.
      let commits = 0;
      let commit: Promise<unknown>;
      do {
        commit = writer.query(`insert into t (v) values ('unseen')`);
        commits++;
      } while ((await Promise.race([commit, sleep(200, 'waits')])) !== 'waits');
      assert.equal((await take(['one', 'two'], 300)).state, 'busy');
      const left = `select from pg_stat_activity where datname in ('one', 'two') and pid <> ${writerPid(writer)}`;
      // A backend goes a moment after its connection.
      while ((await admin.query(left)).rows.length > 0);
      await set('');
      await commit;
      const result = await take(['one', 'two']);
      assert.ok(result.state === 'taken');
      const [table] = await fingerprintDatabase(result.point.clients.get('one')!, { content: true });
      assert.equal(table!.rows, String(commits));
      await result.point.close();
      await writer.query('truncate t');
      await writer.end();
    });

    test('a standby – taken at the replayed position, with the rows as they are there', async () => {
      await using standby = await standbyOf(server);
      const primary = await connectTo(server, 'one');
      await primary.query(`insert into t (v) values ('a'), ('b')`);
      const { rows } = await primary.query('select pg_current_wal_flush_lsn()::text as lsn');
      const there = await connectTo(standby, 'one');
      while (
        !(await there.query(`select pg_last_wal_replay_lsn() >= $1::pg_lsn as reached`, [rows[0].lsn]))
          .rows[0].reached
      );
      const result = await takeQuietPoint((name) => connectTo(standby, name), {
        databases: ['one', 'two'],
        walSegmentSize,
      });
      assert.ok(result.state === 'taken');
      const [table] = await fingerprintDatabase(result.point.clients.get('one')!, { content: true });
      assert.equal(table!.rows, '2');
      await result.point.close();
      await primary.query('truncate t');
      await Promise.all([primary.end(), there.end()]);
    });

    /** The proof: a crash copy of the cluster, recovered exactly to the point's position, must have the same content. */
    test('taken while others write in bursts – the state of the cluster recovered to that very position', async () => {
      const copy = await copyOf(server);
      const writers = await Promise.all(['one', 'two', 'one'].map((name) => connectTo(server, name)));
      let going = true;
      const writing = writers.map(async (writer, number) => {
        for (let i = 0; going; i++) {
          await writer.query(
            i % 5 === 4
              ? 'begin; update t set v = v || 1; select pg_sleep(0.004); rollback'
              : `insert into t (v) values ('${number} ${i}')`,
          );
          if (i % 3 === number) await new Promise((resolve) => setTimeout(resolve, 15));
        }
      });
      await new Promise((resolve) => setTimeout(resolve, 100));
      const result = await take(['one', 'two'], 20_000);
      await new Promise((resolve) => setTimeout(resolve, 50));
      going = false;
      await Promise.all(writing);
      assert.ok(result.state === 'taken');
      const { lsn, clients } = result.point;
      const source = new Map<string, Awaited<ReturnType<typeof fingerprintDatabase>>>();
      for (const [name, client] of clients)
        source.set(name, await fingerprintDatabase(client, { content: true }));
      await result.point.close();
      await using follower = await recovered(copy, { of: server, lsn });
      for (const [name, tables] of source) {
        const client = await connectTo(follower, name);
        for (const compared of compareFingerprints(
          tables,
          await fingerprintDatabase(client, { content: true }),
        )) {
          assert.equal(compared.state, 'equal', JSON.stringify(compared));
          assert.ok(Number(compared.source!.rows) > 0);
        }
        await client.end();
      }
      await Promise.all(writers.map((writer) => writer.end()));
    });
  });
}

function writerPid(client: pg.Client): number {
  return (client as unknown as { processID: number }).processID;
}

const copies: string[] = [];
after(async () => {
  for (const folder of copies) await rm(folder, { recursive: true, force: true });
});

/** A base backup of the server, to start others from. */
async function copyOf(server: TestServer): Promise<string> {
  const connection = await openReplication(await resolveConnection({ url: server.url }, {}));
  const folder = await serverFolder();
  copies.push(folder);
  await writeBackup(await receiveBackup(connection, { wal: true }), folder);
  await connection.close();
  return folder;
}

async function standbyOf(primary: TestServer): Promise<TestServer> {
  const config = { primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres` };
  const prepare = (dataDir: string) => writeFile(join(dataDir, 'standby.signal'), '');
  return startTestServer({ major: primary.major, dataDir: await copyOf(primary), config, prepare });
}

/** Starts a copy and recovers it, with the WAL of the server that it is of, to exactly `lsn`. */
async function recovered(copy: string, { of, lsn }: { of: TestServer; lsn: bigint }): Promise<TestServer> {
  const config = {
    restore_command: `cp ${join(of.dataDir, 'pg_wal')}/%f %p`,
    recovery_target_lsn: formatLsn(lsn),
    recovery_target_inclusive: 'off',
    recovery_target_action: 'promote',
  };
  const prepare = (dataDir: string) => writeFile(join(dataDir, 'recovery.signal'), '');
  const server = await startTestServer({ major: of.major, dataDir: copy, config, prepare });
  const client = await connectTo(server, 'postgres');
  while ((await client.query('select pg_is_in_recovery() as still')).rows[0].still);
  await client.end();
  return server;
}
