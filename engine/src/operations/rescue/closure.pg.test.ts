import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { startTestServer, testMajors } from '../../../test/pg-server.ts';
import { closure, readSchema } from './index.ts';

const schema = `
  create domain slug as text check (value ~ '^[a-z]+$') not null;
  create table organizations (id int generated always as identity primary key, key slug unique, parent int references organizations);
  create table users (id uuid primary key default gen_random_uuid(), org int not null references organizations, email text unique);
  create table "odd ""name" (a int, "B c" text, primary key ("B c", a), org int references organizations (id));
  create table leaf (x int, y text, note text, foreign key (y, x) references "odd ""name" ("B c", a));
  create table tags (id int primary key, name text);
  create table events (id bigint generated always as identity, at date, org int references organizations, tag int references tags,
    primary key (id, at)) partition by range (at);
  create table events_1 partition of events for values from ('2020-01-01') to ('2021-01-01');
  create table events_2 partition of events for values from ('2021-01-01') to ('2022-01-01');
  create table a (id int primary key, b int);
  create table b (id int primary key, a int references a);
  alter table a add foreign key (b) references b deferrable;
  alter table a add column org int references organizations;
  create table notes (id int primary key, subject_type text, subject_id text);
  create table posts (id int primary key, user_ids uuid[]);
  create table labels (name text, ids bigint[] not null default '{}');
  create table jobs (id int primary key, payload jsonb, old json);
  insert into organizations (key, parent) values ('demo', null), ('other', null), ('child', 1), ('grand', 3);
  insert into users (org, email) select 1 + g % 4, 'u' || g from generate_series(1, 40) g;
  insert into "odd ""name" select g, 'k' || g, 1 + g % 2 from generate_series(1, 10) g;
  insert into leaf select 1 + g % 10, 'k' || (1 + g % 10) from generate_series(1, 30) g;
  insert into tags select g, 't' from generate_series(1, 5) g;
  insert into events (at, org, tag) select date '2020-06-01' + g * 300, 1 + g % 2, 1 from generate_series(0, 1) g;
  insert into a values (1, null, 1), (2, null, 2), (3, null, null);
  insert into b values (1, 1), (2, 2), (3, 3);
  update a set b = 4 - id where id <> 2;
  insert into notes values (1, 'user', (select id::text from users where email = 'u4')), (2, 'user', (select id::text from users where email = 'u1')), (3, 'org', '1');
  insert into posts select 1, array_agg(id) || array_agg(id) from users where org = 1;
  insert into posts select 2, array[(select id from users where email = 'u1'), null];
  insert into posts values (3, null), (4, '{}'), (5, array[array[gen_random_uuid()], array[(select id from users where email = 'u4')]]);
  insert into labels values ('mine', '{1,2}'), ('mine', '{1,2}'), ('theirs', '{2}'), ('of a child', '{9,3}'), ('nobody''s', '{}');
  insert into jobs values (1, '{"for": {"it''s": [{"id": 9}, {"id": 1}]}}'), (2, '{"for": {"it''s": {"id": 1}}}'), (3, '{"for": {"it''s": [{"id": 2}, 1]}}'),
    (4, null), (5, '1'), (6, '{"job": "1"}'), (7, '{"job": 5}'), (8, '{"job": 8}');
  insert into jobs values (9, null, '{"x": [7, "8"]}'), (10, null, '{"x": 1}'), (11, null, '{"x": [null, 1]}'), (12, null, '{"x": [{"job": 1}, 0.5]}');
`;

for (const major of testMajors)
  test(`closure of one root, PostgreSQL ${major} – children, cycles, partitions, odd names, declared references; parents only where they are referred to`, async () => {
    await using server = await startTestServer({ major });
    const client = new pg.Client(server.url);
    await client.connect();
    try {
      await client.query(schema);
      const model = await readSchema(client, {
        references: [
          {
            from: 'notes',
            columns: ['subject_id'],
            to: 'users',
            toColumns: ['id'],
            when: { subject_type: 'user' },
          },
          { from: 'posts', columns: ['user_ids[]'], to: 'users', toColumns: ['id'] },
          { from: 'labels', columns: ['ids[]'], to: 'organizations', toColumns: ['id'] },
          {
            from: 'jobs',
            columns: [`payload->'for'->'it''s'[]->>'id'`],
            to: 'organizations',
            toColumns: ['id'],
          },
          { from: 'jobs', columns: [`payload ->> 'job'`], to: 'jobs', toColumns: ['id'] },
          { from: 'jobs', columns: [`"old"->'x'[]`], to: 'jobs', toColumns: ['id'] },
        ],
      });
      assert.equal(model.tables.has('"public"."events_1"'), false);
      assert.deepEqual(model.tables.get('"public"."odd ""name"')!.key, ['B c', 'a']);
      assert.equal(model.tables.get('"public"."leaf"')!.key, undefined);
      assert.equal(model.tables.get('"public"."organizations"')!.columns[1]!.base, 'text');
      await client.query('begin isolation level repeatable read');
      const result = await closure(client, model, {
        root: { table: 'organizations', where: { key: 'demo' } },
        signal: new AbortController().signal,
      });
      assert.equal(result.roots, 1);
      const counts = async (prefix: string, ids: readonly string[]) => {
        const found: Record<string, number> = {};
        for (const id of ids) {
          const { rows } = await client.query(
            `select count(*)::int as n from hv_${prefix}_${result.numbers.get(id)}`,
          );
          found[model.tables.get(id)!.name] = rows[0].n;
        }
        return found;
      };
      assert.deepEqual(await counts('c', result.down), {
        a: 2,
        b: 2,
        events: 1,
        // 1 by its document; 6, 11 refer to it.
        jobs: 3,
        labels: 3,
        leaf: 15,
        notes: 1,
        'odd "name': 5,
        organizations: 3,
        posts: 2,
        users: 30,
      });
      assert.deepEqual(await counts('p', result.all), {
        a: 0,
        b: 0,
        events: 0,
        jobs: 0,
        labels: 0,
        leaf: 0,
        notes: 0,
        'odd "name': 0,
        organizations: 0,
        posts: 0,
        tags: 1,
        users: 0,
      });
    } finally {
      await client.end();
    }
  });
