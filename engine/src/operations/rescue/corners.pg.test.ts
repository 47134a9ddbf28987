/** Corners of PostgreSQL that a rescue meets: each once went wrong. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { makeLab, same } from './testing/rescue-lab.ts';

let server: TestServer;
const lab = (more?: string) => makeLab(server, more);
const all = (insert: boolean, revert: boolean, remove: boolean) => ({ insert, revert, remove });
const stop = { onConflict: 'stop', onSchemaChange: 'stop' } as const;

before(async () => {
  server = await startTestServer({ templates: true, major: 18 });
});

after(() => server[Symbol.asyncDispose]());

const bookings = `create table bookings (id int primary key, org int not null references organizations on delete cascade, during int4range,
    exclude using gist (during with &&));
  insert into bookings values (1, 1, '[1,5)'), (2, 1, '[5,9)'), (3, 2, '[20,30)');`;

test('rows that had exchanged what an exclusion constraint keeps apart – are reverted, and put back', async () => {
  await using l = await lab(bookings);
  const live = await l.client('live');
  const past = await l.content('past');
  await live.query(`update bookings set during = '[90,91)' where id = 1; update bookings set during = '[1,5)' where id = 2;
    update bookings set during = '[5,9)' where id = 1`);
  const lost = await l.content('live');
  const plan = await l.plan({ policies: { all: all(true, true, true), ...stop } });
  await l.apply(plan.file);
  same(await l.content('live'), past);
  await l.undo(`${plan.file}.undo`);
  same(await l.content('live'), lost);
});

test('an exclusion constraint keeps a row away that another has taken the place of – the plan says so, skips it, or replaces the other', async () => {
  await using l = await lab(bookings);
  const live = await l.client('live');
  await live.query(`delete from bookings where org = 1; insert into bookings values (9, 2, '[4,6)')`);
  const stopped = await l.plan();
  assert.deepEqual(
    stopped.conflicts.map(({ table, index, rows }) => [table, index, rows]),
    [['public.bookings', 'bookings_during_excl', 2]],
  );
  const skipped = await l.plan({ policies: { all: all(true, false, false), ...stop, onConflict: 'skip' } });
  assert.deepEqual(skipped.problems, []);
  assert.equal(skipped.tables.find(({ table }) => table === 'public.bookings')!.skipped, 2);
  const replaced = await l.plan({
    policies: { all: all(true, false, false), ...stop, onConflict: 'replace' },
  });
  await l.apply(replaced.file);
  const { rows } = await live.query('select id from bookings order by id');
  assert.deepEqual(rows, [{ id: 1 }, { id: 2 }, { id: 3 }]);
});

test('the row that would be replaced is referred to – the plan says so, and cannot be applied', async () => {
  await using l = await lab();
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo'; insert into organizations (key) values ('demo');
    insert into conversations (org, title) values (3, 'anew')`);
  const plan = await l.plan({ policies: { all: all(true, false, false), ...stop, onConflict: 'replace' } });
  assert.match(
    plan.problems.join('; '),
    /1 rows of public.conversations refer .* to rows of public.organizations that would go/,
  );
});

test('a table that rows only referred to was dropped since – does not stand in the way', async () => {
  await using l = await lab(`create table plans (id int primary key); insert into plans values (1);
    alter table organizations add plan int references plans default 1;`);
  const live = await l.client('live');
  await live.query(
    `alter table organizations drop plan; drop table plans; delete from organizations where key = 'demo'`,
  );
  const plan = await l.plan({
    policies: { all: all(true, false, false), ...stop, onSchemaChange: 'default' },
  });
  assert.deepEqual(plan.problems, []);
  assert.equal((await l.apply(plan.file)).state, 'applied');
});

test('columns are less exact now, or computed – the plan says so before anything is rounded or lost', async () => {
  await using l =
    await lab(`create table prices (org int references organizations on delete cascade, id int primary key,
    price numeric(12,2), at timestamptz, twice int);
    insert into prices values (1, 1, 1.25, '2026-01-01 00:00:00.75+00', 3)`);
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo'; alter table prices alter price type numeric(12,1), alter at type timestamptz(0);
    alter table prices drop twice; alter table prices add twice int generated always as (id * 2) stored`);
  const plan = await l.plan();
  assert.match(
    plan.problems.join('; '),
    /public.prices.price was numeric\(12,2\) and is numeric\(12,1\) now/,
  );
  assert.match(
    plan.problems.join('; '),
    /public.prices.at was timestamp with time zone and is timestamp\(0\) with time zone now/,
  );
  assert.match(plan.problems.join('; '), /public.prices.twice is computed now/);
});

test('a role that may not see or set a sequence – brings the rows back, and is told that the sequence is behind', async () => {
  await using l =
    await lab(`create role writer login; grant select, insert, update, delete on all tables in schema public to writer;
    grant usage on sequence conversations_id_seq to writer; revoke all on sequence events_id_seq from public`);
  const live = await l.client('live');
  await live.query(`drop trigger audit_message on messages; delete from organizations where key = 'demo'; select setval('conversations_id_seq', 2);
    alter sequence events_id_seq restart`);
  const plan = await l.plan();
  const applied = await l.apply(plan.file, { now: await l.client('live', 'writer') });
  assert.match(applied.warnings.join('; '), /public.conversations_id_seq .* may not/);
  assert.match(applied.warnings.join('; '), /public.events_id_seq .* may not/);
});

test('a rule on a table – is told as a side effect, and stops a role that cannot turn it off', async () => {
  await using l =
    await lab(`create role ruled login; grant all on all tables in schema public to ruled; grant all on all sequences in schema public to ruled;
    drop trigger audit_message on messages;
    create rule noted as on insert to conversations do also insert into audit values ('rule')`);
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo'`);
  const plan = await l.plan();
  assert.match(plan.sideEffects.join('\n'), /public.conversations: .*noted \(rule\)/);
  await assert.rejects(l.apply(plan.file, { now: await l.client('live', 'ruled') }), { code: 'SERVER_AUTH' });
  await l.apply(plan.file);
  const { rows } = await live.query('select count(*)::int as n from audit');
  assert.deepEqual(rows, [{ n: 0 }]);
});

test('a foreign key on a computed column – what refers by it belongs, too', async () => {
  await using l = await lab(`create table notes (id int primary key, body jsonb,
    org int generated always as ((body ->> 'org')::int) stored references organizations on delete cascade);
    insert into notes (id, body) values (1, '{"org": 1}'), (2, '{"org": 2}')`);
  const live = await l.client('live');
  const past = await l.content('past');
  await live.query(`delete from organizations where key = 'demo'; delete from audit`);
  const lost = await l.content('live');
  const plan = await l.plan();
  await l.apply(plan.file);
  same(await l.content('live'), past);
  await l.undo(`${plan.file}.undo`);
  same(await l.content('live'), lost);
});

test('a trigger changes rows of a table without a key – stops the whole', async () => {
  await using l =
    await lab(`create function shout() returns trigger language plpgsql as $$ begin new.what := upper(new.what); return new; end $$;
    create trigger shout before insert on log for each row execute function shout()`);
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo'`);
  const lost = await l.content('live');
  const plan = await l.plan();
  await assert.rejects(l.apply(plan.file, { triggers: 'fire' }), {
    code: 'PLAN_CHANGED',
    message: /4 rows of public.log are not what was written/,
  });
  same(await l.content('live'), lost);
});

test('a policy for a table that is not there – is refused', async () => {
  await using l = await lab();
  await assert.rejects(
    l.plan({ policies: { all: all(true, false, false), tables: { mesages: { insert: false } }, ...stop } }),
    { code: 'USAGE', message: /there is no table mesages/ },
  );
});

test('a foreign key that is not enforced – leads to what belongs, and is not checked', async () => {
  await using l =
    await lab(`create table loose (id int primary key, org int references organizations not enforced,
    conversation bigint references conversations not enforced); insert into loose values (1, 1, 999)`);
  const live = await l.client('live');
  await live.query(`delete from loose`);
  const plan = await l.plan();
  assert.deepEqual(plan.problems, []);
  await l.apply(plan.file);
  const { rows } = await live.query('select id from loose');
  assert.deepEqual(rows, [{ id: 1 }]);
});

test('locked by someone, a label renamed, a trigger that refuses – nothing is changed, and the error says what to do', async () => {
  await using l =
    await lab(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;
    create trigger refuse before insert on users for each row execute function refuse()`);
  const live = await l.client('live');
  await live.query(`update conversations set state = 'bad' where id = 2`);
  await l.quiet(await l.client('postgres'));
  const again = await l.client('live');
  await again.query(`delete from users where org = 1; update organizations set settings = '1' where id = 1`);
  const lost = await l.content('live');
  const plan = await l.plan({ policies: { all: all(true, true, false), ...stop } });
  await assert.rejects(l.apply(plan.file, { triggers: 'fire' }), {
    hint: /a trigger refused; --triggers off/,
  });
  await again.query('begin; lock organizations');
  await assert.rejects(l.apply(plan.file, { lockTimeoutMs: 200 }), { hint: /--lock-timeout/ });
  await again.query(`rollback; alter type mood rename value 'ok' to 'good'`);
  const renamed = await l.plan({ policies: { all: all(true, true, false), ...stop } });
  await assert.rejects(l.apply(renamed.file), { hint: /a renamed label of an enum/ });
  await again.query(`alter type mood rename value 'good' to 'ok'`);
  same(await l.content('live'), lost);
});

test('a published table without replica identity – the plan says that no undo can remove its rows', async () => {
  await using l = await lab('create publication everything for table log, users, events');
  const live = await l.client('live');
  await live.query(
    `drop publication everything; delete from organizations where key = 'demo'; create publication everything for table log, users, events`,
  );
  const plan = await l.plan();
  assert.deepEqual(
    plan.sideEffects.filter((text) => /REPLICA IDENTITY FULL/.test(text)).map((text) => text.split(':')[0]),
    ['public.log'],
  );
  await l.apply(plan.file);
  await assert.rejects(l.undo(`${plan.file}.undo`), { message: /does not have a replica identity/ });
  await live.query('alter table log replica identity full');
  assert.equal((await l.undo(`${plan.file}.undo`)).state, 'applied');
});

test('a foreign key over a period – what refers to any part of it belongs, and what covers it comes back', async () => {
  await using l = await lab(`create extension btree_gist;
    create table rooms (id int, valid daterange, org int references organizations on delete cascade, primary key (id, valid without overlaps));
    create table uses (id int primary key, room int, during daterange, foreign key (room, period during) references rooms (id, period valid));
    insert into rooms values (1, '[2020-01-01,2021-01-01)', 1), (1, '[2021-01-01,2022-01-01)', 1), (2, '[2020-01-01,2021-01-01)', 2);
    insert into uses values (1, 1, '[2020-06-01,2021-06-01)'), (2, 2, '[2020-06-01,2020-07-01)')`);
  const live = await l.client('live');
  const past = await l.content('past');
  await live.query(`delete from uses where id = 1; delete from rooms where id = 1 and valid @> date '2020-02-01';
    update rooms set valid = '[2021-01-01,2023-01-01)' where id = 1; insert into uses values (3, 1, '[2022-02-01,2022-03-01)')`);
  const lost = await l.content('live');
  const stopped = await l.plan({ policies: { all: all(true, true, false), ...stop } });
  await live.query(`delete from uses where id = 3`);
  const plan = await l.plan({ policies: { all: all(true, true, true), ...stop } });
  assert.deepEqual(plan.problems, []);
  await l.apply(plan.file);
  same(await l.content('live'), past);
  await l.undo(`${plan.file}.undo`);
  await live.query(`insert into uses values (3, 1, '[2022-02-01,2022-03-01)')`);
  same(await l.content('live'), lost);
  assert.equal(stopped.tables.find(({ table }) => table === 'public.uses')!.rows.added, 1);
});

test('rows that refer from inside an array or a JSON document, as declared – come back with what they refer to', async () => {
  await using l = await lab(`
    create table tags (id bigint primary key, org int not null references organizations on delete cascade);
    create table posts (id int primary key, tag_ids bigint[] not null);
    create table outbox (id int primary key, payload jsonb not null);
    insert into tags values (1, 1), (2, 1), (3, 2);
    insert into posts select g, array[g % 3 + 1, 77] from generate_series(1, 30) g;
    insert into outbox select g, jsonb_build_object('conversationId', g) from generate_series(1, 40) g;`);
  const references = [
    { from: 'posts', columns: ['tag_ids[]'], to: 'tags', toColumns: ['id'] },
    { from: 'outbox', columns: [`payload->>'conversationId'`], to: 'conversations', toColumns: ['id'] },
  ];
  const live = await l.client('live');
  const past = await l.content('past');
  await live.query(`delete from posts where not 3 = any (tag_ids); delete from outbox where (payload ->> 'conversationId')::int % 2 = 0;
    delete from organizations where key = 'demo'`);
  const lost = await l.content('live');
  const plan = await l.plan({ model: { references } });
  assert.deepEqual(plan.problems, []);
  await l.apply(plan.file);
  same(
    (await l.content('live')).filter((line) => !line.startsWith('public.audit')),
    past.filter((line) => !line.startsWith('public.audit')),
  );
  await l.undo(`${plan.file}.undo`);
  same(await l.content('live'), lost);
  for (const [columns, message] of [
    [['id[]'], /public.posts.id is integer: it has no id\[\]/],
    [[`tag_ids->>'x'`], /tag_ids is bigint\[\]: it has no tag_ids->>'x'/],
    [['tags[]'], /public.posts has no column tags\[\]/],
  ] as const)
    await assert.rejects(
      l.plan({ model: { references: [{ from: 'posts', columns, to: 'tags', toColumns: ['id'] }] } }),
      { code: 'CONFIG_INVALID', message },
    );
});

test('rows name large objects that were removed with them – the plan says in which column, and how many', async () => {
  await using l = await lab(`
    create domain picture as oid;
    create table files (id int primary key, org int references organizations on delete cascade, data oid, small picture, kind oid);
    insert into files select g, 1, lo_from_bytea(0, '\\x00'), case when g < 4 then lo_from_bytea(0, '\\x01') end, 'files'::regclass
      from generate_series(1, 20) g;`);
  const live = await l.client('live');
  await live.query('create table kept as select * from files; delete from files');
  const objects = ({ sideEffects }: { readonly sideEffects: readonly string[] }) =>
    sideEffects.filter((text) => text.includes('large objects'));
  assert.deepEqual(objects(await l.plan()), []);
  await live.query(
    'select lo_unlink(data) from kept where id <= 7; select lo_unlink(small) from kept where id = 2',
  );
  const plan = await l.plan();
  assert.deepEqual(
    objects(plan).map((text) => text.split(' that ')[0]),
    ['public.files.data: 7 large objects', 'public.files.small: 1 large objects'],
  );
  await l.apply(plan.file);
  const { rows } = await live.query('select count(*)::int as n from files join kept using (id, data)');
  assert.deepEqual(rows, [{ n: 20 }]);
});

test('unlogged tables, which a recovered server has empty – are not compared, and never said to have lost or gained rows', async () => {
  await using l = await lab(`
    create unlogged table sessions (id int primary key, org int references organizations on delete cascade);
    create unlogged table clicks (session int references sessions on delete cascade);
    insert into sessions select g, 1 + g % 2 from generate_series(1, 6) g;
    insert into clicks select 1 + g % 6 from generate_series(1, 12) g;`);
  const [past, live] = [await l.client('past'), await l.client('live')];
  await past.query('truncate sessions cascade');
  await live.query('delete from conversations where org = 1');
  const plan = await l.plan({ policies: { all: all(true, true, true), ...stop } });
  assert.deepEqual(plan.problems, []);
  assert.deepEqual(
    plan.tables.filter(({ table }) => /sessions|clicks/.test(table)),
    [],
  );
  assert.deepEqual(
    plan.sideEffects.filter((text) => /unlogged/.test(text)).map((text) => text.split(',')[0]),
    ['public.clicks is unlogged', 'public.sessions is unlogged'],
  );
  await l.apply(plan.file);
  const { rows } = await live.query(
    'select (select count(*)::int from sessions) s, (select count(*)::int from clicks) c',
  );
  assert.deepEqual(rows, [{ s: 6, c: 12 }]);
  await assert.rejects(l.plan({ root: { table: 'sessions', where: { id: '2' } } }), {
    code: 'USAGE',
    message: /sessions is unlogged/,
  });
});

test('columns and tables have other names, schemas or types now – the plan names both, and nothing is lost in silence', async () => {
  await using l = await lab(`create schema app;
    create table things (id int primary key, org int references organizations on delete cascade);
    create table parts (id int primary key, org int references organizations on delete cascade);
    create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    create table words (word text primary key, org int references organizations on delete cascade);
    insert into words values ('Demo', 1); insert into things values (1, 1); insert into parts values (1, 1);`);
  const live = await l.client('live');
  const lost = await l.content('live');
  await live.query(`alter table conversations rename title to heading; alter table users rename id to ident;
    alter table log set schema app; alter table events rename to happenings; alter table things alter id type text;
    alter table words alter word type text collate ci;
    alter table messages drop constraint messages_author_fkey;
    create table whole (like parts including all) partition by list (id); alter table whole attach partition parts default`);
  const plan = await l.plan();
  const problems = plan.problems.join('\n');
  for (const message of [
    /^public.conversations.title is called heading now: .* its values stay in the past$/m,
    /^public.users.id is called ident now: give it its old name back for the rescue$/m,
    /^public.log, whose rows may belong to .*, is called app.log now/m,
    /^public.events, whose rows .*, is called public.happenings now/m,
    /^public.words.word is compared by the collation public.ci now, and was by pg_catalog."default": /m,
    /^public.parts, whose rows .*, is a partition of another table now: detach it/m,
    /^public.things.id was integer and is text now$/m,
  ])
    assert.match(problems, message);
  assert.equal(plan.problems.length, 7);
  await live.query(`alter table organizations set schema app`);
  await assert.rejects(l.plan(), {
    code: 'USAGE',
    message: /^public.organizations is called app.organizations now$/,
  });
  await live.query(`alter table app.organizations set schema public; alter table app.log set schema public; alter table happenings rename to events;
    alter table things alter id type int using id::int; alter table conversations rename heading to title; alter table users rename ident to id;
    alter table words alter word type text; alter table whole detach partition parts`);
  assert.deepEqual((await l.plan()).problems, []);
  same(await l.content('live'), lost);
});
