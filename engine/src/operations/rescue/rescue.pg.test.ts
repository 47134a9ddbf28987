import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { later, makeLab, same } from './testing/rescue-lab.ts';

let server: TestServer;
const lab = (more?: string) => makeLab(server, more);

before(async () => {
  server = await startTestServer({ templates: true, major: 18 });
});

after(() => server[Symbol.asyncDispose]());

test('a tenant deleted – all its rows come back as they were, work of others stays, undo and redo put back every byte', async () => {
  await using l = await lab();
  const live = await l.client('live');
  const past = await l.content('past');
  await live.query(`delete from organizations where key = 'demo'`);
  await live.query(`insert into conversations (org, title) values (2, 'later')`);
  await live.query(`delete from audit`);
  const accident = await l.content('live');
  const plan = await l.plan();
  assert.deepEqual(plan.problems, []);
  const byTable = Object.fromEntries(plan.tables.map((table) => [table.table, table]));
  assert.equal(byTable['public.messages']!.insert, 100);
  assert.equal(byTable['public.log']!.insert, 4);
  assert.equal(byTable['public.log']!.keyed, false);
  assert.equal(byTable['public.events']!.rows.missing, 5);
  assert.equal((await stat(plan.file)).mode & 0o777, 0o600);
  assert.match(plan.sideEffects.join('\n'), /audit_message .* do not fire|do not fire.*audit_message/);

  const rehearsal = await l.apply(plan.file, { dryRun: true });
  assert.equal(rehearsal.state, 'dry-run');
  same(await l.content('live'), accident);
  assert.deepEqual(await readdir(l.folder), ['1.plan']);

  const applied = await l.apply(plan.file);
  assert.equal(applied.state, 'applied');
  assert.equal(applied.triggers, 'off');
  const rescued = await l.content('live');
  same(rescued, [...past, later]);
  const again = await l.apply(plan.file);
  assert.equal(again.state, 'nothing-to-do');
  assert.deepEqual(again.warnings, ['an earlier run of this was committed']);
  assert.equal(again.undoFile, `${plan.file}.undo`);

  const undone = await l.undo(`${plan.file}.undo`);
  assert.equal(undone.state, 'applied');
  same(await l.content('live'), accident);
  assert.equal((await l.undo(`${plan.file}.undo`)).state, 'nothing-to-do');
  await l.undo(`${plan.file}.undo.redo`);
  same(await l.content('live'), rescued);
});

test('rows deleted, changed, exchanged, moved and added – with all policies all is as before, but for the work of others; undo puts back every byte', async () => {
  await using l = await lab();
  const live = await l.client('live');
  const past = await l.content('past');
  await live.query(`
    delete from conversations where id in (2, 4);
    update messages set body = 'changed', raw = null where conversation = 6 and n = 1;
    update conversations set org = 2 where id = 8;
    update conversations set org = 1, title = 'taken' where id = 9;
    delete from log where ctid in (select ctid from log where org = 1 limit 2);
    insert into log values (1, 'new'), (1, 'new');
    update users set email = 'x' where email = 'u2';
    update users set email = 'u2' where email = 'u4';
    update users set email = 'u4' where email = 'x';
    insert into users (org, email) values (1, 'new');
    insert into events (at, org) values ('2021-06-06', 1);
    insert into messages (conversation, n, body) values (6, 6, 'new');
    delete from audit;
    insert into conversations (org, title) values (2, 'later')`);
  const accident = await l.content('live');
  const full = { insert: true, revert: true, remove: true };
  const plan = await l.plan({ policies: { all: full, onConflict: 'stop', onSchemaChange: 'stop' } });
  const counts = Object.fromEntries(
    plan.tables.map(({ table, insert, revert, remove }) => [
      table.replace('public.', ''),
      [insert, revert, remove],
    ]),
  );
  assert.deepEqual(counts, {
    organizations: [0, 0, 0],
    users: [0, 2, 1],
    log: [2, 0, 2],
    events: [0, 0, 1],
    conversations: [2, 2, 0],
    messages: [10, 1, 1],
  });
  await l.apply(plan.file);
  same(await l.content('live'), [...past, later]);
  await l.undo(`${plan.file}.undo`);
  same(await l.content('live'), accident);
});

test('the state at the accident is there – what was done since stays, what the accident did is put back', async () => {
  await using l = await lab();
  const live = await l.client('live');
  const admin = await l.client('postgres');
  await live.query(`
    delete from conversations where id = 2;
    update messages set body = 'broken' where conversation in (4, 6);
    insert into log values (1, 'by the accident')`);
  await l.quiet(admin);
  await admin.query(`create database accident template ${l.database('live')}`);
  const since = await l.client('live');
  await since.query(`
    delete from conversations where id = 10;
    update messages set body = 'since' where conversation = 8;
    update messages set body = 'mended' where conversation = 6;
    insert into log values (1, 'since')`);
  const plan = await l.plan({
    accident: await l.client('accident'),
    policies: {
      all: { insert: true, revert: true, remove: true },
      onConflict: 'stop',
      onSchemaChange: 'stop',
    },
  });
  const rows = Object.fromEntries(plan.tables.map((one) => [one.table.replace('public.', ''), one.rows]));
  assert.deepEqual(rows.conversations, {
    equal: 18,
    missing: 1,
    missingSince: 1,
    changed: 0,
    changedSince: 0,
    changedBoth: 0,
    added: 0,
    addedSince: 0,
  });
  assert.deepEqual(rows.messages, {
    equal: 75,
    missing: 5,
    missingSince: 5,
    changed: 5,
    changedSince: 5,
    changedBoth: 5,
    added: 0,
    addedSince: 0,
  });
  assert.deepEqual([rows.log!.added, rows.log!.addedSince], [1, 1]);
  await l.apply(plan.file);
  const after = await (await l.client('live')).query(
    `select (select string_agg(distinct body, ',') from messages where body !~ 'line') as bodies,
       (select string_agg(what, ',') from log where what <> 'same') as log,
       (select count(*)::int from conversations where id in (2, 10)) as conversations`,
  );
  assert.deepEqual(after.rows, [{ bodies: 'mended,since', log: 'since', conversations: 1 }]);
});

test('a unique value that someone else has now – stops, or the row and all that refers to it stay away, or the other row goes', async () => {
  await using l = await lab();
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo';
    insert into organizations (key) values ('demo');`);
  const stopped = await l.plan();
  assert.equal(stopped.conflicts.length, 1);
  assert.deepEqual(stopped.conflicts[0]!.samples, [{ before: 'id=1', now: 'id=3' }]);
  await assert.rejects(l.apply(stopped.file), { code: 'PLAN_INVALID', message: /organizations_key_key/ });

  const all = { insert: true, revert: false, remove: false };
  const skipped = await l.plan({ policies: { all, onConflict: 'skip', onSchemaChange: 'stop' } });
  assert.deepEqual(skipped.problems, []);
  assert.equal(
    skipped.tables.reduce((sum, { insert }) => sum + insert, 0),
    0,
  );
  assert.equal(skipped.tables.find(({ table }) => table === 'public.messages')!.skipped, 100);

  const replaced = await l.plan({ policies: { all, onConflict: 'replace', onSchemaChange: 'stop' } });
  await l.apply(replaced.file);
  const { rows } = await live.query('select id, key from organizations order by id');
  assert.deepEqual(rows, [
    { id: 1, key: 'demo' },
    { id: 2, key: 'other' },
  ]);
});

test('what rows refer to was deleted by others – comes back with them; what refers to removed rows stops the undo', async () => {
  await using l =
    await lab(`create table plans (id int primary key, name text unique); insert into plans values (1, 'free');
    alter table organizations add plan int references plans default 1; update organizations set plan = 1 where key = 'demo'; update organizations set plan = null where key = 'other';`);
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo'; delete from plans`);
  const plan = await l.plan();
  assert.deepEqual(
    plan.tables.filter(({ parents }) => parents > 0).map(({ table, parents }) => [table, parents]),
    [['public.plans', 1]],
  );
  await l.apply(plan.file);
  const after = await l.content('live');
  await live.query(`insert into conversations (org, title) values (1, 'new work')`);
  await assert.rejects(l.undo(`${plan.file}.undo`), {
    code: 'PLAN_CHANGED',
    message: /1 rows of public.conversations would refer/,
  });
  await live.query(
    `delete from conversations where title = 'new work'; update users set email = 'moved' where email = 'u2'`,
  );
  await assert.rejects(l.undo(`${plan.file}.undo`), { code: 'PLAN_CHANGED', message: /1 of public.users/ });
  await live.query(`update users set email = 'u2' where email = 'moved'`);
  same(await l.content('live'), after);
});

test('rows changed between plan and apply – stop it, or are left alone', async () => {
  await using l = await lab();
  const live = await l.client('live');
  await live.query(
    `update messages set body = 'bad' where conversation = 2; delete from conversations where id = 4`,
  );
  const plan = await l.plan({
    policies: {
      all: { insert: true, revert: true, remove: false },
      onConflict: 'stop',
      onSchemaChange: 'stop',
    },
  });
  await live.query(
    `update messages set body = 'newer' where conversation = 2 and n = 3; insert into conversations values (4, 1, 'back')`,
  );
  const before = await l.content('live');
  await assert.rejects(l.apply(plan.file), {
    code: 'PLAN_CHANGED',
    message: /1 of public.conversations \(id=4\), 1 of public.messages \(conversation=2, n=3\)/,
  });
  same(await l.content('live'), before);
  const applied = await l.apply(plan.file, { onMoved: 'skip' });
  assert.deepEqual(
    applied.tables.map(({ table, inserted, reverted, moved }) => [table, inserted, reverted, moved]),
    [
      ['public.conversations', 0, 0, 1],
      ['public.messages', 5, 4, 1],
    ],
  );
});

test('a plan by a role that only reads, applied by one that may not turn triggers off – refuses, or lets them fire and says so; foreign keys order the rows', async () => {
  await using l = await lab(`create role app login; create role reader login in role pg_read_all_data;
    create table a (id int primary key, org int references organizations on delete cascade, b int);
    create table b (id int primary key, a int not null references a on delete cascade);
    alter table a add foreign key (b) references b;
    insert into a values (1, 1, null); insert into b values (1, 1); update a set b = 1;
    grant all on all tables in schema public to app; grant all on all sequences in schema public to app;`);
  const live = await l.client('live');
  await live.query(`update a set b = null; delete from organizations where key = 'demo'; delete from audit`);
  const plan = await l.plan({ now: await l.client('live', 'reader') });
  await assert.rejects(l.apply(plan.file, { now: await l.client('live', 'app') }), {
    code: 'SERVER_AUTH',
    message: /public.messages have some/,
  });
  const applied = await l.apply(plan.file, { now: await l.client('live', 'app'), triggers: 'fire' });
  assert.equal(applied.triggers, 'fire');
  const { rows } = await live.query(
    `select (select count(*)::int from audit) as audit, (select b from a) as b, (select count(*)::int from messages) as messages`,
  );
  assert.deepEqual(rows, [{ audit: 100, b: 1, messages: 200 }]);
});

test('columns added and dropped since, a table gone, sequences behind – stop by default, or are said and done', async () => {
  await using l = await lab();
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo';
    alter table conversations add note text default 'none'; alter table conversations drop title;
    alter table conversations alter id type bigint; select setval('conversations_id_seq', 1)`);
  const stopped = await l.plan();
  assert.equal(stopped.problems.length, 2);
  const plan = await l.plan({
    policies: {
      all: { insert: true, revert: false, remove: false },
      onConflict: 'stop',
      onSchemaChange: 'default',
    },
  });
  assert.deepEqual(plan.problems, []);
  const applied = await l.apply(plan.file);
  assert.deepEqual(applied.sequences, ['public.conversations_id_seq']);
  const { rows } = await live.query(
    `select distinct note from conversations union all select nextval('conversations_id_seq')::text order by 1`,
  );
  assert.deepEqual(rows, [{ note: '41' }, { note: 'none' }]);
  await live.query(`update conversations set note = 'seen' where id = 40`);
  await assert.rejects(l.undo(`${plan.file}.undo`), { code: 'PLAN_CHANGED' });
  await live.query(`update conversations set note = 'none' where id = 40`);
  assert.equal((await l.undo(`${plan.file}.undo`)).state, 'applied');
});
