import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type Fixture, makeFixture } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { hastyClock } from '../../../test/wal-stream.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import { continuousRanges, coveringPieces } from '../../catalog/index.ts';
import { resolveConnection, walSegmentBegin } from '../../postgres/index.ts';
import { type LogPiece, listLog, logPieceKeyId, logPieceName, PieceOpener } from '../../repository/index.ts';
import { streamWal } from './stream.ts';

const segmentSize = 1 << 20;

async function startStream(
  fixture: Fixture,
  server: TestServer,
  durable: { position: bigint },
  clock: Clock = systemClock,
) {
  const stop = new AbortController();
  const done = streamWal({
    repository: fixture.repository,
    recipients: [fixture.recipient],
    database: 'db',
    connection: await resolveConnection({ url: server.url }, {}),
    slot: 'helvino_test',
    intervalMs: 50,
    clock,
    progress: silentProgress,
    signal: AbortSignal.any([stop.signal, fixture.ended]),
    onStored: (state) => {
      durable.position = state.durable;
    },
  });
  done.catch(() => undefined);
  return {
    async stop() {
      stop.abort();
      await done;
    },
    done,
  };
}

async function query<T extends pg.QueryResultRow>(server: TestServer, text: string): Promise<T[]> {
  const client = new pg.Client(server.url);
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}

async function flushed(server: TestServer): Promise<bigint> {
  const [row] = await query<{ lsn: string }>(
    server,
    `select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text as lsn`,
  );
  return BigInt(row!.lsn);
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (await condition()) return;
    await sleep(50);
  }
  throw new Error(`did not happen: ${what}`);
}

async function pieces(fixture: Fixture): Promise<LogPiece[]> {
  const found: LogPiece[] = [];
  for await (const piece of listLog(fixture.repository.driver, 'db')) found.push(piece);
  return found;
}

/** The stored bytes of a range, opened with the recovery identity. */
async function stored(fixture: Fixture, range: { line: number; from: bigint; to: bigint }): Promise<Buffer> {
  const cover = coveringPieces(await pieces(fixture), range);
  assert.ok(cover, 'there is a gap');
  const out: Buffer[] = [];
  let at = range.from;
  for (const piece of cover) {
    const sealed = await fixture.repository.driver.get(piece.name);
    const key = await fixture.repository.dataKey(logPieceKeyId(sealed, piece.name), fixture.identities);
    const plain = new PieceOpener().open(sealed, piece.name, key);
    // biome-ignore lint/complexity/useMathMinMax: these are bigints, which Math.min does not take
    const end = piece.end < range.to ? piece.end : range.to;
    out.push(Buffer.from(plain.subarray(Number(at - piece.begin), Number(end - piece.begin))));
    at = end;
  }
  return Buffer.concat(out);
}

async function assertSameAsServer(
  fixture: Fixture,
  server: TestServer,
  range: { line: number; from: bigint; to: bigint },
): Promise<void> {
  const ours = await stored(fixture, range);
  const names = (await readdir(join(server.dataDir, 'pg_wal'))).filter((name) => /^[0-9A-F]{24}$/.test(name));
  for (const name of names) {
    if (Number.parseInt(name.slice(0, 8), 16) !== range.line) continue;
    const begin =
      (BigInt(`0x${name.slice(8, 16)}`) * 4096n + BigInt(`0x${name.slice(16)}`)) * BigInt(segmentSize);
    const from = begin > range.from ? begin : range.from;
    const to = begin + BigInt(segmentSize) < range.to ? begin + BigInt(segmentSize) : range.to;
    if (from >= to) continue;
    const theirs = (await readFile(join(server.dataDir, 'pg_wal', name))).subarray(
      Number(from - begin),
      Number(to - begin),
    );
    assert.ok(theirs.equals(ours.subarray(Number(from - range.from), Number(to - range.from))), name);
  }
}

const config = { wal_keep_size: '64MB', max_wal_size: '64MB' };
const load = `insert into t select g, md5(g::text) from generate_series(1, 20000) g`;

for (const major of [14, 18] as const) {
  test(`PostgreSQL ${major}, a load – what is stored is the server's WAL without a gap; parts give way to whole segments`, async () => {
    await using server = await startTestServer({ major, initdbArgs: ['--wal-segsize=1'], config });
    await using fixture = await makeFixture();
    await query(server, 'create table t (i int, t text)');
    const durable = { position: 0n };
    const stream = await startStream(fixture, server, durable);
    await until('the first part', () => durable.position > 0n);
    const [first] = await pieces(fixture);
    for (let i = 0; i < 4; i++) await query(server, load);
    const end = await flushed(server);
    await until('all is stored', () => durable.position >= end);
    await assertSameAsServer(fixture, server, { line: 1, from: first!.begin, to: end });
    const [slot] = await query<{ flush: string }>(
      server,
      `select (restart_lsn - '0/0'::pg_lsn)::text as flush from pg_replication_slots`,
    );
    assert.ok(BigInt(slot!.flush) <= durable.position, 'more was confirmed than is durable');
    await until('whole segments only, before the open one', async () => {
      const all = await pieces(fixture);
      const open = all.at(-1)!.end - (all.at(-1)!.end % BigInt(segmentSize));
      return all.every((piece) => piece.begin >= open || piece.end - piece.begin === BigInt(segmentSize));
    });
    await stream.stop();
    assert.equal(continuousRanges(await pieces(fixture)).length, 1);
  });
}

test('the server is killed, then comes back – the stream goes on without a gap', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'], config });
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int, t text)');
  const durable = { position: 0n };
  const stream = await startStream(fixture, server, durable);
  await until('the first part', () => durable.position > 0n);
  await query(server, load);
  await server.stop('immediate');
  await sleep(300);
  await server.start();
  await query(server, load);
  const end = await flushed(server);
  await until('all is stored', () => durable.position >= end);
  await stream.stop();
  const ranges = continuousRanges(await pieces(fixture));
  assert.equal(
    ranges.length,
    1,
    JSON.stringify(ranges, (_, v) => (typeof v === 'bigint' ? v.toString(16) : v)),
  );
  await assertSameAsServer(fixture, server, { line: 1, from: ranges[0]!.begin, to: end });
});

test('a segment is missing when the server has been promoted and its slot is gone – fetched all the same', async () => {
  await using server = await startTestServer({ major: 16, initdbArgs: ['--wal-segsize=1'], config });
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int, t text)');
  const durable = { position: 0n };
  const first = await startStream(fixture, server, durable);
  await until('the first part', () => durable.position > 0n);
  for (let i = 0; i < 2; i++) await query(server, load);
  const end = await flushed(server);
  await until('all is stored', () => durable.position >= end);
  await first.stop();
  const whole = (await pieces(fixture)).filter((one) => one.end - one.begin === BigInt(segmentSize));
  assert.ok(whole.length > 3);
  await fixture.repository.driver.remove(whole.at(-2)!.name);
  assert.equal(continuousRanges(await pieces(fixture)).length, 2);
  await query(server, `select pg_drop_replication_slot(slot_name) from pg_replication_slots`);
  await server.stop();
  await writeFile(join(server.dataDir, 'standby.signal'), '', { mode: 0o644 });
  await server.start();
  await query(server, 'select pg_promote()');
  await query(server, load);
  const second = await startStream(fixture, server, durable);
  const later = await flushed(server);
  await until('the new timeline is stored', () => durable.position >= later);
  await second.stop();
  assert.deepEqual(
    continuousRanges(await pieces(fixture)).map(({ line }) => line),
    [1, 2],
  );
});

test('the stream was away while WAL was written – the slot has kept it', async () => {
  await using server = await startTestServer({
    major: 16,
    initdbArgs: ['--wal-segsize=1'],
    config: { max_wal_size: '64MB' },
  });
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int, t text)');
  const durable = { position: 0n };
  const first = await startStream(fixture, server, durable);
  await until('the first part', () => durable.position > 0n);
  await first.stop();
  for (let i = 0; i < 6; i++) await query(server, load);
  await query(server, 'checkpoint');
  const end = await flushed(server);
  const parts = (await pieces(fixture)).filter((p) => p.end - p.begin < BigInt(segmentSize));
  assert.ok(parts.length > 0);
  const second = await startStream(fixture, server, durable);
  await until('all is stored', () => durable.position >= end);
  await second.stop();
  for (const { name } of parts) assert.equal(await fixture.repository.driver.head(name), undefined, name);
  assert.equal(continuousRanges(await pieces(fixture)).length, 1);
});

for (const begun of [false, true])
  test(`a segment ${begun ? 'of which a part is stored ' : ''}cannot be stored for a while, and the next ones are – the stream goes back to it, whenever it begins anew`, async () => {
    await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'], config });
    await using fixture = await makeFixture();
    await query(server, 'create table t (i int, t text)');
    const { driver } = fixture.repository;
    const put = driver.put.bind(driver);
    const begin = walSegmentBegin(await flushed(server), segmentSize) + BigInt(segmentSize);
    const refused = logPieceName('db', { line: 1, begin, end: begin + BigInt(segmentSize) });
    let [refusals, refusing] = [0, true];
    driver.put = async (name, ...rest) => {
      if (name === refused && refusing) {
        refusals++;
        // Time enough for the next ones.
        await sleep(300);
        throw new HelvinoError('STORAGE_IO', 'the test refuses it');
      }
      return put(name, ...rest);
    };
    const durable = { position: 0n };
    const stream = await startStream(fixture, server, durable, hastyClock);
    await until('the first part', () => durable.position > 0n);
    while (begun && durable.position <= begin) {
      await query(server, `insert into t select 0, repeat('x', 100) from generate_series(1, 500)`);
      await until('a part', async () => durable.position >= (await flushed(server)));
    }
    for (let i = 0; i < 4; i++) await query(server, load);
    const end = await flushed(server);
    assert.ok(end > begin + 3n * BigInt(segmentSize));
    await until('three runs have ended by it', () => refusals >= 3);
    assert.ok(
      (await pieces(fixture)).some((piece) => piece.begin > begin),
      'later ones are stored',
    );
    const confirmed = durable.position;
    const [slot] = await query<{ restart: string }>(
      server,
      `select (restart_lsn - '0/0'::pg_lsn)::text as restart from pg_replication_slots`,
    );
    // Parts of the segment may be stored, so that the end without a hole is within it.
    const [whole] = continuousRanges(await pieces(fixture));
    assert.ok(whole!.end < begin + BigInt(segmentSize), 'it is not whole');
    if (begun) assert.ok(whole!.end > begin, 'a part of it is stored');
    assert.ok(
      confirmed <= whole!.end && BigInt(slot!.restart) <= whole!.end,
      'nothing behind the hole is confirmed',
    );
    refusing = false;
    await until('all is stored', () => durable.position >= end);
    await stream.stop();
    const ranges = continuousRanges(await pieces(fixture));
    assert.equal(ranges.length, 1);
    await assertSameAsServer(fixture, server, { line: 1, from: ranges[0]!.begin, to: end });
  });
