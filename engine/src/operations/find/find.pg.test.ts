import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type Fixture, makeFixture } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { resolveConnection } from '../../postgres/index.ts';
import { listLogNotes, openLogNote, putLogNote } from '../../repository/index.ts';
import { streamWal } from '../wal/stream.ts';
import { findTransactions } from './find.ts';
import type { FindFilter } from './find-filter.ts';

const everything: FindFilter = { tables: [], drops: false, truncates: false, all: false };
const deletes: FindFilter = { ...everything, deletesOver: 0 };

async function connect(server: TestServer): Promise<pg.Client> {
  const client = new pg.Client(server.url);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function stream(fixture: Fixture, server: TestServer) {
  const stop = new AbortController();
  const stored = { position: 0n };
  const done = streamWal({
    repository: fixture.repository,
    recipients: [fixture.recipient],
    database: 'db',
    connection: await resolveConnection({ url: server.url }, {}),
    slot: 'helvino_find',
    intervalMs: 50,
    clock: systemClock,
    progress: silentProgress,
    signal: AbortSignal.any([stop.signal, fixture.ended]),
    onStored: ({ durable }) => {
      stored.position = durable;
    },
  });
  done.catch(() => undefined);
  return {
    /** Everything that is flushed now is stored. */
    async reach(client: pg.Client): Promise<void> {
      const { rows } = await client.query(`select (pg_current_wal_flush_lsn() - '0/0')::text as lsn`);
      while (stored.position < BigInt(rows[0].lsn)) await sleep(20);
    },
    async stop(): Promise<void> {
      stop.abort();
      await done;
    },
  };
}

function search(fixture: Fixture, filter: FindFilter, { secret = false, limit = 1000 } = {}) {
  return findTransactions({
    repository: fixture.repository,
    ...(secret ? { identities: fixture.identities } : {}),
    database: 'db',
    filter,
    limit,
    progress: silentProgress,
    signal: new AbortController().signal,
  });
}

const options = {
  major: 18,
  initdbArgs: ['--wal-segsize=1'],
  config: { fsync: 'off', autovacuum: 'off' },
} as const;

test('rows deleted, tables dropped and truncated while streaming – found with names, also those made meanwhile', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  const client = await connect(server);
  await client.query('create table conversations as select g as id from generate_series(1, 5000) g');
  await fixture.takeBackup(server);
  const streaming = await stream(fixture, server);
  await streaming.reach(client);
  await client.query('create table late as select g as id from generate_series(1, 10) g');
  await client.query('delete from conversations where id <= 1200');
  // More than a segment: parts of the index give way to whole ones.
  await client.query(
    `create table bulk as select g, repeat(md5(g::text), 30) as body from generate_series(1, 3000) g`,
  );
  await client.query('truncate bulk');
  await client.query('drop table late');
  await client.query('update conversations set id = id where id > 4900');
  await streaming.reach(client);
  await streaming.stop();

  const { transactions, notSearched } = await search(fixture, { ...deletes, deletesOver: 1000 });
  assert.deepEqual(notSearched, []);
  assert.equal(transactions.length, 1);
  const [change] = transactions[0]!.changes;
  assert.deepEqual(
    [change?.database, change?.schema, change?.name, change?.deleted],
    ['postgres', 'public', 'conversations', 1200],
  );
  const gone = await search(fixture, { ...everything, drops: true, truncates: true });
  assert.deepEqual(
    gone.transactions.map(({ changes }) => changes.map((c) => [c.name, c.dropped, c.truncated])),
    [[['bulk', false, true]], [['late', true, false]]],
  );
  const named = await search(fixture, { ...everything, tables: ['public.conversations'] });
  assert.deepEqual(
    named.transactions.map(({ changes }) => [changes[0]!.deleted, changes[0]!.updated]),
    [
      [1200, 0],
      [0, 100],
    ],
  );
  assert.equal((await search(fixture, everything, { limit: 2 })).more, true);
  await client.end();
});

test('a partitioned table – stands for its partitions at any depth, also those that are gone or detached by now', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  const client = await connect(server);
  await client.query(`create table visits (id int, day int) partition by range (day);
    create table visits_1 partition of visits for values from (0) to (10);
    create table visits_2 partition of visits for values from (10) to (20) partition by range (day);
    create table deep partition of visits_2 for values from (10) to (20);
    create table visits_other (id int); insert into visits_other values (1);
    create table family (id int); create table child () inherits (family);
    insert into visits select g, g % 20 from generate_series(1, 100) g; insert into child values (1)`);
  await fixture.takeBackup(server);
  const streaming = await stream(fixture, server);
  await streaming.reach(client);
  await client.query('delete from visits where day = 3');
  await client.query('delete from visits where day = 13');
  await client.query('delete from visits_other');
  await client.query('delete from family');
  await client.query('drop table visits_1');
  await client.query('alter table visits detach partition visits_2');
  await streaming.reach(client);
  await streaming.stop();
  await fixture.takeBackup(server);
  await client.end();

  const names = async (filter: Partial<FindFilter>) => {
    const { transactions } = await search(fixture, { ...everything, ...filter });
    return transactions.flatMap(({ changes }) => changes.map(({ name }) => name)).sort();
  };
  assert.deepEqual(await names({ tables: ['visits'], deletesOver: 0 }), ['deep', 'visits_1']);
  assert.deepEqual(await names({ tables: ['public.visits_2'], deletesOver: 0 }), ['deep']);
  assert.deepEqual(await names({ tables: ['visits'], drops: true }), ['visits_1']);
  assert.deepEqual(await names({ tables: ['family'] }), ['child']);
  assert.deepEqual(await names({ tables: ['visits_other'] }), ['visits_other']);
  assert.deepEqual(await names({ tables: ['visit'] }), []);
});

test('the index is gone, or the stream was killed – with the identity the same is found in the WAL itself', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  const client = await connect(server);
  await client.query('create table t as select g as id from generate_series(1, 5000) g');
  await fixture.takeBackup(server);
  const streaming = await stream(fixture, server);
  await streaming.reach(client);
  for (let i = 0; i < 5; i++) {
    await client.query(`delete from t where id between ${i * 100} and ${i * 100 + 20 + i}`);
    await client.query(
      `create table fill${i} as select repeat('x', 500) as body from generate_series(1, 1500)`,
    );
    await streaming.reach(client);
  }
  await streaming.stop();
  const counts = (result: Awaited<ReturnType<typeof search>>) =>
    result.transactions.map(({ xid, changes }) => [xid, changes[0]!.name, changes[0]!.deleted]);
  const before = await search(fixture, deletes);
  assert.deepEqual(
    counts(before).map(([, name, rows]) => [name, rows]),
    // No row has the number 0.
    [
      ['t', 20],
      ['t', 22],
      ['t', 23],
      ['t', 24],
      ['t', 25],
    ],
  );
  const notes = await listLogNotes(fixture.repository, 'db', 'index');
  for (const note of notes.slice(1, -1)) await rm(join(fixture.root, note.name));
  const less = await search(fixture, deletes);
  assert.ok(less.notSearched.length > 0);
  assert.match(less.notSearched[0]!.why, /no index/);
  assert.ok(less.transactions.length < 5);
  assert.deepEqual(counts(await search(fixture, deletes, { secret: true })), counts(before));
  for (const note of await listLogNotes(fixture.repository, 'db', 'index'))
    await rm(join(fixture.root, note.name));
  assert.deepEqual(counts(await search(fixture, deletes, { secret: true })), counts(before));
  await client.end();
});

test('the stream stops and goes on within a transaction – its rows are counted whole', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  const client = await connect(server);
  const other = await connect(server);
  await client.query('create table t as select g as id from generate_series(1, 1000) g');
  const first = await stream(fixture, server);
  await first.reach(client);
  await other.query('checkpoint');
  await client.query('begin');
  await client.query('delete from t where id <= 300');
  await other.query('create table between as select 1 as one');
  await first.reach(other);
  await first.stop();
  await client.query('delete from t where id <= 500');
  const second = await stream(fixture, server);
  await client.query('savepoint s');
  await client.query('delete from t');
  await client.query('rollback to s');
  await client.query('commit');
  await second.reach(client);
  await second.stop();
  const { transactions } = await search(fixture, deletes);
  assert.deepEqual(
    transactions.map(({ partial, changes }) => [partial, changes[0]!.name, changes[0]!.deleted]),
    [[false, 't', 500]],
  );
  await Promise.all([client.end(), other.end()]);
});

test('pg_class is rewritten while streaming – what is dropped, truncated and made after it is told as it is', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  const client = await connect(server);
  for (const name of ['dropped', 'emptied', 'kept'])
    await client.query(`create table ${name} as select g as id from generate_series(1, 100) g`);
  const streaming = await stream(fixture, server);
  await streaming.reach(client);
  const { rows } = await client.query('select pg_current_xact_id()::text as xid');
  await client.query('vacuum full pg_class');
  await client.query('create table made as select g as id from generate_series(1, 3) g');
  await client.query('drop table dropped');
  await client.query('truncate emptied');
  await client.query('delete from kept where id <= 40');
  // A schema that no catalog snapshot knew.
  await client.query('create schema fresh create table fresh.deep (id int)');
  await streaming.reach(client);
  await streaming.stop();
  const { transactions } = await search(fixture, everything);
  assert.deepEqual(
    transactions
      .filter(({ xid }) => xid > Number(rows[0].xid))
      .map(({ changes }) =>
        changes.map((c) => [c.name, c.inserted, c.deleted, c.created, c.dropped, c.truncated]),
      ),
    [
      [['made', 3, 0, true, false, false]],
      [['dropped', 0, 0, false, true, false]],
      [['emptied', 0, 0, false, false, true]],
      [['kept', 0, 40, false, false, false]],
      [['deep', 0, 0, true, false, false]],
    ],
  );
  const named = await search(fixture, { ...everything, tables: ['fresh.deep'] });
  assert.equal(named.transactions.length, 1);
  // A new timeline's first segment repeats what its parent's holds before the fork.
  for (const note of await listLogNotes(fixture.repository, 'db', 'index')) {
    const bytes = await openLogNote(fixture.repository, note.name);
    await putLogNote(fixture.repository, { ...note, database: 'db', kind: 'index', line: 2, bytes });
  }
  assert.equal((await search(fixture, everything)).transactions.length, transactions.length);
  for (const note of await listLogNotes(fixture.repository, 'db', 'index'))
    if (note.line === 2) await rm(join(fixture.root, note.name));
  // The stream looks at the names when it begins again: then the schema has its name.
  const again = await stream(fixture, server);
  await again.reach(client);
  await again.stop();
  const [later] = (await search(fixture, { ...everything, tables: ['fresh.deep'] })).transactions;
  assert.equal(later?.changes[0]?.schema, 'fresh');
  await client.end();
});

test('the catalog of one database is locked – WAL is stored all the same, without the names of its tables', {
  timeout: 300_000,
}, async () => {
  await using server = await startTestServer({ ...options, templates: true });
  await using fixture = await makeFixture();
  const client = await connect(server);
  await client.query('create database locked');
  await client.query('create table t as select 1 as id');
  const holder = new pg.Client(server.url.replace(/postgres$/, 'locked'));
  await holder.connect();
  await holder.query('begin; lock pg_class in access exclusive mode');
  const streaming = await stream(fixture, server);
  await client.query('delete from t');
  await streaming.reach(client);
  await holder.query('rollback');
  await streaming.stop();
  const { transactions } = await search(fixture, deletes);
  assert.deepEqual(
    transactions.map(({ changes }) => changes[0]!.name),
    ['t'],
  );
  await Promise.all([client.end(), holder.end()]);
});
