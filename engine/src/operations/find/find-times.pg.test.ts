import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Fixture, makeFixture, query, startRestored, withClient } from '../../../test/backup-fixture.ts';
import { helvinoJson } from '../../../test/cli.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { silentProgress } from '../../base/progress.ts';
import { listLogNotes } from '../../repository/index.ts';
import { findRecovery } from '../restore/find-recovery.ts';
import { type FoundTransaction, findTransactions } from './find.ts';
import type { FindFilter } from './find-filter.ts';

const signal = new AbortController().signal;

function search(
  fixture: Fixture,
  filter: Partial<FindFilter>,
  { limit = 100, secret = false }: { limit?: number; secret?: boolean } = {},
) {
  return findTransactions({
    repository: fixture.repository,
    ...(secret ? { identities: fixture.identities } : {}),
    database: 'main',
    filter: { tables: [], drops: false, truncates: false, all: false, ...filter },
    limit,
    progress: silentProgress,
    signal,
  });
}

type Target = Parameters<typeof findRecovery>[0]['target'];

function recover(fixture: Fixture, target: Target) {
  const { repository, identities } = fixture;
  return findRecovery({ repository, identities, database: 'main', target, signal });
}

/** A transaction as the server knows it. */
interface Known {
  readonly xid: number;
  /** When it was committed: microseconds since 1970, and as the server writes it. */
  readonly time: number;
  readonly text: string;
}

async function known(server: TestServer, xid: string): Promise<Known> {
  const { rows } = await query<{ time: string; text: string }>(
    server,
    `select (extract(epoch from c) * 1000000)::bigint::text as time, c::text as text
     from pg_xact_commit_timestamp('${xid}') c`,
  );
  return { xid: Number(xid), time: Number(rows[0]!.time), text: rows[0]!.text };
}

const options = {
  major: 18,
  initdbArgs: ['--wal-segsize=1'],
  config: { track_commit_timestamp: 'on', autovacuum: 'off', timezone: 'UTC' },
} as const;

const begin = 'begin; select pg_current_xact_id()::text as xid';
const xidOf = (results: unknown) => (results as { rows: { xid: string }[] }[])[1]!.rows[0]!.xid;

/** Five transactions, of which the third began before all others; stored, with more than one index. */
async function streamFive(
  server: TestServer,
  fixture: Fixture,
): Promise<[Known, Known, Known, Known, Known]> {
  // Before any WAL that is stored.
  await query(server, 'create table t (n int)', 'select pg_switch_wal()', 'checkpoint');
  await using stream = await startWalStream(fixture, server);
  const xids: string[] = [];
  await withClient(server, async (long) => {
    const early = xidOf(await long.query(`${begin}; insert into t values (3)`));
    const commit = async (n: number) =>
      withClient(server, (client) => client.query(`${begin}; insert into t values (${n}); commit`));
    for (const n of [1, 2, 3, 4, 5]) {
      if (n === 3) await long.query('commit');
      xids.push(n === 3 ? early : xidOf(await commit(n)));
      if (n % 2 === 0) await query(server, 'select pg_switch_wal()');
      await stream.upToNow();
    }
  });
  await query(server, 'begin', 'insert into t values (6)', 'rollback');
  await stream.upToNow();
  return Promise.all(xids.map((xid) => known(server, xid))) as Promise<[Known, Known, Known, Known, Known]>;
}

test('a window of time – transactions by their commit to the microsecond, both ends included, by the index and by the WAL', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  const five = await streamFive(server, fixture);
  const [one, two, three, four, last] = five;
  const all = five.map(({ xid }) => xid);

  const check = async (secret: boolean) => {
    const found = async (filter: Partial<FindFilter>) => {
      const { transactions, notSearched } = await search(fixture, { tables: ['t'], ...filter }, { secret });
      assert.deepEqual(notSearched, []);
      return transactions.map(({ xid }) => xid);
    };
    const { transactions } = await search(fixture, { tables: ['t'] }, { secret });
    assert.deepEqual(
      transactions.map(({ xid, time }) => ({ xid, time })),
      five.map(({ xid, time }) => ({ xid, time })),
    );
    assert.deepEqual(await found({ since: one.time, until: last.time }), all);
    assert.deepEqual(await found({ since: two.time, until: four.time }), all.slice(1, 4));
    assert.deepEqual(await found({ since: two.time + 1, until: four.time - 1 }), [three.xid]);
    assert.deepEqual(await found({ since: three.time, until: three.time }), [three.xid]);
    assert.deepEqual(await found({ since: four.time }), all.slice(3));
    assert.deepEqual(await found({ until: two.time }), all.slice(0, 2));
    for (const nothing of [
      { since: two.time + 1, until: three.time - 1 },
      { since: last.time + 1 },
      { until: one.time - 1 },
      { since: four.time, until: two.time },
      { xid: three.xid, until: three.time - 1 },
      { xid: three.xid, since: three.time + 1 },
    ])
      assert.deepEqual(await found(nothing), [], JSON.stringify(nothing));
    assert.deepEqual(await found({ xid: three.xid, since: three.time, until: three.time }), [three.xid]);

    const limited = async (filter: Partial<FindFilter>) => {
      const result = await search(fixture, { tables: ['t'], ...filter }, { limit: 2, secret });
      return [result.transactions.map(({ xid }) => xid), result.more];
    };
    assert.deepEqual(await limited({ until: four.time }), [[three.xid, four.xid], true]);
    assert.deepEqual(await limited({ since: two.time, until: three.time }), [[two.xid, three.xid], false]);
  };
  await check(false);
  const notes = await listLogNotes(fixture.repository, 'main', 'index');
  assert.ok(notes.length > 2, 'the window goes over several indexes');
  for (const { name } of notes) await rm(join(fixture.root, name));
  await check(true);
});

const day = 24 * 3600_000;

test('--since and --until – the words of a day later, in its zone, and times to the microsecond', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  const five = await streamFive(server, fixture);
  const all = five.map(({ xid }) => xid);
  // In a zone where it is about noon: else midnight might come in the middle.
  const behind = new Date().getUTCHours() - 12;
  const preload = fileURLToPath(new URL('../../../test/clock-preload.ts', import.meta.url));
  const tomorrow = {
    TZ: `Etc/GMT${behind < 0 ? '-' : '+'}${Math.abs(behind)}`,
    HELVINO_TEST_SKEW: String(day),
    NODE_OPTIONS: `--import ${preload}`,
  };
  const find = async (...words: string[]) => {
    const place = ['--repository-path', fixture.root, '-d', 'main'];
    const answer = await helvinoJson(['find', ...place, '--table', 't', ...words], {
      cwd: fixture.home,
      env: { HELVINO_IDENTITY: fixture.identity, ...tomorrow },
    });
    assert.ok(answer.ok, JSON.stringify(answer));
    const transactions = answer.result?.transactions as { xid: number; time: string }[];
    assert.equal(answer.status, transactions.length > 0 ? 0 : 1);
    return transactions;
  };
  const windows: [string[], number[]][] = [
    [['--since', 'yesterday', '--until', 'today'], all],
    [['--since', 'yesterday', '--until', 'yesterday'], all],
    [['--since', 'today'], []],
    [['--since', '25 hours ago', '--until', '23 hours ago'], all],
    [['--since', '23 hours ago', '--until', 'now'], []],
    [['--since', five[1].text, '--until', five[3].text], all.slice(1, 4)],
  ];
  await Promise.all(
    windows.map(async ([words, expected]) => {
      const found = (await find(...words)).map(({ xid }) => xid);
      assert.deepEqual(found, expected, words.join(' '));
    }),
  );
  // What it prints may be used as it is.
  const [third] = await find('--xid', String(five[2].xid));
  assert.match(third?.time ?? '', /\.\d{6}Z$/);
  assert.deepEqual(
    (await find('--since', third!.time, '--until', third!.time)).map(({ xid }) => xid),
    [five[2].xid],
  );
});

/** A server with a table, a schema and a database that are dropped, each beside rows that stay. */
async function dropAll(server: TestServer, fixture: Fixture): Promise<void> {
  await query(
    server,
    'create database shop',
    'create table kept (n int)',
    'create table gone as select generate_series(1, 100) as n',
    'create schema old create table a (n int) create table b (n int)',
  );
  await withClient(
    server,
    (client) => client.query('create table orders as select generate_series(1, 50) as n'),
    'shop',
  );
  await using stream = await startWalStream(fixture, server);
  await fixture.takeBackup(server);
  await stream.upToNow();
  await query(
    server,
    'insert into kept values (1)',
    'drop table gone',
    'begin',
    'drop table kept',
    'rollback',
    'insert into kept values (2)',
    'drop schema old cascade',
    'insert into kept values (3)',
    'drop database shop',
    'insert into kept values (4)',
  );
  await stream.upToNow();
  await stream.end();
}

test('dropped: a table, a schema, a database – found by name and time; just before the table was dropped it is whole', async (t) => {
  await using server = await startTestServer({ ...options, templates: true });
  await using fixture = await makeFixture();
  await dropAll(server, fixture);
  const drops = (await search(fixture, { drops: true })).transactions;
  const named = ({ changes, droppedDatabases }: FoundTransaction) => [
    changes.flatMap((one) => (one.dropped ? `${one.database}.${one.schema}.${one.name}` : [])).sort(),
    droppedDatabases,
  ];
  assert.deepEqual(drops.map(named), [
    [['postgres.public.gone'], []],
    [['postgres.old.a', 'postgres.old.b'], []],
    [[], ['shop']],
  ]);
  const [table, schema, database] = drops as [FoundTransaction, FoundTransaction, FoundTransaction];
  for (const { xid, time } of drops) assert.equal((await known(server, String(xid))).time, time);
  const xids = async (filter: Partial<FindFilter>) =>
    (await search(fixture, { drops: true, ...filter })).transactions.map(({ xid }) => xid);
  assert.deepEqual(await xids({ tables: ['gone'] }), [table.xid]);
  assert.deepEqual(await xids({ tables: ['kept'] }), [], 'that was rolled back');
  for (const tables of [['orders'], ['shop.public.orders'], ['nowhere', 'ord*']])
    assert.deepEqual(await xids({ tables }), [database.xid], 'a table that went with its database');
  assert.deepEqual(await xids({ tables: ['orders'], drops: false }), [database.xid]);
  assert.deepEqual(await xids({ tables: ['orders'], drops: false, deletesOver: 10 }), []);
  assert.deepEqual(await xids({ since: database.time }), [database.xid]);
  assert.deepEqual(await xids({ since: database.time + 1 }), []);
  assert.deepEqual(await xids({ until: database.time - 1 }), [table.xid, schema.xid]);

  const rows = (await search(fixture, { tables: ['kept'] })).transactions.filter(
    ({ changes }) => changes[0]?.inserted === 1,
  );
  assert.equal(rows.length, 4);
  for (const [i, drop] of drops.entries()) {
    const xid = { kind: 'xid', xid: drop.xid } as const;
    const { target } = await recover(fixture, { ...xid, side: 'before' });
    assert.ok(target.end <= drop.lsn && target.end >= rows[i]!.end, `${target.end} of ${drop.lsn}`);
    assert.equal((await recover(fixture, xid)).target.end, drop.end);
    assert.ok(drop.end <= rows[i + 1]!.lsn);
  }
  const startAt = async (target: Target) => {
    const recovery = await recover(fixture, target);
    const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
    return startRestored(directory, 18);
  };
  {
    await using restored = await startAt({ kind: 'xid', xid: table.xid, side: 'before' });
    const counts = 'select (select count(*)::int from gone) as gone, (select array_agg(n) from kept) as kept';
    assert.deepEqual((await query(restored, counts)).rows, [{ gone: 100, kept: [1] }]);
  }
  await t.test('just before the database was dropped – it is whole', async () => {
    for (const target of [
      { kind: 'xid', xid: database.xid, side: 'before' },
      { kind: 'time', time: BigInt(database.time - 1) },
    ] as const) {
      await using restored = await startAt(target);
      const count = 'select count(*)::int as n from orders';
      const { rows: there } = await withClient(restored, (client) => client.query(count), 'shop');
      assert.deepEqual(there, [{ n: 50 }]);
    }
  });
});
