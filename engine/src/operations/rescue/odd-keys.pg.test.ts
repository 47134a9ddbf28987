/** Keys whose equality is not that of their text: types of extensions, collations that ignore case, domains over these. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { exportOrganization, openExport, planImport } from './export/index.ts';
import { resolveRoot } from './root.ts';
import { type Lab, makeLab, same } from './testing/rescue-lab.ts';

let server: TestServer;
const all = (insert: boolean, revert: boolean, remove: boolean) => ({ insert, revert, remove });
const stop = { onConflict: 'stop', onSchemaChange: 'stop' } as const;
const root = { table: 'tenants', where: { slug: 'dEMO' } };

before(async () => {
  server = await startTestServer({ templates: true, major: 18, config: { fsync: 'off' } });
});

after(() => server[Symbol.asyncDispose]());

/** In a schema that no search path has. Children spell the keys that they refer to in their own ways. */
const shop = `
  create schema ext; create extension citext schema ext; create extension ltree schema ext; create extension hstore schema ext;
  create collation ext.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  create domain ext.email as ext.citext;
  create type ext.mood as enum ('ok', 'bad');
  create domain ext.feeling as ext.mood;
  create type ext.place as (shelf ext.citext, n int);
  create table tenants (slug ext.citext primary key, contact ext.email not null unique, attributes ext.hstore unique);
  create table nodes (path ext.ltree primary key, tenant ext.citext not null references tenants on delete cascade);
  create table leaves (tags ext.citext[] primary key, node ext.ltree not null references nodes on delete cascade);
  create table labels (name text collate ext.ci primary key, owner ext.email not null references tenants (contact) on delete cascade);
  create table uses (label text collate ext.ci references labels on delete cascade, n numeric, primary key (label, n));
  create table amounts (label text collate ext.ci, n numeric, code char(5), primary key (n, code), foreign key (label, n) references uses on delete cascade);
  create table places (place ext.place primary key, code char(5) not null, n numeric(9, 4) not null, foreign key (n, code) references amounts on delete cascade);
  create table settings (key ext.hstore primary key, tenant ext.citext references tenants on delete cascade, path ext.ltree unique);
  create table plain (name text collate "C" primary key, tenant ext.citext references tenants on delete cascade);
  create table feelings (feeling ext.feeling primary key, other ext.feeling unique, tenant ext.citext references tenants on delete cascade);
  create table flags (mask bit(3) primary key, above bit(3) references flags on delete cascade, tenant ext.citext references tenants on delete cascade);
  create table other (id int primary key, name text references plain on delete cascade);
  insert into tenants values ('Demo', 'A@example.com', 'a=>1, b=>2'), ('Other', 'B@example.com', 'a=>2');
  insert into nodes values ('Top.Demo', 'demo'), ('Top.Demo.x', 'DEMO'), ('Top.Other', 'other');
  insert into leaves values ('{A,b}', 'Top.Demo'), ('{A,c}', 'Top.Demo.x'), ('{A,d}', 'Top.Other');
  insert into labels values ('Urgent', 'a@EXAMPLE.com'), ('Calm', 'b@example.com');
  insert into uses values ('urgent', 1.0), ('URGENT', 2.50), ('calm', 1);
  insert into amounts values ('uRgent', 1.00, 'x'), ('urgent', 2.5, 'y'), ('calm', 1.000, 'z');
  insert into places values (row('Top', 1), 'x ', 1), (row('top', 2), 'y', 2.5), (row('Other', 1), 'z', 1);
  insert into settings values ('k=>1', 'DEMO', 'a.b'), ('k=>2', 'OTHER', 'a.c');
  insert into plain values ('p', 'Demo'), ('q', 'other');
  insert into feelings values ('ok', 'bad', 'demo'), ('bad', null, 'other');
  insert into flags values ('100', null, 'demo'), ('010', '100', null), ('001', '010', null), ('111', null, 'other');
  insert into other values (1, 'p'), (2, 'q');
`;

async function clientOf(l: Lab): Promise<pg.Client> {
  const client = await l.client('live');
  await client.query('set search_path = public, ext');
  return client;
}

const lab = () => makeLab(server, shop);
const line = (table: string) => (text: string) => text.startsWith(`public.${table} `);

test('rows of odd keys are deleted – come back whatever way their keys are spelled, and go again', async () => {
  await using l = await lab();
  const live = await clientOf(l);
  const past = await l.content('past');
  await live.query(`delete from tenants where slug = 'demo'`);
  const lost = await l.content('live');
  assert.equal(past.length - lost.length, 19);
  const plan = await l.plan({ root });
  assert.deepEqual([plan.problems, plan.conflicts], [[], []]);
  await l.apply(plan.file);
  same(await l.content('live'), past);
  assert.equal((await l.apply(plan.file, { undoFile: `${plan.file}.again` })).state, 'nothing-to-do');
  await l.undo(`${plan.file}.undo`);
  same(await l.content('live'), lost);
});

test('keys are only spelled otherwise now – they are the same rows, changed, and are spelled again as before', async () => {
  await using l = await lab();
  const live = await clientOf(l);
  const past = await l.content('past');
  await live.query(`update tenants set slug = 'DEMO', contact = 'a@EXAMPLE.COM' where slug = 'demo';
    update labels set name = 'URGENT' where name = 'urgent'; update uses set n = 1.000 where label = 'urgent' and n = 1;
    update leaves set tags = '{a,B}' where tags = '{A,b}'; update places set place = row('TOP', 1) where place = row('Top', 1)::ext.place;
    insert into nodes values ('Top.New', 'demo')`);
  const changed = await l.content('live');
  const seen = await l.plan({ root });
  assert.deepEqual(
    seen.tables.filter(({ rows }) => rows.missing > 0),
    [],
  );
  const plan = await l.plan({ root, policies: { all: all(true, true, true), ...stop } });
  const counts = plan.tables.map(({ table, revert, remove }) => [table, revert, remove] as const);
  assert.deepEqual(counts.filter(([, revert, remove]) => revert + remove > 0).sort(), [
    ['public.labels', 1, 0],
    ['public.leaves', 1, 0],
    ['public.nodes', 0, 1],
    ['public.places', 1, 0],
    ['public.tenants', 1, 0],
    ['public.uses', 1, 0],
  ]);
  await l.apply(plan.file);
  same(await l.content('live'), past);
  await l.undo(`${plan.file}.undo`);
  same(await l.content('live'), changed);
});

test('others have taken odd unique values in another spelling – the plan says so, skips the rows, or replaces the others', async () => {
  await using l = await lab();
  const live = await clientOf(l);
  await live.query(`delete from tenants where slug = 'demo';
    insert into tenants values ('third', 'a@Example.Com', 'b=>2, a=>1');
    update settings set path = 'a.b' where key = 'k=>2'`);
  const stopped = await l.plan({ root });
  assert.deepEqual(stopped.conflicts.map(({ table, index, rows }) => [table, index, rows]).sort(), [
    ['public.settings', 'settings_path_key', 1],
    ['public.tenants', 'tenants_attributes_key', 1],
    ['public.tenants', 'tenants_contact_key', 1],
  ]);
  const skipped = await l.plan({
    root,
    policies: { all: all(true, false, false), ...stop, onConflict: 'skip' },
  });
  assert.deepEqual([skipped.problems, skipped.tables.reduce((sum, { insert }) => sum + insert, 0)], [[], 0]);
  await live.query(`update tenants set attributes = null, contact = 'c@example.com' where slug = 'third'`);
  const replaced = await l.plan({
    root,
    policies: { all: all(true, false, false), ...stop, onConflict: 'replace' },
  });
  assert.deepEqual(replaced.problems, []);
  await l.apply(replaced.file);
  const { rows } = await live.query(`select key::text as key from settings order by 1`);
  assert.deepEqual(rows, [{ key: '"k"=>"1"' }]);
});

test('what rows refer to was deleted by others, or is about to go – is found by the operator of the foreign key', async () => {
  await using l = await makeLab(
    server,
    `${shop} create table owners (name ext.citext primary key); insert into owners values ('Ann'), ('Bob');
     create table kinds (name text collate ext.ci primary key); insert into kinds values ('New'), ('Old');
     alter table tenants add owner ext.email references owners, add kind text collate ext.ci references kinds;
     update tenants set owner = 'ANN', kind = 'NEW' where slug = 'Demo'; update tenants set owner = 'BOB', kind = 'OLD' where slug = 'Other'`,
  );
  const live = await clientOf(l);
  const past = await l.content('past');
  await live.query(
    `delete from tenants where slug = 'demo'; delete from owners where name = 'ann'; delete from kinds where name = 'new'`,
  );
  const plan = await l.plan({ root });
  assert.deepEqual(
    plan.tables
      .filter(({ parents }) => parents > 0)
      .map(({ table }) => table)
      .sort(),
    ['public.kinds', 'public.owners'],
  );
  await l.apply(plan.file);
  same(await l.content('live'), past);
  await live.query(`insert into tenants values ('third', 'c@example.com', null, 'aNN', 'nEW')`);
  await assert.rejects(l.undo(`${plan.file}.undo`), {
    code: 'PLAN_CHANGED',
    message: /1 rows of public.tenants would refer/,
  });
  await live.query(
    `create role firing login; grant all on all tables in schema public to firing; grant usage on schema ext to firing`,
  );
  await assert.rejects(l.undo(`${plan.file}.undo`, { now: await l.client('live', 'firing') }), {
    message: /violates foreign key constraint|would refer/,
  });
  await live.query(`delete from tenants where slug = 'third'`);
  const undone = await l.undo(`${plan.file}.undo`, { now: await l.client('live', 'firing') });
  assert.equal(undone.triggers, 'fire');
});

test('rows of odd keys that were added – the plan removes them by key, with triggers off and on', async () => {
  for (const triggers of ['off', 'fire'] as const) {
    await using l = await lab();
    const live = await clientOf(l);
    const past = await l.content('past');
    await live.query(`insert into nodes values ('Top.Demo.y', 'dEmO'); insert into leaves values ('{x}', 'Top.Demo.y');
      insert into labels values ('More', 'a@example.COM'); insert into uses values ('MORE', 7.0); update tenants set slug = 'DEMO' where slug = 'demo'`);
    const changed = await l.content('live');
    const plan = await l.plan({ root, policies: { all: all(true, true, true), ...stop } });
    await l.apply(plan.file, { triggers });
    same(await l.content('live'), past);
    await l.undo(`${plan.file}.undo`, { triggers });
    same(await l.content('live'), changed);
  }
});

test('a foreign key between columns of other types or collations – is followed by the operator of the constraint', async () => {
  await using l = await makeLab(
    server,
    `create schema ext; create extension citext schema ext;
     create table tenants (slug text collate "C" primary key, n numeric(9, 2) unique, v varchar(20) unique, t text unique);
     create table a (id int primary key, tenant text collate "POSIX" references tenants on delete cascade);
     create table b (id int primary key, n int references tenants (n) on delete cascade);
     create table c (id int primary key, tenant ext.citext references tenants on delete cascade);
     create table d (v char(9) primary key references tenants (t) on delete cascade);
     create table e (id bigint primary key, v text references tenants (v) on delete cascade);
     insert into tenants values ('Demo', 1, 'x', 'x'), ('demo', 2, 'X', 'y'), ('Other', 3, 'z', 'z');
     insert into a values (1, 'Demo'), (2, 'demo'), (3, 'Other'); insert into b values (1, 1), (2, 2), (3, 3);
     insert into c values (1, 'Demo'), (2, 'demo'), (3, 'Other'); insert into d values ('x'), ('y'), ('z');
     insert into e values (1, 'x'), (2, 'X'), (3, 'z')`,
  );
  const live = await clientOf(l);
  const past = await l.content('past');
  await live.query(`delete from tenants where slug <> 'Other'`);
  const plan = await l.plan({ root: { table: 'c', where: { id: '1' } } });
  assert.deepEqual(
    plan.tables.filter(({ insert }) => insert > 0).map(({ table, insert }) => [table, insert]),
    [
      ['public.tenants', 1],
      ['public.c', 1],
    ],
  );
  for (const slug of ['Demo', 'demo']) {
    const own = await l.plan({ root: { table: 'tenants', where: { slug } } });
    assert.equal(
      own.tables.reduce((sum, { insert }) => sum + insert, 0),
      6,
    );
    await l.apply(own.file);
  }
  same(await l.content('live'), past);
});

test('unique indexes that compare otherwise than their columns – are no keys, and conflict as they compare', async () => {
  await using l = await makeLab(
    server,
    `create schema ext; create extension citext schema ext; create collation ext.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
     create table tenants (slug text primary key);
     create table codes (tenant text references tenants on delete cascade, code text not null, kept ext.citext not null, padded varchar not null);
     create unique index code_key on codes (code collate ext.ci);
     create unique index kept_key on codes (kept text_ops);
     create unique index padded_key on codes (padded bpchar_ops);
     insert into tenants values ('demo'), ('other');
     insert into codes values ('demo', 'One', 'A', 'p'), ('demo', 'Two', 'a', 'q'), ('other', 'Three', 'B', 'r')`,
  );
  const live = await clientOf(l);
  const past = await l.content('past');
  const demo = { table: 'tenants', where: { slug: 'demo' } };
  await live.query(`delete from tenants where slug = 'demo'`);
  const plan = await l.plan({ root: demo });
  assert.deepEqual(
    plan.tables.map(({ table, keyed, insert }) => [table, keyed, insert]),
    [
      ['public.tenants', true, 1],
      ['public.codes', false, 2],
    ],
  );
  await live.query(`insert into codes values ('other', 'ONE', 'b', 'q  ')`);
  const stopped = await l.plan({ root: demo });
  assert.deepEqual(stopped.conflicts.map(({ index, rows }) => [index, rows]).sort(), [
    ['code_key', 1],
    ['padded_key', 1],
  ]);
  await live.query(`delete from codes where code = 'ONE'`);
  await l.apply(plan.file);
  same(await l.content('live'), past);
});

test('references that only the configuration knows – join numbers, texts and types of extensions', async () => {
  await using l = await makeLab(
    server,
    `create schema ext; create extension citext schema ext;
     create domain ext.email as ext.citext;
     create table tenants (slug ext.citext primary key, n numeric(9, 2) not null, name text collate "C" not null);
     create table a (id int primary key, slug ext.email); create table b (id int primary key, n bigint, m numeric(5, 1));
     create table c (id int primary key, names text[], document jsonb);
     insert into tenants values ('Demo', 1, 'x'), ('Other', 2, 'y');
     insert into a values (1, 'DEMO'), (2, 'other'); insert into b values (1, 1, null), (2, null, 1), (3, 2, 2);
     insert into c values (1, '{x,z}', '{}'), (2, null, '{"name": "x"}'), (3, '{y}', '{"name": "y"}')`,
  );
  const references = [
    { from: 'a', columns: ['slug'], to: 'tenants', toColumns: ['slug'] },
    { from: 'b', columns: ['n'], to: 'tenants', toColumns: ['n'] },
    { from: 'b', columns: ['m'], to: 'tenants', toColumns: ['n'] },
    { from: 'c', columns: ['names[]'], to: 'tenants', toColumns: ['name'] },
    { from: 'c', columns: [`document->>'name'`], to: 'tenants', toColumns: ['name'] },
  ];
  const live = await clientOf(l);
  const past = await l.content('past');
  await live.query(
    `delete from a where id = 1; delete from b where id < 3; delete from c where id < 3; delete from tenants where slug = 'demo'`,
  );
  const plan = await l.plan({ root, model: { references } });
  await l.apply(plan.file);
  same(await l.content('live'), past);
});

test('the key of a root is spelled otherwise – is found all the same; what is no value of a column is none of its rows', async () => {
  await using l = await makeLab(
    server,
    `${shop} alter table tenants add path ext.ltree unique, add n int unique`,
  );
  const client = await clientOf(l);
  await client.query(`update tenants set path = 'a.c' where slug = 'other'`);
  assert.deepEqual((await resolveRoot(client, { table: 'tenants', keys: ['DEMO'] })).where, { slug: 'DEMO' });
  assert.deepEqual((await resolveRoot(client, { table: 'tenants', keys: ['b@EXAMPLE.com'] })).where, {
    contact: 'b@EXAMPLE.com',
  });
  await assert.rejects(resolveRoot(client, { table: 'tenants', keys: ['no one'] }), {
    message: /no row of public.tenants had slug or .* = no one/,
  });
});

test('an organization of odd keys is exported – and imported where some of its keys are spelled otherwise', async () => {
  await using l = await lab();
  const folder = await mkdtemp(join(tmpdir(), 'hv-odd-'));
  const { signal } = new AbortController();
  const common = { clock: systemClock, progress: silentProgress, signal, program: 'test', model: {} };
  try {
    const past = await l.content('past');
    const out = join(folder, 'out');
    await exportOrganization({
      ...common,
      source: await l.client('past'),
      root,
      folder: out,
      recipients: undefined,
    });
    const live = await clientOf(l);
    await live.query(`delete from nodes where tenant = 'demo'; delete from labels where name = 'urgent';
      update tenants set slug = 'DEMO' where slug = 'demo'`);
    const staging = await l.client('live');
    const { plan } = await planImport({
      ...common,
      folder: await openExport(out, async () => assert.fail('it is in clear')),
      staging,
      now: await l.client('live'),
      policies: { all: all(true, true, false), ...stop },
      file: join(folder, 'plan'),
    });
    assert.deepEqual(plan.problems, []);
    await l.apply(plan.file, { undoFile: join(folder, 'undo') });
    await staging.end();
    same(await l.content('live'), past);
    assert.equal(past.filter(line('places')).length, 3);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
