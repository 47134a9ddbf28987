import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { edgeMajors, startTestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { connectSql, resolveConnection } from '../../postgres/index.ts';
import { openServer } from './server.ts';

/** What the source lets everybody do; each was possible for a role that only reads by default. */
const generous = [
  'create table shop as select i from generate_series(1, 100) i',
  'grant all on shop to public',
  'grant all on schema public to public',
  'create sequence numbers',
  'grant all on sequence numbers to public',
  `create function add() returns void language sql security definer as 'insert into shop values (0)'`,
  'create unlogged table passing (i int)',
  // Rows that only their owners see.
  'create role tenant',
  'create table rows_of (owner text)',
  `insert into rows_of values ('tenant'), ('other')`,
  'alter table rows_of owner to tenant',
  'alter table rows_of enable row level security',
  'alter table rows_of force row level security',
  'create policy own on rows_of using (owner = current_user)',
  `select lo_from_bytea(4711, 'a large object')`,
  'create database apart',
  'revoke connect on database apart from public',
  'alter database apart connection limit 0',
];

const writes = [
  'create table t (i int)',
  'create temporary table t (i int)',
  'insert into shop values (0)',
  'select add()',
  `select nextval('numbers')`,
  `select lo_put(4711, 0, 'other')`,
  'select lo_create(0)',
  'drop table shop',
  'select * from shop for update',
  `select pg_notify('a', 'b')`,
  'alter role current_user password null',
];

/** What would make it take writes, or reach past it. */
const waysOut = [
  'select pg_promote()',
  'select pg_wal_replay_resume()',
  `alter system set hot_standby = 'off'`,
  `copy (select 1) to program 'true'`,
  'set role postgres',
];

for (const major of edgeMajors) {
  test(`PostgreSQL ${major}, opened to read – all is read; nothing can be written, whatever the source grants and the session sets`, async () => {
    await using server = await startTestServer({ templates: true, major });
    await using fixture = await makeFixture();
    await query(server, ...generous);
    const manifest = await fixture.takeBackup(server);
    const parent = join(fixture.home, 'open');
    const request = {
      repository: fixture.repository,
      identities: fixture.identities,
      manifest,
      writable: false,
      parent,
      binDirs: [],
      fetchServers: false,
      env: process.env,
      readyTimeoutMs: 60_000,
      clock: systemClock,
      progress: silentProgress,
      signal: new AbortController().signal,
    };
    await openServer(request, async ({ url }) => {
      const connection = await resolveConnection({ url }, {});
      const client = await connectSql(connection, { database: 'postgres' });
      const one = async (sql: string) =>
        Object.values((await client.query<Record<string, unknown>>(sql)).rows[0]!)[0];
      try {
        await client.query('set default_transaction_read_only = off');
        for (const sql of writes)
          await assert.rejects(client.query(sql), /read-only transaction|during recovery/, sql);
        await assert.rejects(client.query('begin read write'), /during recovery/);
        await client.query('rollback');
        for (const sql of waysOut)
          await assert.rejects(client.query(sql), /permission denied|must be superuser/, sql);
        assert.equal(await one('select pg_is_in_recovery()'), true);
        assert.equal(await one('select rolsuper from pg_roles where rolname = current_user'), false);

        assert.equal(await one('select count(*)::int from shop'), 100);
        assert.equal(await one('select count(*)::int from rows_of'), 2, 'no row is left out');
        assert.equal(await one(`select convert_from(lo_get(4711), 'UTF8')`), 'a large object');
        assert.equal(await one('select count(*)::int from pg_authid where rolsuper'), 1);
        await assert.rejects(client.query('select from passing'), /unlogged .*during recovery/);
      } finally {
        await client.end();
      }
      const apart = await connectSql(connection, { database: 'apart' });
      await apart.end();
    });
    assert.deepEqual(await readdir(parent), []);
  });
}
