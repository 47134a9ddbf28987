import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fixture, makeFixture, query, startRestored, withClient } from '../../../test/backup-fixture.ts';
import { matrixMajors, startTestServer, type TestMajor, type TestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { formatLsn, parseLsn, resolveConnection } from '../../postgres/index.ts';
import { listLog } from '../../repository/index.ts';
import { walStatus } from '../wal/status.ts';
import { streamWal } from '../wal/stream.ts';
import { findRecovery } from './find-recovery.ts';
import { parseTarget } from './target-words.ts';

const database = 'main';

/** What was committed, in order: each row says what is there once it is committed. */
interface Committed {
  readonly n: number;
  readonly xid: string;
  readonly lsn: string;
  readonly time: string;
}

async function stream(fixture: Fixture, server: TestServer) {
  const stop = new AbortController();
  let durable = 0n;
  const done = streamWal({
    repository: fixture.repository,
    recipients: [fixture.recipient],
    database,
    connection: await resolveConnection({ url: server.url }, {}),
    slot: 'helvino',
    intervalMs: 50,
    clock: systemClock,
    progress: silentProgress,
    signal: AbortSignal.any([stop.signal, fixture.ended]),
    onStored: (state) => {
      durable = state.durable;
    },
  });
  done.catch(() => undefined);
  const upTo = async (lsn: string) => {
    for (let i = 0; i < 400 && durable < parseLsn(lsn); i++) await sleep(50);
    assert.ok(durable >= parseLsn(lsn), `${durable} is stored, not ${lsn}`);
  };
  const end = async () => {
    stop.abort();
    await done;
  };
  return { upTo, end, [Symbol.asyncDispose]: end };
}

async function commit(server: TestServer, n: number): Promise<Committed> {
  const sql = `begin; insert into log values (${n}, repeat(md5('${n}'), 50)); select pg_current_xact_id()::text as xid; commit;
    select pg_current_wal_flush_lsn()::text as lsn, clock_timestamp()::text as time`;
  const results = (await withClient(server, (client) => client.query(sql))) as unknown as {
    rows: Record<string, string>[];
  }[];
  return {
    n,
    xid: results[2]!.rows[0]!.xid!,
    lsn: results[4]!.rows[0]!.lsn!,
    time: results[4]!.rows[0]!.time!,
  };
}

async function recover(fixture: Fixture, words: string, timeline?: number) {
  const target = parseTarget(words, new Date());
  if (target.kind === 'backup') throw new Error('no target');
  const { repository, identities } = fixture;
  return findRecovery({
    repository,
    identities,
    database,
    target,
    timeline,
    signal: new AbortController().signal,
  });
}

/** The numbers that are there after recovery to a target. */
async function numbersAt(
  fixture: Fixture,
  words: string,
  major: TestMajor,
  timeline?: number,
): Promise<number[]> {
  const recovery = await recover(fixture, words, timeline);
  const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
  await using server = await startRestored(directory, major);
  const { rows } = await query<{ n: number }>(server, 'select n from log order by n');
  return rows.map((row) => row.n);
}

/** Before and after: the ends of recovery are those of the transaction itself, which are known to be right. */
async function bothSides(fixture: Fixture, server: TestServer, xid: string): Promise<void> {
  const end = async (words: string) => (await recover(fixture, words)).target.end;
  const [before, after] = [await end(`before:xid:${xid}`), await end(`xid:${xid}`)];
  assert.ok(before < after);
  assert.equal(await end(`after:xid:${xid}`), after);
  const begin = formatLsn(before);
  for (const words of [begin, `before:${begin}`]) assert.equal(await end(words), before, words);
  for (const words of [`after:${begin}`, `after:${formatLsn(before + 8n)}`, `after:${formatLsn(after - 1n)}`])
    assert.equal(await end(words), after, words);
  const { rows } = await query<{ time: string }>(
    server,
    `select pg_xact_commit_timestamp('${xid}')::text as time`,
  );
  const time = rows[0]!.time;
  assert.equal(await end(`before:${time}`), before);
  assert.ok((await end(time)) >= after && (await end(`after:${time}`)) >= after);
  const point = await end('name:before lunch');
  assert.equal(await end('after:name:before lunch'), point);
  assert.ok((await end('before:name:before lunch')) < point);
  await assert.rejects(end('after:latest'), { code: 'USAGE', hint: 'write latest alone' });
}

/** What a newer backup's WAL was read for is not read again with an older one. */
async function readOnce(fixture: Fixture, work: () => Promise<void>): Promise<void> {
  const { driver } = fixture.repository;
  const got = new Map<string, number>();
  const get = driver.get.bind(driver);
  driver.get = (name) => {
    if (name.startsWith('wal/main/')) got.set(name, (got.get(name) ?? 0) + 1);
    return get(name);
  };
  await work();
  driver.get = get;
  const pieces: string[] = [];
  for await (const piece of listLog(driver, database)) pieces.push(piece.name);
  const counts = pieces.map((name) => got.get(name) ?? 0).filter((count) => count > 0);
  assert.equal(counts.at(-1), 1, `the newest piece, ${JSON.stringify(counts)}`);
  assert.ok(counts.length > 2 && counts.filter((count) => count > 1).length <= 2, JSON.stringify(counts));
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

for (const major of matrixMajors) {
  test(`PostgreSQL ${major} – recovery ends exactly at an LSN, a transaction, a time, a name, and at the latest state`, async () => {
    await using server = await startTestServer({
      major,
      initdbArgs: ['--wal-segsize=1'],
      config: { wal_keep_size: '64MB', track_commit_timestamp: 'on' },
    });
    await using fixture = await makeFixture();
    await query(server, 'create table log (n int primary key, body text)');
    await using archive = await stream(fixture, server);
    const log: Committed[] = [];
    const add = async (count: number) => {
      for (let i = 0; i < count; i++) {
        log.push(await commit(server, log.length + 1));
        await sleep(5);
      }
    };
    await add(5);
    const first = await fixture.takeBackup(server);
    await add(40);
    await query(server, `select pg_create_restore_point('before lunch')`);
    await add(20);
    const second = await fixture.takeBackup(server);
    await add(30);
    await query(server, 'select pg_switch_wal()');
    await add(5);
    await archive.upTo(log.at(-1)!.lsn);
    await archive.end();

    const at = (n: number) => log[n - 1]!;
    assert.deepEqual(await numbersAt(fixture, 'latest', major), upTo(100));
    assert.deepEqual(await numbersAt(fixture, 'name:before lunch', major), upTo(45));
    for (const n of [20, 80]) {
      assert.deepEqual(await numbersAt(fixture, at(n).lsn, major), upTo(n), `lsn of ${n}`);
      assert.deepEqual(await numbersAt(fixture, `xid:${at(n).xid}`, major), upTo(n), `xid of ${n}`);
      assert.deepEqual(
        await numbersAt(fixture, `before:xid:${at(n).xid}`, major),
        upTo(n - 1),
        `before xid of ${n}`,
      );
      assert.deepEqual(await numbersAt(fixture, at(n).time, major), upTo(n), `time of ${n}`);
    }
    await bothSides(fixture, server, at(30).xid);
    assert.equal((await recover(fixture, at(20).lsn)).target.manifest.id, first.id);
    assert.equal((await recover(fixture, at(80).lsn)).target.manifest.id, second.id);

    await assert.rejects(recover(fixture, 'FF/0'), {
      code: 'TARGET_UNREACHABLE',
      message: /stored WAL after backup .* ends at/,
    });
    await assert.rejects(recover(fixture, at(2).lsn), {
      code: 'TARGET_UNREACHABLE',
      message: /before the end of every backup/,
    });
    await assert.rejects(recover(fixture, '2020-01-01 00:00Z'), { code: 'TARGET_UNREACHABLE' });
    await assert.rejects(recover(fixture, '2090-01-01 00:00Z'), {
      code: 'TARGET_UNREACHABLE',
      message: /the last transaction stored is of/,
    });
    await readOnce(fixture, () =>
      assert.rejects(recover(fixture, 'xid:999999'), { code: 'TARGET_UNREACHABLE' }),
    );
    await assert.rejects(recover(fixture, 'name:never'), { code: 'TARGET_UNREACHABLE' });
    await assert.rejects(recover(fixture, 'latest', 9), { code: 'BACKUP_NOT_FOUND' });
  });
}

test('a restored server goes on – its new timeline is stored beside the old; both lead to their own end', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'] });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int primary key, body text)');
  await using archive = await stream(fixture, server);
  for (let n = 1; n <= 3; n++) await commit(server, n);
  await fixture.takeBackup(server);
  let last: Committed | undefined;
  for (let n = 4; n <= 20; n++) last = await commit(server, n);
  await archive.upTo(last!.lsn);
  await archive.end();
  const middle = await query<{ xid: string }>(server, 'select xmin::text as xid from log where n = 10');

  const recovery = await recover(fixture, `xid:${middle.rows[0]!.xid}`);
  const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
  await using copy = await startRestored(directory, 17, { listen_addresses: '127.0.0.1' });
  await using onward = await stream(fixture, copy);
  for (let n = 101; n <= 105; n++) last = await commit(copy, n);
  await onward.upTo(last!.lsn);
  await onward.end();

  assert.deepEqual(await numbersAt(fixture, 'latest', 17), [...upTo(10), 101, 102, 103, 104, 105]);
  assert.deepEqual(await numbersAt(fixture, 'latest', 17, 1), upTo(20));

  // Without a new timeline a server would open where the first one was left.
  const across = await recover(fixture, 'latest');
  await assert.rejects(fixture.restoreTo(across.target.manifest, { recovery: across, newTimeline: false }), {
    code: 'USAGE',
    message: /stays on timeline 1; .* is on timeline 2/,
  });

  // What `wal status` promises is what `restore` does, also where the older timeline leads further.
  const { windows, rivals } = await walStatus(fixture.repository, database);
  const latest = (await recover(fixture, 'latest')).target;
  assert.deepEqual([windows[0]!.timeline, parseLsn(windows[0]!.to)], [2, latest.end]);
  assert.ok((await recover(fixture, 'latest', 1)).target.end > latest.end);
  assert.deepEqual(
    rivals.map(({ timeline, to }) => [timeline, to]),
    [[1, formatLsn((await recover(fixture, 'latest', 1)).target.end)]],
  );
});
