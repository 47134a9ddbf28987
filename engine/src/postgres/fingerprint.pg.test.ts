import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../test/pg-server.ts';
import { compareFingerprints } from './compare-fingerprints.ts';
import { fingerprintDatabase, type TableFingerprint } from './fingerprint.ts';

const content = { content: true };

for (const major of [14, 18] as const) {
  suite(`fingerprints on PostgreSQL ${major}`, () => {
    let server: TestServer;
    before(async () => {
      server = await startTestServer({
        templates: true,
        major,
        initdbArgs: ['-k'],
        config: { max_locks_per_transaction: 10, max_connections: 20, autovacuum: 'off' },
      });
    });
    after(() => server[Symbol.asyncDispose]());

    async function withDatabase(
      name: string,
      work: (client: pg.Client, connect: () => Promise<pg.Client>) => Promise<void>,
    ) {
      const clients: pg.Client[] = [];
      const connect = async (database: string) => {
        const client = new pg.Client(server.url.replace(/\/postgres$/, `/${database}`));
        client.on('error', () => {});
        await client.connect();
        clients.push(client);
        return client;
      };
      try {
        await (await connect('postgres')).query(`create database ${name}`);
        await work(await connect(name), () => connect(name));
      } finally {
        for (const client of clients) await client.end();
      }
    }

    const of = (tables: readonly TableFingerprint[], table: string) => tables.find((t) => t.table === table);

    test('every kind of table and value – listed once, permanent ones only, equal in another session', async () => {
      await withDatabase('kinds', async (client, connect) => {
        await client.query(`
          create schema "odd ""schema"" 'x'";
          create table "odd ""schema"" 'x'"."Tab;le -- $1 %" ("co""l" int, t text, "T" int);
          insert into "odd ""schema"" 'x'"."Tab;le -- $1 %" select g, 'v' || g, -g from generate_series(1, 100) g;
          create type mood as enum ('sad', 'ok');
          create table valued (a int[], j jsonb, f float8, f4 float4, n numeric, b bytea, tz timestamptz, i interval, m money,
            e mood, r regclass, gen int generated always as (cardinality(a)) stored, x text);
          insert into valued values ('{1,2}', '{"a": 1}', 'NaN', '-0', 'NaN', '\\x00ff', '2026-01-01 00:00+02', '1 day', 12.5, 'ok', 'pg_class', default, null),
            (null, null, 0.1, 0.1, 1e-20, '', null, null, null, null, null, default, '');
          create table parts (k int, v text) partition by range (k);
          create table part_1 partition of parts for values from (0) to (10);
          create table part_2 partition of parts for values from (10) to (20);
          insert into parts select g, 'p' from generate_series(0, 14) g;
          create table parent (a int); create table child (b int) inherits (parent);
          insert into parent values (1); insert into child values (2, 3), (4, 5);
          create materialized view mat as select * from parent;
          create materialized view unfilled as select * from parent with no data;
          create view seen as select * from parent;
          create unlogged table unlogged as select 1;
          create temp table temporary as select 1;
          create table empty ();
          select lo_from_bytea(0, 'large');`);
        const first = await fingerprintDatabase(client, content);
        assert.deepEqual(
          first.map(({ schema, table, rows, skipped }) => [schema, table, rows, skipped]),
          [
            ['odd "schema" \'x\'', 'Tab;le -- $1 %', '100', undefined],
            ['pg_catalog', 'pg_largeobject', '1', undefined],
            ['public', 'child', '2', undefined],
            ['public', 'empty', '0', undefined],
            ['public', 'mat', '3', undefined],
            ['public', 'parent', '1', undefined],
            ['public', 'part_1', '10', undefined],
            ['public', 'part_2', '5', undefined],
            ['public', 'valued', '2', undefined],
          ],
        );
        const other = await connect();
        await other.query(`set datestyle = 'German'; set timezone = 'Asia/Tokyo'; set bytea_output = 'escape'; set extra_float_digits = -10;
          set intervalstyle = 'iso_8601'; set quote_all_identifiers = on; set search_path = "odd ""schema"" 'x'"`);
        assert.deepEqual(await fingerprintDatabase(other, content), first);
        const datestyle = await other.query('show datestyle');
        assert.match(datestyle.rows[0].DateStyle, /German/, 'the session keeps its own settings');
        const counted = await fingerprintDatabase(client, { content: false });
        assert.deepEqual(of(counted, 'valued'), {
          schema: 'public',
          table: 'valued',
          rows: '2',
          hash: null,
          skipped: 'only rows were counted',
        });
      });
    });

    test('any changed value, a lost, doubled or moved row – another fingerprint; order of rows does not matter', async () => {
      await withDatabase('changes', async (client) => {
        // A column with the name of the alias that the query uses must not hide the others.
        await client.query(
          'create table d (k int primary key, t text, "n" float8); insert into d select g, null, g / 7.0 from generate_series(1, 500) g',
        );
        const now = async () => JSON.stringify(of(await fingerprintDatabase(client, content), 'd'));
        const original = await now();
        for (const shuffle of ['create index by_n on d (n desc)', 'cluster d using by_n', 'vacuum full d'])
          await client.query(shuffle);
        assert.equal(await now(), original);
        const changes = [
          `update d set t = '' where k = 7`,
          'update d set n = n + 1e-13 where k = 7',
          'delete from d where k = 7',
          'alter table d drop constraint d_pkey; insert into d select * from d where k = 7',
          'update d set n = case k when 1 then 2 / 7.0 else 1 / 7.0 end where k in (1, 2)',
          'alter table d drop column t',
        ];
        for (const change of changes) {
          await client.query(`begin; ${change}`);
          assert.notEqual(await now(), original, change);
          await client.query('rollback');
        }
        assert.equal(await now(), original);
      });
    });

    test('a writer is running – the same snapshot gives the same fingerprint, a new one another', async () => {
      await withDatabase('written', async (client, connect) => {
        await client.query(
          'create table w (k serial, v float8); insert into w (v) select random() from generate_series(1, 2000)',
        );
        const writer = await connect();
        let going = true;
        const writing = (async () => {
          while (going)
            await writer.query('insert into w (v) values (random()); update w set v = random() where k = 5');
        })();
        await client.query('begin isolation level repeatable read read only');
        const first = await fingerprintDatabase(client, content);
        const second = await fingerprintDatabase(client, content);
        await client.query('rollback');
        going = false;
        await writing;
        assert.deepEqual(second, first);
        assert.equal(
          compareFingerprints(first, await fingerprintDatabase(client, content))[0]!.state,
          'different',
        );
      });
    });

    test('tables that cannot be read, or were truncated or dropped after the snapshot – unproven, the others are read', async () => {
      await withDatabase('partly', async (client, connect) => {
        await client.query(`
          create role poor_${major} login; create table mine as select 1 as a; create table theirs as select 2 as a;
          create table ruled as select 3 as a; alter table ruled enable row level security;
          create table cut as select 4 as a; create table gone as select 5 as a; create schema hidden; create table hidden.h as select 6 as a;
          grant select on mine, ruled, cut, gone, hidden.h to poor_${major}`);
        const poor = await connect();
        await poor.query(`set session authorization poor_${major}`);
        await poor.query('begin isolation level repeatable read read only');
        await poor.query('select 1');
        await client.query('truncate cut; drop table gone');
        const found = await fingerprintDatabase(poor, content);
        const reasons = Object.fromEntries(found.map(({ table, skipped }) => [table, skipped]));
        assert.deepEqual(Object.keys(reasons).sort(), ['cut', 'gone', 'h', 'mine', 'ruled', 'theirs']);
        assert.equal(reasons.mine, undefined);
        assert.equal(reasons.theirs, 'the role may not read it');
        assert.equal(reasons.h, 'the role may not read it');
        assert.match(reasons.ruled!, /row-level security/);
        assert.equal(reasons.cut, 'it was truncated or rewritten meanwhile');
        assert.equal(reasons.gone, 'it was dropped meanwhile');
        assert.ok(
          found.every(
            (t) => !t.damaged && (t.table === 'mine' ? t.rows === '1' : t.rows === null && t.hash === null),
          ),
        );
        for (const compared of compareFingerprints(found, found)) {
          assert.equal(compared.state, compared.table === 'mine' ? 'equal' : 'unproven');
        }
      });
    });

    test('more tables than the lock table has room for – no lock is kept', async () => {
      await withDatabase('many', async (client) => {
        for (let batch = 0; batch < 15; batch++) {
          await client.query(
            `do $$ begin for i in 1..50 loop execute format('create table t_${batch}_%s (a int)', i); end loop; end $$`,
          );
        }
        await client.query('begin isolation level repeatable read read only');
        const found = await fingerprintDatabase(client, content);
        assert.equal(found.filter((t) => t.rows === '0').length, 750);
        const { rows } = await client.query(
          `select count(*)::int as n from pg_locks where locktype = 'relation' and relation >= 16384`,
        );
        assert.equal(rows[0].n, 0);
        await client.query('rollback');
      });
    });

    test('a damaged page – the table is damaged, not merely unproven', async () => {
      await withDatabase('torn', async (client, connect) => {
        await client.query(
          'create table bad as select g, repeat(md5(g::text), 10) from generate_series(1, 2000) g; create table good as select 1; checkpoint',
        );
        const sound = await fingerprintDatabase(client, content);
        const { rows } = await client.query(`select pg_relation_filepath('bad') as path`);
        await client.end();
        await server.stop('fast');
        const file = await open(join(server.dataDir, rows[0].path), 'r+');
        await file.write(Buffer.from('damage'), 0, 6, 8192 * 3 + 4000);
        await file.close();
        await server.start();
        const damaged = await fingerprintDatabase(await connect(), content);
        assert.equal(of(damaged, 'bad')!.damaged, true);
        const states = compareFingerprints(sound, damaged).map(({ table, state }) => [table, state]);
        assert.deepEqual(states, [
          ['bad', 'different'],
          ['good', 'equal'],
        ]);
      });
    });
  });
}
