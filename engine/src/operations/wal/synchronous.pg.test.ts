import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fixture, makeFixture, query, withClient } from '../../../test/backup-fixture.ts';
import { matrixMajors, startTestServer, type TestMajor, type TestServer } from '../../../test/pg-server.ts';
import { serverAtLatest, startWalStream } from '../../../test/wal-stream.ts';
import { systemClock } from '../../base/clock.ts';
import { resolveConnection } from '../../postgres/index.ts';
import { checkServer } from '../setup/check-server.ts';
import { walAlarms } from './alarms.ts';
import { storedClusters } from './known-cluster.ts';
import { knownState, readSourceState, readStoredEnds } from './source-state.ts';
import { walStatus } from './status.ts';

const slot = 'helvino_main';
const config = { synchronous_standby_names: `FIRST 1 (${slot})`, synchronous_commit: 'on' };

/** Power cut: the server and all its processes at once. */
async function kill(server: TestServer): Promise<void> {
  const children = await readFile(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8');
  for (const pid of [server.pid, ...children.trim().split(' ').map(Number)])
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended by itself
    }
}

/** Commits one row after the other until the server is gone; the numbers that were acknowledged. */
async function commitUntilTheEnd(server: TestServer, worker: number): Promise<number[]> {
  const acknowledged: number[] = [];
  await withClient(server, async (client) => {
    client.on('error', () => undefined);
    for (let n = worker * 1_000_000; ; n++) {
      await client.query('insert into log values ($1)', [n]);
      acknowledged.push(n);
    }
  }).catch(() => undefined);
  return acknowledged;
}

async function numbersAtLatest({
  fixture,
  major,
}: {
  fixture: Fixture;
  major: TestMajor;
}): Promise<Set<number>> {
  // Not the copy's: it would wait for us, too.
  await using restored = await serverAtLatest(fixture, major, { synchronous_standby_names: '' });
  const { rows } = await query<{ n: number }>(restored, 'select n from log');
  return new Set(rows.map(({ n }) => n));
}

for (const major of matrixMajors) {
  test(`PostgreSQL ${major}, synchronous – the server and its disk are gone: every acknowledged commit is in the repository`, async () => {
    await using server = await startTestServer({ major, initdbArgs: ['--wal-segsize=1'], config });
    await using fixture = await makeFixture();
    const stream = await startWalStream(fixture, server, { slot, synchronous: true, intervalMs: 60_000 });
    await query(server, 'create table log (n int primary key)');
    await fixture.takeBackup(server);
    const workers = [1, 2, 3, 4].map((worker) => commitUntilTheEnd(server, worker));
    await sleep(4000);
    await kill(server);
    await rm(server.dataDir, { recursive: true, force: true });
    const acknowledged = (await Promise.all(workers)).flat();
    await stream.end();
    assert.ok(acknowledged.length > 40, `${acknowledged.length} commits`);
    const there = await numbersAtLatest({ fixture, major });
    assert.deepEqual(
      acknowledged.filter((n) => !there.has(n)),
      [],
    );
  });
}

test('the server waits for a stream that does not run – doctor and status say so; with the stream the commit goes through', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'], config });
  await using fixture = await makeFixture();
  const connection = await resolveConnection({ url: server.url }, {});
  let committed = false;
  const waiting = query(server, 'create table log (n int)').then(() => {
    committed = true;
  });
  const state = async () =>
    readSourceState({
      connection,
      slot,
      clusters: await storedClusters(fixture.repository, 'main'),
      stored: undefined,
      storedNow: () => readStoredEnds(fixture.repository, 'main'),
      now: new Date(),
      clock: systemClock,
    });
  for (let i = 0; ; i++, await sleep(100)) {
    const source = knownState(await state());
    assert.ok(source);
    if (source.waiting > 0) break;
    assert.ok(i < 300, 'nobody waits');
  }
  const names = { slot, streamName: slot };
  const finding = async () =>
    (await checkServer(connection, names)).findings.find(({ name }) => name === 'synchronous_standby_names');
  const bad = await finding();
  assert.equal(bad?.state, 'missing');
  assert.match(bad!.detail, /no stream runs: each commit waits .*; 1 session waits now/);
  const limits = { maxLag: 60, minRoom: 1 << 30 };
  const status = await walStatus(fixture.repository, 'main');
  const alarms = walAlarms({ slot, limits, status, source: await state() });
  assert.deepEqual(
    alarms.map(({ name }) => name),
    ['stream', 'commits'],
  );
  assert.equal(committed, false);

  await using stream = await startWalStream(fixture, server, { slot, synchronous: true });
  await waiting;
  await query(server, 'insert into log values (1)');
  await stream.upToNow();
  const good = await finding();
  assert.deepEqual(
    [good?.state, good?.detail],
    ['good', `commits wait until ${slot} has stored them: none can be lost`],
  );
  const source = knownState(await state());
  assert.ok(source);
  assert.equal(source.slot?.sync, 'sync');
  assert.deepEqual(walAlarms({ slot, limits, status, source }), []);
});
