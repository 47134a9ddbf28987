import assert from 'node:assert/strict';
import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { serverFolder, startTestServer } from '../../test/pg-server.ts';
import { relationsByFile } from './relation-map.ts';

for (const major of [14, 18] as const) {
  test(`PostgreSQL ${major} – every file belongs to the table that it serves, in tablespaces and catalogs, too`, async () => {
    const space = await serverFolder();
    await using server = await startTestServer({ major });
    const client = new pg.Client(server.url);
    client.on('error', () => {});
    await client.connect();
    await client.query(`create tablespace elsewhere location '${space}'`);
    await client.query(`
      create schema "Odd "; create table "Odd "."Ta""ble" (id serial primary key, big text);
      create table parts (a int) partition by range (a);
      create table part partition of parts for values from (0) to (9) tablespace elsewhere;
      create index on parts (a);
      create materialized view mat as select 1 as one; create view seen as select 1 as one`);
    // Another file than the one that it began with.
    await client.query('vacuum full "Odd "."Ta""ble"');
    const { rows } = await client.query<{ path: string; name: string }>(`
      select pg_relation_filepath(c.oid) as path, c.oid::regclass::text as name from pg_class c
      where c.oid in ('"Odd "."Ta""ble"'::regclass, '"Odd "."Ta""ble_pkey"'::regclass, 'part'::regclass, 'part_a_idx'::regclass, 'mat'::regclass,
        '"Odd "."Ta""ble_id_seq"'::regclass, 'pg_class'::regclass, 'pg_database'::regclass)
      union all select pg_relation_filepath(reltoastrelid), 'toast' from pg_class where oid = '"Odd "."Ta""ble"'::regclass
      union all select pg_relation_filepath(indexrelid), 'toast index' from pg_index join pg_class c on indrelid = reltoastrelid
        where c.oid = '"Odd "."Ta""ble"'::regclass`);
    const files = await relationsByFile(client);
    await client.end();
    const byPath = new Map(files.map((file) => [file.path, file]));
    assert.equal(byPath.size, files.length, 'no file twice');
    const found = Object.fromEntries(
      rows.map(({ path, name }) => {
        const { schema, table, kind } = byPath.get(path)!;
        return [name, `${kind} ${schema}.${table}`];
      }),
    );
    const odd = 'Odd .Ta"ble';
    assert.deepEqual(found, {
      '"Odd "."Ta""ble"': `table ${odd}`,
      '"Odd "."Ta""ble_pkey"': `index ${odd}`,
      '"Odd "."Ta""ble_id_seq"': `sequence ${odd}_id_seq`,
      toast: `toast ${odd}`,
      'toast index': `index ${odd}`,
      part: 'table public.part',
      part_a_idx: 'index public.part',
      mat: 'materialized view public.mat',
      pg_class: 'table pg_catalog.pg_class',
      pg_database: 'table pg_catalog.pg_database',
    });
    assert.ok(byPath.get(rows.find((row) => row.name === 'part')!.path)!.path.startsWith('pg_tblspc/'));
    for (const path of byPath.keys()) await access(join(server.dataDir, path));
    await rm(space, { recursive: true, force: true });
  });
}
