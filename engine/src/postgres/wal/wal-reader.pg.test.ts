import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { startTestServer, testMajors } from '../../../test/pg-server.ts';
import { HelvinoError } from '../../base/errors.ts';
import { formatLsn } from '../lsn.ts';
import { type WalEvent, walEvent } from './transaction-records.ts';
import { WalReader, type WalRecord } from './wal-reader.ts';

const segmentSize = 1 << 20;

type Plain = Pick<WalRecord, 'lsn' | 'end' | 'xid' | 'resourceManager'> & { length: number };

function read(
  bytes: Uint8Array,
  start: bigint,
  piece: number,
): { records: Plain[]; events: WalEvent[]; reader: WalReader } {
  const records: Plain[] = [];
  const events: WalEvent[] = [];
  const reader = new WalReader({
    start,
    segmentSize,
    onRecord: (record) => {
      const { lsn, end, xid, resourceManager } = record;
      records.push({ lsn, end, xid, resourceManager, length: record.bytes.length });
      const event = walEvent(record);
      if (event) events.push(event);
    },
  });
  for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
  return { records, events, reader };
}

async function makeWal(client: pg.Client): Promise<void> {
  await client.query('create table t (id int primary key, body text)');
  for (let i = 0; i < 40; i++)
    await client.query('insert into t values ($1, $2)', [i, 'x'.repeat((i * 997) % 6000)]);
  await client.query(`insert into t select g, repeat(md5(g::text), 40) from generate_series(1000, 3000) g`);
  await client.query(
    `begin; savepoint a; update t set body = 'y' where id < 10; rollback to a; savepoint b; delete from t where id = 11; commit`,
  );
  await client.query('begin; delete from t; rollback');
  await client.query(`begin; insert into t values (100000, 'p'); prepare transaction 'one'`);
  await client.query(`commit prepared 'one'`);
  await client.query(`begin; create table gone (i int); drop table t; prepare transaction 'two'`);
  await client.query(`rollback prepared 'two'`);
  await client.query(`select pg_create_restore_point('before lunch')`);
  await client.query('select pg_switch_wal()');
  await client.query(`insert into t values (100001, 'after the switch')`);
  await client.query('vacuum full t');
}

for (const major of testMajors) {
  test(`PostgreSQL ${major} – every record is read as the server reads it; commit times and numbers are right`, async () => {
    await using server = await startTestServer({
      major,
      initdbArgs: ['--wal-segsize=1'],
      config: {
        track_commit_timestamp: 'on',
        max_prepared_transactions: 5,
        wal_compression: 'on',
        full_page_writes: 'on',
        wal_keep_size: '200MB',
      },
    });
    const client = new pg.Client(server.url);
    client.on('error', () => undefined);
    await client.connect();
    await client.query('checkpoint');
    const before = await position(client);
    await makeWal(client);
    const after = await position(client);
    const start = before.lsn - (before.lsn % BigInt(segmentSize));
    // What is behind that, a server would not send.
    const end = await flushed(client);
    const bytes = (await walFiles(server.dataDir, start)).subarray(0, Number(end - start));
    const { records, events, reader } = read(bytes, start, 1 << 16);
    assert.ok(reader.lastEnd >= after.lsn, `${formatLsn(reader.lastEnd)} < ${formatLsn(after.lsn)}`);
    if (major >= 15) await compareWithServer(client, records, [before.lsn, after.lsn]);
    await compareCommits(client, events, [before.xid, after.xid]);
    const point = events.find((event) => event.kind === 'restore point');
    assert.equal(point?.kind === 'restore point' && point.name, 'before lunch');
    await client.end();

    // Pieces of any size make no difference; a part is a part.
    const whole = JSON.stringify(records, plain);
    for (const piece of [1, 7, 8192, bytes.length])
      assert.equal(JSON.stringify(read(bytes, start, piece).records, plain), whole, `pieces of ${piece}`);
    for (let i = 0; i < 60; i++) damageIsSeen(bytes, start, records, (i * 7919 * 131) % (64 << 10));
  });
}

const plain = (_: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);

async function position(client: pg.Client): Promise<{ lsn: bigint; xid: number }> {
  const { rows } = await client.query(
    `select pg_current_wal_insert_lsn() - '0/0'::pg_lsn as lsn, pg_current_xact_id()::text as xid`,
  );
  return { lsn: BigInt(rows[0].lsn), xid: Number(rows[0].xid) };
}

async function flushed(client: pg.Client): Promise<bigint> {
  await client.query('checkpoint');
  const { rows } = await client.query(`select pg_current_wal_flush_lsn() - '0/0'::pg_lsn as lsn`);
  return BigInt(rows[0].lsn);
}

async function walFiles(dataDir: string, start: bigint): Promise<Buffer> {
  const folder = join(dataDir, 'pg_wal');
  const first = (start / BigInt(segmentSize)).toString(16);
  const number = (name: string) =>
    Number.parseInt(name.slice(8, 16), 16) * 4096 + Number.parseInt(name.slice(16), 16);
  const names = (await readdir(folder)).filter(
    (name) => /^[0-9A-F]{24}$/.test(name) && number(name) >= Number.parseInt(first, 16),
  );
  names.sort((a, b) => number(a) - number(b));
  return Buffer.concat(await Promise.all(names.map((name) => readFile(join(folder, name)))));
}

/** pg_walinspect is the server's own reader. */
async function compareWithServer(
  client: pg.Client,
  records: readonly Plain[],
  [from, to]: [bigint, bigint],
): Promise<void> {
  await client.query('create extension pg_walinspect');
  const { rows } = await client.query(
    `select start_lsn - '0/0'::pg_lsn as start, xid::text as xid, record_length::int as length from pg_get_wal_records_info($1, $2)`,
    [formatLsn(from), formatLsn(to)],
  );
  const theirs = rows.map((row) => `${row.start} ${row.xid} ${row.length}`);
  const ours = records.filter((r) => r.lsn >= from && r.lsn < to).map((r) => `${r.lsn} ${r.xid} ${r.length}`);
  assert.ok(theirs.length > 500);
  assert.deepEqual(ours.slice(0, theirs.length), theirs);
}

async function compareCommits(
  client: pg.Client,
  events: readonly WalEvent[],
  [from, to]: [number, number],
): Promise<void> {
  const { rows } = await client.query(
    `select x::text as xid, (extract(epoch from pg_xact_commit_timestamp(x::text::xid)) * 1000000)::int8::text as time
     from generate_series($1::int, $2::int - 1) x where pg_xact_status(x::text::xid8) = 'committed' and pg_xact_commit_timestamp(x::text::xid) is not null`,
    [from, to],
  );
  const ours = new Map(events.flatMap((event) => (event.kind === 'commit' ? [[event.xid, event.time]] : [])));
  const top = rows.filter((row) => ours.has(Number(row.xid)));
  assert.ok(top.length > 40, `${top.length} commits`);
  for (const row of top) assert.equal(String(ours.get(Number(row.xid))), row.time, `xid ${row.xid}`);
  const known = new Set(rows.map((row) => Number(row.xid)));
  for (const event of events)
    if (event.kind === 'abort' && event.xid >= from && event.xid < to)
      assert.ok(!known.has(event.xid), `xid ${event.xid} was not aborted`);
}

/** A flipped bit is an error, or the end of WAL before it; never a record that was not there. */
function damageIsSeen(bytes: Buffer, start: bigint, records: readonly Plain[], at: number): void {
  const bad = Buffer.from(bytes.subarray(0, 128 << 10));
  bad[at] = bad[at]! ^ 0x10;
  const good = new Set(records.map((record) => JSON.stringify(record, plain)));
  const seen: Plain[] = [];
  try {
    const reader = new WalReader({
      start,
      segmentSize,
      onRecord: ({ lsn, end, xid, resourceManager, bytes: own }) =>
        seen.push({ lsn, end, xid, resourceManager, length: own.length }),
    });
    reader.push(bad);
  } catch (thrown) {
    assert.ok(thrown instanceof HelvinoError && thrown.code === 'PROTOCOL', String(thrown));
  }
  for (const record of seen) assert.ok(good.has(JSON.stringify(record, plain)), `byte ${at}`);
}
