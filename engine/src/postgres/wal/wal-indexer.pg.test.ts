import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { packagedServer, startTestServer, type TestServer, testMajors } from '../../../test/pg-server.ts';
import { type CatalogSnapshot, takeCatalogSnapshot } from '../catalog-snapshot.ts';
import { decodeLogIndex, encodeLogIndex, type IndexedTransaction, type IndexState } from './log-index.ts';
import { WalIndexer } from './wal-indexer.ts';

const segmentSize = 1 << 20;

/** `i` inserted, `u` updated, `d` deleted, then what happened to the table. */
type Truth = Map<string, string>;

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Runs statements in one transaction and gives its number. */
async function transaction(client: pg.Client, statements: readonly string[]): Promise<number> {
  await client.query('begin');
  for (const statement of statements) await client.query(statement);
  const { rows } = await client.query('select pg_current_xact_id()::text as xid');
  await client.query('commit');
  return Number(rows[0].xid);
}

const compression = { 14: 'on', 15: 'off', 16: 'pglz', 17: 'off', 18: 'pglz' } as const;

const setUp = [
  `create table t (id int primary key, n int, body text) with (fillfactor = 70)`,
  `create index on t (n)`,
  `create table big (id int primary key, body text)`,
  `alter table big alter body set storage external`,
  `create table part (id int, region text) partition by list (region)`,
  `create table part_a partition of part for values in ('a')`,
  `create table part_b partition of part for values in ('b')`,
  `create table gone (id int primary key, body text)`,
  `create table emptied (id int primary key, body text)`,
  `create table emptied_too (id int)`,
  `create table altered (id int primary key, n int)`,
  `create schema other`,
  `create table other.first (id int)`,
  `create table other.second (id int primary key, body text)`,
  `insert into t select g, g, md5(g::text) from generate_series(1, 1000) g`,
  `insert into gone select g, 'x' from generate_series(1, 50) g`,
  `insert into emptied select g, 'x' from generate_series(1, 60) g`,
  `insert into altered select g, g from generate_series(1, 70) g`,
  `insert into other.second select g, 'x' from generate_series(1, 80) g`,
  `create materialized view mv as select n % 10 as k, count(*) from t group by 1`,
];

const long = `(select string_agg(md5(g::text || i::text), '') from generate_series(1, 300) i)`;

/** Each line: a transaction, and what it did. */
const cases: readonly { readonly sql: readonly string[]; readonly truth: Record<string, string> }[] = [
  {
    sql: [`insert into t select g, g, 'new' from generate_series(2001, 2300) g`],
    truth: { 'public.t': '300i' },
  },
  { sql: [`copy t (id, n) from program 'seq -f "%.0f	1" 5001 6000'`], truth: { 'public.t': '1000i' } },
  { sql: [`update t set body = 'hot' where id <= 40`], truth: { 'public.t': '40u' } },
  { sql: [`update t set n = n + 1 where id between 41 and 90`], truth: { 'public.t': '50u' } },
  { sql: ['delete from t where id between 91 and 100'], truth: { 'public.t': '10d' } },
  { sql: [`select * from t where id < 20 for update`, `select nextval('s')`], truth: {} },
  {
    sql: [`insert into big select g, ${long} from generate_series(1, 20) g`],
    truth: { 'public.big': '20i' },
  },
  { sql: [`update big set body = body || 'x' where id <= 5`], truth: { 'public.big': '5u' } },
  { sql: [`delete from big where id <= 8`], truth: { 'public.big': '8d' } },
  {
    sql: [
      `insert into t values (7001, 1, 'a')`,
      'savepoint one',
      'delete from t where id < 50',
      'rollback to one',
      'savepoint two',
      `update t set body = 'kept' where id = 7001`,
      'savepoint three',
      'delete from t where id = 120',
      'release two',
    ],
    truth: { 'public.t': '1i 1u 1d' },
  },
  {
    sql: [
      `insert into t values (1, 0, 'c'), (7002, 0, 'd') on conflict (id) do update set body = 'conflict'`,
    ],
    truth: { 'public.t': '1i 1u' },
  },
  {
    sql: [
      `insert into part select g, case when g % 2 = 0 then 'a' else 'b' end from generate_series(1, 30) g`,
    ],
    truth: { 'public.part_a': '15i', 'public.part_b': '15i' },
  },
  // A row that moves to another partition is no deleted row.
  {
    sql: [`update part set region = 'b' where id in (2, 4)`],
    truth: { 'public.part_a': '2u', 'public.part_b': '2i' },
  },
  { sql: ['truncate emptied'], truth: { 'public.emptied': 'truncated' } },
  {
    sql: [
      `insert into emptied values (1, 'again')`,
      'truncate emptied, emptied_too',
      `insert into emptied values (2, 'b')`,
    ],
    truth: { 'public.emptied': '2i truncated', 'public.emptied_too': 'truncated' },
  },
  { sql: ['alter table altered alter n type bigint'], truth: { 'public.altered': 'rewritten' } },
  { sql: ['alter table altered add c text'], truth: {} },
  { sql: ['reindex table altered', 'refresh materialized view mv'], truth: { 'public.mv': 'rewritten' } },
  { sql: ['cluster altered using altered_pkey'], truth: { 'public.altered': 'rewritten' } },
  {
    sql: [
      'create table made (id int, body text)',
      `insert into made select g, 'x' from generate_series(1, 9) g`,
    ],
    truth: { 'public.made': '9i created' },
  },
  {
    sql: [
      'create table refilled (id int)',
      'savepoint one',
      'insert into refilled select generate_series(1, 50)',
      'release one',
      'truncate refilled',
      'insert into refilled values (1), (2)',
    ],
    truth: { 'public.refilled': '2i created' },
  },
  { sql: ['create table copied as select * from made'], truth: { 'public.copied': '9i created' } },
  {
    sql: [
      'create table passing (id int primary key)',
      'insert into passing values (1)',
      'drop table passing',
    ],
    truth: {},
  },
  { sql: [`create temp table mine as select 1 as one`, 'drop table mine'], truth: {} },
  { sql: ['drop table gone'], truth: { 'public.gone': 'dropped' } },
  {
    sql: [
      'create table fresh (id int primary key)',
      'insert into fresh values (1), (2)',
      'drop table copied',
      'alter table altered alter n type text',
      'truncate made',
      'delete from t where id = 130',
    ],
    truth: {
      'public.fresh': '2i created',
      'public.copied': 'dropped',
      'public.altered': 'rewritten',
      'public.made': 'truncated',
      'public.t': '1d',
    },
  },
  {
    sql: ['drop schema other cascade'],
    truth: { 'other.first': 'dropped', 'other.second': 'dropped' },
  },
];

function describe({ changes }: IndexedTransaction): Truth {
  return new Map(
    changes.map((change) => [
      `${change.schema}.${change.name}`,
      [
        change.inserted && `${change.inserted}i`,
        change.updated && `${change.updated}u`,
        change.deleted && `${change.deleted}d`,
        change.created && 'created',
        change.dropped && 'dropped',
        change.truncated && 'truncated',
        change.rewritten && 'rewritten',
      ]
        .filter(Boolean)
        .join(' '),
    ]),
  );
}

async function runCases(server: TestServer, client: pg.Client, truths: Map<number, Truth>): Promise<void> {
  for (const [i, { sql, truth }] of cases.entries()) {
    // Every other one finds its pages after a checkpoint: then images stand in place of rows.
    if (i % 2 === 0) await client.query('checkpoint');
    truths.set(await transaction(client, sql), new Map(Object.entries(truth)));
  }
  await runPrepared(server, client, truths);
}

async function runPrepared(server: TestServer, client: pg.Client, truths: Map<number, Truth>): Promise<void> {
  await client.query('begin');
  const { rowCount } = await client.query('delete from t where id > 500');
  await client.query('savepoint taken_back');
  await client.query('delete from t where id < 10');
  await client.query('rollback to taken_back');
  await client.query('savepoint kept');
  await client.query(`update t set body = 'prepared' where id = (select max(id) from t where id <= 500)`);
  await client.query('release kept');
  const { rows } = await client.query('select pg_current_xact_id()::text as xid');
  await client.query(`prepare transaction 'later'`);
  truths.set(Number(rows[0].xid), new Map([['public.t', `1u ${rowCount}d`]]));
  const other = await connect(server.url);
  await other.query(`begin; delete from t where id < 30; prepare transaction 'never'`);
  await other.query(`rollback prepared 'never'`);
  await other.query('begin; delete from t where id < 60; rollback');
  await other.query(`commit prepared 'later'`);
  await other.query('vacuum full t');
  await other.query('vacuum big');
  await other.query(`update t set body = 'behind' where id <= 3`);
  await other.end();
}

async function position(client: pg.Client): Promise<bigint> {
  const { rows } = await client.query(`select pg_current_wal_insert_lsn() - '0/0'::pg_lsn as lsn`);
  return BigInt(rows[0].lsn);
}

async function walFiles(dataDir: string, start: bigint): Promise<Buffer> {
  const folder = join(dataDir, 'pg_wal');
  const number = (name: string) =>
    Number.parseInt(name.slice(8, 16), 16) * 4096 + Number.parseInt(name.slice(16), 16);
  const names = (await readdir(folder)).filter(
    (name) => /^[0-9A-F]{24}$/.test(name) && number(name) >= Number(start / BigInt(segmentSize)),
  );
  names.sort((a, b) => number(a) - number(b));
  return Buffer.concat(await Promise.all(names.map((name) => readFile(join(folder, name)))));
}

/** Three clients at once; what each transaction did is counted by what the server answers. */
async function runMixed(server: TestServer, truths: Map<number, Truth>): Promise<void> {
  let state = 12345;
  const random = (n: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % n;
  };
  const worker = async (number: number) => {
    const client = await connect(server.url);
    for (let i = 0; i < 25; i++) await mixedTransaction(client, `m${number}`, random, truths);
    await client.end();
  };
  await Promise.all([1, 2, 3].map(worker));
}

async function mixedTransaction(
  client: pg.Client,
  table: string,
  random: (n: number) => number,
  truths: Map<number, Truth>,
): Promise<void> {
  const counts = { i: 0, u: 0, d: 0 };
  await client.query('begin');
  for (let step = 0; step < 4; step++) {
    const [kind, statement] = [
      [
        'i',
        `insert into ${table} select (random() * 1e8)::int, 'x' from generate_series(1, ${1 + random(20)})`,
      ],
      ['u', `update ${table} set body = body || 'y' where id % 17 = ${random(17)}`],
      ['d', `delete from ${table} where id % 23 = ${random(23)}`],
    ][random(3)] as ['i' | 'u' | 'd', string];
    const kept = random(3) > 0;
    await client.query('savepoint s');
    const { rowCount } = await client.query(statement);
    if (kept) counts[kind] += rowCount ?? 0;
    else await client.query('rollback to s');
  }
  const { rows } = await client.query('select pg_current_xact_id()::text as xid');
  const committed = random(5) > 0;
  await client.query(committed ? 'commit' : 'rollback');
  const text = (['i', 'u', 'd'] as const)
    .map((k) => counts[k] && `${counts[k]}${k}`)
    .filter(Boolean)
    .join(' ');
  if (committed) truths.set(Number(rows[0].xid), new Map(text ? [[`public.${table}`, text]] : []));
}

/** Reads it in pieces, through the stored form, with a new indexer for every piece as after a restart. */
function index(
  bytes: Buffer,
  start: bigint,
  { snapshots, pieces }: { snapshots: readonly CatalogSnapshot[]; pieces: number },
): IndexedTransaction[] {
  const found: IndexedTransaction[] = [];
  let state: IndexState | undefined;
  const size = Math.ceil(bytes.length / pieces / segmentSize) * segmentSize;
  for (let at = 0; at < bytes.length; at += size) {
    // A record that goes over the end of a piece is read again from the segment where it begins.
    const from = state ? Number(BigInt(state.lastEnd) - start) : 0;
    const begin = Math.min(at, from - (from % segmentSize));
    const indexer = new WalIndexer({
      start: start + BigInt(begin),
      segmentSize,
      snapshots,
      ...(state ? { state } : {}),
    });
    for (let i = begin; i < Math.min(at + size, bytes.length); i += 50_000)
      indexer.push(bytes.subarray(i, Math.min(i + 50_000, at + size, bytes.length)));
    const part = decodeLogIndex(encodeLogIndex(indexer.take()), 'a part');
    assert.deepEqual(part.damaged, []);
    found.push(...part.transactions);
    state = part.state;
  }
  return found;
}

const servers = [
  ...testMajors.map((major) => ({ major, compression: compression[major], packaged: false })),
  { major: 15, compression: 'lz4', packaged: true },
  { major: 15, compression: 'zstd', packaged: true },
] as const;
for (const { major, compression, packaged } of servers) {
  const isThere = !packaged || existsSync(join(packagedServer(major), 'postgres'));
  test(`PostgreSQL ${major}, wal_compression ${compression} – what each transaction did is told as it was`, {
    timeout: 300_000,
    skip: isThere ? false : 'only Debian’s server has this compression, and it is not installed',
  }, async () => {
    await using server = await startTestServer({
      templates: true,
      major,
      packaged,
      initdbArgs: ['--wal-segsize=1'],
      config: {
        max_prepared_transactions: 5,
        wal_compression: compression,
        wal_level: major === 16 ? 'logical' : 'replica',
        wal_keep_size: '500MB',
        fsync: 'off',
        autovacuum: 'off',
      },
    });
    const client = await connect(server.url);
    for (const statement of setUp) await client.query(statement);
    await client.query('create sequence s');
    for (const n of [1, 2, 3])
      await client.query(`create table m${n} as select g as id, 'x' as body from generate_series(1, 300) g`);
    await client.query('create database unwanted');
    await client.query('checkpoint');
    const start = await position(client);
    const begin = start - (start % BigInt(segmentSize));
    const first = await takeCatalogSnapshot(client);
    const truths = new Map<number, Truth>();
    await runCases(server, client, truths);
    const second = await takeCatalogSnapshot(client);
    await runMixed(server, truths);
    await client.query('drop database unwanted');
    await client.query('select pg_switch_wal()');
    // What is behind that, a server would not send.
    const { rows } = await client.query(`select pg_current_wal_flush_lsn() - '0/0'::pg_lsn as lsn`);
    await client.end();
    const bytes = (await walFiles(server.dataDir, begin)).subarray(0, Number(BigInt(rows[0].lsn) - begin));

    for (const [snapshots, pieces] of [
      [[first, second], 1],
      [[first], 1],
      [[first, second], 5],
    ] as const) {
      const found = index(bytes, begin, { snapshots, pieces });
      const byXid = new Map(found.map((entry) => [entry.xid, entry]));
      assert.equal(byXid.size, found.length, 'no transaction is told twice');
      for (const [xid, truth] of truths) {
        const entry = byXid.get(xid);
        assert.ok(entry, `transaction ${xid}`);
        assert.deepEqual(new Map([...describe(entry)].sort()), new Map([...truth].sort()), `${xid}`);
        assert.equal(entry.partial, false);
      }
      assert.deepEqual(
        found.flatMap((entry) => entry.droppedDatabases),
        ['unwanted'],
      );
      const full = found.filter((entry) => describe(entry).get('public.t') === 'rewritten');
      assert.equal(full.length, 1, 'VACUUM FULL');
    }
  });
}
