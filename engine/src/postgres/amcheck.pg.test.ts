import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../test/pg-server.ts';
import { amcheckDatabase } from './amcheck.ts';

for (const major of [14, 18] as const) {
  suite(`amcheck on PostgreSQL ${major}`, () => {
    let server: TestServer;
    // Without page checksums: damage reaches amcheck.
    before(async () => {
      const initdbArgs = major === 18 ? ['--no-data-checksums'] : [];
      server = await startTestServer({ templates: true, major, initdbArgs, config: { autovacuum: 'off' } });
    });
    after(() => server[Symbol.asyncDispose]());

    async function connectTo(database: string): Promise<pg.Client> {
      const client = new pg.Client(server.url.replace(/\/postgres$/, `/${database}`));
      client.on('error', () => {});
      await client.connect();
      return client;
    }

    async function makeDatabase(name: string, sql: string): Promise<pg.Client> {
      const admin = await connectTo('postgres');
      await admin.query(`create database ${name}`);
      await admin.end();
      const client = await connectTo(name);
      await client.query(sql);
      return client;
    }

    const named = (objects: Awaited<ReturnType<typeof amcheckDatabase>>, name: string) =>
      objects.find((object) => object.schema === 'public' && object.name === name)!;

    test('a sound database – all passed but what amcheck cannot check, system catalogs and TOAST included', async () => {
      const client = await makeDatabase(
        'sound',
        `create table "Odd ""name" (id serial primary key, words tsvector, spot point, big text);
         insert into "Odd ""name" (words, spot, big) select to_tsvector('simple', 'w' || g), point(g, g),
           (select string_agg(md5(g::text || i), '') from generate_series(1, 200) i) from generate_series(1, 100) g;
         create index by_words on "Odd ""name" using gin (words);
         create index by_spot on "Odd ""name" using gist (spot);
         create index by_hash on "Odd ""name" using hash (big);
         create materialized view mat as select id from "Odd ""name";
         create unlogged table unlogged as select 1;
         create table parts (a int primary key) partition by range (a); create table part partition of parts for values from (0) to (9);`,
      );
      const checked = await amcheckDatabase(client, {});
      assert.equal(named(checked, 'Odd "name').state, 'passed');
      for (const name of ['Odd "name_pkey', 'mat', 'part', 'part_pkey', 'Odd "name_id_seq']) {
        assert.equal(named(checked, name).state, 'passed', name);
      }
      const unproven = checked
        .filter((object) => object.state !== 'passed')
        .map(({ name, state }) => `${name} ${state}`);
      const expected = ['by_hash unproven', 'by_spot unproven', ...(major < 18 ? ['by_words unproven'] : [])];
      assert.deepEqual(unproven.sort(), expected);
      assert.match(named(checked, 'by_spot').messages[0]!, /no check for gist/);
      assert.ok(checked.some((object) => object.schema === 'pg_toast' && object.state === 'passed'));
      assert.ok(checked.some((object) => object.name === 'pg_class_oid_index' && object.state === 'passed'));
      assert.equal(named(checked, 'unlogged'), undefined);
      await client.end();
    });

    test('a damaged table, a damaged index and an emptied one – failed, each by name; the others passed', async () => {
      const client = await makeDatabase(
        'hurt',
        `create table torn as select g, repeat('x', 50) from generate_series(1, 1000) g;
         create table fine as select g from generate_series(1, 1000) g; create index fine_g on fine (g);
         create table lost as select g from generate_series(1, 1000) g; create index lost_g on lost (g);
         create index lost_h on lost ((g + 1)); checkpoint`,
      );
      const { rows } = await client.query(
        `select pg_relation_filepath('torn') as torn, pg_relation_filepath('lost_g') as lost, pg_relation_filepath('lost_h') as empty`,
      );
      await client.end();
      await server.stop('fast');
      // Line pointers of the table (in use, beyond the page), entries of an index, and another's first page.
      await overwrite(rows[0].torn, 8192 * 2 + 24, Buffer.alloc(64, Buffer.from('ff9ffeff', 'hex')));
      await overwrite(rows[0].lost, 8192 * 2 - 200, Buffer.alloc(100, 0x7f));
      await overwrite(rows[0].empty, 0, Buffer.alloc(8192));
      await server.start();
      const again = await connectTo('hurt');
      const checked = await amcheckDatabase(again, {});
      await again.end();
      const failed = checked
        .filter((object) => object.state !== 'passed')
        .map(({ name, state }) => `${name} ${state}`);
      assert.deepEqual(failed.sort(), ['lost_g failed', 'lost_h failed', 'torn failed']);
      assert.match(named(checked, 'torn').messages[0]!, /^block 2: line pointer/);
    });

    async function overwrite(path: string, at: number, bytes: Buffer): Promise<void> {
      const file = await open(join(server.dataDir, path), 'r+');
      await file.write(bytes, 0, bytes.length, at);
      await file.close();
    }

    test('a check that fails for want of something else – unproven, not failed', async () => {
      const client = await makeDatabase(
        'wanting',
        `create table t (a int); create function f(int) returns int language plpgsql immutable as 'begin return $1; end';
         create index by_f on t (f(a)); insert into t values (1);
         create or replace function f(int) returns int language plpgsql immutable as $$ begin raise 'not today'; end $$;`,
      );
      const checked = await amcheckDatabase(client, {});
      assert.deepEqual(named(checked, 'by_f'), {
        schema: 'public',
        name: 'by_f',
        state: 'unproven',
        messages: ['not today'],
      });
      await client.end();
    });

    test('a role that cannot create the extension – everything unproven, with the reason', async () => {
      const client = await makeDatabase(
        'poor',
        `create table t (a int); create role poor_${major}; set role poor_${major}`,
      );
      const checked = await amcheckDatabase(client, {});
      assert.ok(checked.length > 100 && checked.every((object) => object.state === 'unproven'));
      assert.match(checked[0]!.messages[0]!, /^the extension amcheck cannot be used: permission denied/);
      await client.end();
    });

    test('a damaged index whose collation has another version here – unproven, as its order cannot be judged', async () => {
      const client = await makeDatabase(
        'elsewhere',
        `create table t (a text collate "en-x-icu"); create index by_a on t (a); insert into t select g from generate_series(1, 100) g;
           update pg_collation set collversion = '1.2.3' where collname = 'en-x-icu'`,
      );
      const sound = named(await amcheckDatabase(client, {}), 'by_a');
      assert.equal(sound.state, 'passed');
      const { rows } = await client.query(`select pg_relation_filepath('by_a') as path`);
      await client.end();
      await server.stop('fast');
      await overwrite(rows[0].path, 8192 * 2 - 200, Buffer.alloc(100, 0x7f));
      await server.start();
      const again = await connectTo('elsewhere');
      const judged = named(await amcheckDatabase(again, {}), 'by_a');
      assert.equal(judged.state, 'unproven');
      assert.match(judged.messages[0]!, /^its collation has another version/);
      await again.end();
    });
  });
}
