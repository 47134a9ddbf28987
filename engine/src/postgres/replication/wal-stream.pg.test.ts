import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { serverFolder, startTestServer, type TestServer, testMajors } from '../../../test/pg-server.ts';
import { receiveBackup, writeBackup } from '../../../test/receive-backup.ts';
import { HelvinoError } from '../../base/errors.ts';
import { connectSql } from '../connect.ts';
import { resolveConnection } from '../conninfo.ts';
import { parseLsn, walFileName } from '../lsn.ts';
import { openReplication, type ReplicationConnection } from './replication-connection.ts';

const segment = 1n << 20n;
const small = ['--wal-segsize=1'];
const connect = async (server: TestServer): Promise<ReplicationConnection> =>
  openReplication(await resolveConnection({ url: server.url }, {}));

async function execute(server: TestServer, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const client = await connectSql(await resolveConnection({ url: server.url }, {}));
  let rows: Record<string, unknown>[] = [];
  for (const statement of statements) ({ rows } = await client.query<Record<string, unknown>>(statement));
  await client.end();
  return rows;
}

async function position(server: TestServer): Promise<bigint> {
  return parseLsn(String((await execute(server, 'select pg_current_wal_flush_lsn()::text as lsn'))[0]!.lsn));
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; !(await condition()); i++) {
    if (i > 1000) throw new Error('it did not happen within 10 s');
    await sleep(10);
  }
}

/** Gathers WAL from `begin` on. */
function collector(begin: bigint) {
  const parts: Buffer[] = [];
  let next = begin;
  return {
    wal: (start: bigint, bytes: Uint8Array) => {
      assert.equal(start, next);
      next += BigInt(bytes.length);
      parts.push(Buffer.from(bytes));
    },
    ready: (): Promise<void> | undefined => undefined,
    bytes: () => Buffer.concat(parts),
  };
}

for (const major of testMajors) {
  test(`PostgreSQL ${major} – WAL arrives as it is in the server's files, and the connection is usable after stop`, async () => {
    await using server = await startTestServer({ major, initdbArgs: small });
    const connection = await connect(server);
    await connection.createTemporarySlot('keeper');
    const { xlogpos, timeline } = await connection.identify();
    const begin = xlogpos - (xlogpos % segment);
    await execute(server, 'create table t as select i, md5(i::text) from generate_series(1, 30000) i');
    const end = await position(server);
    const sink = collector(begin);
    const stream = await connection.startPhysicalReplication(
      { slot: 'keeper', startLsn: begin, timeline },
      sink,
    );
    await until(() => stream.received >= end);
    await stream.stop();
    assert.deepEqual(await stream.done, {});
    const bytes = sink.bytes();
    assert.equal(begin + BigInt(bytes.length), stream.received);
    assert.ok(stream.serverEnd >= end);
    for (let at = begin; at < end; at += segment) {
      const file = await readFile(join(server.dataDir, 'pg_wal', walFileName(timeline, at, Number(segment))));
      const from = Number(at - begin);
      const length = Math.min(Number(segment), Number(end - at));
      assert.ok(bytes.subarray(from, from + length).equals(file.subarray(0, length)), `segment at ${at}`);
    }
    assert.equal((await connection.identify()).timeline, 1);
    await connection.close();
  });
}

test('stop from within the sink – ends the stream; nothing more is delivered', async () => {
  await using server = await startTestServer({ major: 15, initdbArgs: small });
  const connection = await connect(server);
  const { xlogpos } = await connection.identify();
  await execute(server, 'create table t as select i, md5(i::text) from generate_series(1, 50000) i');
  let calls = 0;
  let stopped: Promise<void> | undefined;
  // `stream` is assigned before the first call, although WAL comes together with the server's answer
  const stream = await connection.startPhysicalReplication(
    { startLsn: xlogpos - (xlogpos % segment), timeline: 1 },
    {
      wal: () => {
        calls++;
        stopped = stream.stop();
      },
      ready: () => (calls > 0 ? new Promise(() => {}) : undefined),
    },
  );
  await stream.done;
  await stopped;
  const before = calls;
  assert.equal(before, 1);
  assert.equal((await connection.identify()).timeline, 1);
  assert.equal(calls, before);
  await connection.close();
});

test('stop while the sink is not ready – ends the stream', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: small });
  const connection = await connect(server);
  const { xlogpos } = await connection.identify();
  await execute(server, 'create table t as select i, md5(i::text) from generate_series(1, 100000) i');
  const end = await position(server);
  const begin = xlogpos - (xlogpos % segment);
  const { wal } = collector(begin);
  let calls = 0;
  const count = (start: bigint, bytes: Uint8Array) => {
    calls++;
    wal(start, bytes);
  };
  const sink = { wal: count, ready: () => (calls > 0 ? new Promise<void>(() => {}) : undefined) };
  const stream = await connection.startPhysicalReplication({ startLsn: begin, timeline: 1 }, sink);
  await until(() => stream.received > begin);
  await sleep(50);
  assert.ok(stream.received < end);
  await stream.stop();
  assert.equal((await connection.identify()).timeline, 1);
  await connection.close();
});

test('only what was confirmed – moves the slot', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: small });
  const connection = await connect(server);
  await connection.command('CREATE_REPLICATION_SLOT "durable" PHYSICAL (RESERVE_WAL)');
  const restart = async () => {
    const [row] = await execute(
      server,
      "select restart_lsn::text as lsn from pg_replication_slots where slot_name = 'durable'",
    );
    return parseLsn(String(row!.lsn));
  };
  const begin = (await restart()) - ((await restart()) % segment);
  const before = await restart();
  const stream = await connection.startPhysicalReplication(
    { slot: 'durable', startLsn: begin, timeline: 1 },
    collector(begin),
  );
  await execute(server, 'create table t as select i from generate_series(1, 10000) i');
  const end = await position(server);
  await until(() => stream.received >= end);
  // the server asks for an answer, and gets one that confirms nothing
  const shown = () =>
    execute(
      server,
      "select reply_time > now() - interval '1 minute' as recent, flush_lsn::text as flush from pg_stat_replication",
    );
  stream.sendStatus({ written: end, flushed: 0n, applied: 0n, replyRequested: true });
  await until(async () => (await shown())[0]?.recent === true);
  assert.equal(await restart(), before);
  stream.sendStatus({ written: end, flushed: end, applied: 0n });
  await until(async () => (await restart()) === end);
  await stream.stop();
  await connection.close();
});

test('a keepalive that asks – is answered before wal_sender_timeout strikes, and the stream goes on', async () => {
  await using server = await startTestServer({ major: 16, config: { wal_sender_timeout: '1s' } });
  const connection = await connect(server);
  const { xlogpos } = await connection.identify();
  const begin = xlogpos - (xlogpos % (16n << 20n));
  const stream = await connection.startPhysicalReplication(
    { startLsn: begin, timeline: 1 },
    collector(begin),
  );
  await sleep(2500);
  await execute(server, 'create table t as select 1 as a');
  const end = await position(server);
  await until(() => stream.received >= end);
  await stream.stop();
  await connection.close();
});

test('the server stops while it streams – done rejects with SERVER_GONE', async () => {
  await using server = await startTestServer({ major: 18 });
  const connection = await connect(server);
  const { xlogpos } = await connection.identify();
  const stream = await connection.startPhysicalReplication(
    { startLsn: xlogpos, timeline: 1 },
    collector(xlogpos),
  );
  await server.stop('immediate');
  const gone = (thrown: unknown) => thrown instanceof HelvinoError && thrown.code === 'SERVER_GONE';
  await assert.rejects(stream.done, gone);
  await assert.rejects(stream.stop(), gone);
  await connection.close();
});

test('WAL that is gone, and an unknown slot – SERVER_ERROR with SQLSTATE, and the connection goes on', async () => {
  await using server = await startTestServer({
    major: 14,
    initdbArgs: small,
    config: { min_wal_size: '2MB', max_wal_size: '2MB' },
  });
  for (let i = 0; i < 4; i++)
    await execute(server, 'select pg_switch_wal()', 'checkpoint', 'create table t()', 'drop table t');
  const connection = await connect(server);
  const start = (options: { slot?: string; startLsn: bigint }) =>
    connection.startPhysicalReplication({ timeline: 1, ...options }, collector(options.startLsn));
  // the server finds out only once it streams
  const late = await start({ startLsn: segment });
  await assert.rejects(
    late.done,
    (thrown) =>
      thrown instanceof HelvinoError &&
      thrown.code === 'SERVER_ERROR' &&
      /already been removed/.test(thrown.message),
  );
  await assert.rejects(
    start({ slot: 'absent', startLsn: segment }),
    (thrown) =>
      thrown instanceof HelvinoError && thrown.code === 'SERVER_ERROR' && thrown.context.sqlstate === '42704',
  );
  assert.equal((await connection.identify()).timeline, 1);
  await connection.close();
});

test('a timeline that has ended – all its WAL, then where the next begins; its history', async () => {
  await using primary = await startTestServer({ major: 17, initdbArgs: small });
  const folder = await serverFolder();
  const first = await connect(primary);
  await writeBackup(await receiveBackup(first, { wal: true }), folder);
  await first.close();
  const config = { primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres` };
  await using standby = await startTestServer({
    major: 17,
    dataDir: folder,
    config,
    prepare: (dir) => writeFile(join(dir, 'standby.signal'), ''),
  });
  await execute(primary, 'create table t as select i from generate_series(1, 1000) i');
  const at = await position(primary);
  await until(
    async () =>
      (await execute(standby, `select pg_last_wal_replay_lsn() >= pg_lsn('0/0') + ${at} as there`))[0]!
        .there === true,
  );

  const connection = await connect(standby);
  const begin = (await connection.identify()).xlogpos - ((await connection.identify()).xlogpos % segment);
  const sink = collector(begin);
  const stream = await connection.startPhysicalReplication({ startLsn: begin, timeline: 1 }, sink);
  await execute(standby, 'select pg_promote()');
  const { endOfTimeline } = await stream.done;
  assert.equal(endOfTimeline?.nextTimeline, 2);
  assert.ok(endOfTimeline.switchLsn >= at);
  assert.equal(stream.received, endOfTimeline.switchLsn);
  assert.equal(begin + BigInt(sink.bytes().length), endOfTimeline.switchLsn);

  // asked for again from its end: the server has nothing to send and says so at once
  const again = await connection.startPhysicalReplication(
    { startLsn: endOfTimeline.switchLsn, timeline: 1 },
    collector(endOfTimeline.switchLsn),
  );
  assert.deepEqual(await again.done, { endOfTimeline });
  assert.match(
    Buffer.from(await connection.timelineHistory(2)).toString(),
    /^1\t0\/[0-9A-F]+\tno recovery target specified/,
  );
  assert.equal((await connection.identify()).timeline, 2);
  await connection.close();
  await rm(folder, { recursive: true });
});
