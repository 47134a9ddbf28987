import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fixture, makeFixture, query, startRestored } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { systemClock } from '../../base/clock.ts';
import { parseLsn, resolveConnection } from '../../postgres/index.ts';
import { findRecovery } from '../restore/find-recovery.ts';
import { walAlarms } from './alarms.ts';
import { storedClusters } from './known-cluster.ts';
import { SlotWatch } from './slot-watch.ts';
import { knownState, readSourceState, readStoredEnds, type SourceState, storedEnds } from './source-state.ts';
import { walStatus } from './status.ts';

const slot = 'helvino';

async function flushed(server: TestServer): Promise<string> {
  const sql = 'select pg_current_wal_flush_lsn()::text as lsn';
  return (await query<{ lsn: string }>(server, sql)).rows[0]!.lsn;
}

test('a server that was restored to an earlier time – what is stored of its former self is not taken for its own', async () => {
  await using fixture = await makeFixture();
  const { repository, identities } = fixture;
  const lagOf = async (server: TestServer): Promise<SourceState['lag']> => {
    const source = await readSourceState({
      connection: await resolveConnection({ url: server.url }, {}),
      slot,
      clusters: await storedClusters(repository, 'main'),
      stored: storedEnds(await walStatus(repository, 'main')),
      storedNow: () => readStoredEnds(repository, 'main'),
      now: new Date(),
      clock: systemClock,
    });
    const state = knownState(source);
    assert.ok(state, String(source));
    return state.lag;
  };
  await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  await using stream = await startWalStream(fixture, server);
  await query(server, 'create table log (n int)');
  await fixture.takeBackup(server);
  await query(server, 'insert into log values (1)');
  const early = await flushed(server);
  await query(server, 'insert into log select generate_series(2, 100000)');
  await stream.upToNow();
  assert.equal((await lagOf(server)).bytes, 0);
  await stream.end();

  const recovery = await findRecovery({
    repository,
    identities,
    database: 'main',
    target: { kind: 'lsn', lsn: early },
    signal: new AbortController().signal,
  });
  const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
  await using restored = await startRestored(directory, 18);
  await query(restored, 'insert into log values (-1)');
  const ahead = await flushed(restored);
  assert.ok(
    parseLsn(ahead) < parseLsn(await flushed(server)),
    'the restored server is behind its former self',
  );
  const { bytes } = await lagOf(restored);
  assert.equal(bytes, Number(parseLsn(ahead) - recovery.target.end));

  const notes: string[] = [];
  const progress = {
    phase() {},
    advance() {},
    total() {},
    note: (_: string, text: string) => void notes.push(text),
  };
  const connection = await resolveConnection({ url: restored.url }, {});
  {
    await using watch = new SlotWatch(
      { connection, slot, clock: systemClock, progress },
      { everyMs: 50, maxLag: 0.2, minRoom: 0 },
    );
    watch.stored(1, parseLsn(await flushed(server)));
    for (let i = 0; i < 100 && !notes.some((note) => /timeline 2/.test(note)); i++) await sleep(50);
    assert.match(notes.join('\n'), /the server is on timeline 2, and nothing of that was stored for/);
    watch.stored(2, parseLsn(await flushed(restored)));
    for (let i = 0; i < 100 && !notes.some((note) => /caught up/.test(note)); i++) await sleep(50);
    assert.match(notes.join('\n'), /caught up/);
  }

  await using second = await startWalStream(fixture, restored);
  await second.upToNow();
  assert.equal((await lagOf(restored)).bytes, 0);
});

test('a stream that stores into another repository with our slot – is no proof that all is stored here', async () => {
  await using fixture = await makeFixture();
  await using other = await makeFixture();
  await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  const connection = await resolveConnection({ url: server.url }, {});
  const ask = async ({ repository }: Fixture): Promise<string[]> => {
    const status = await walStatus(repository, 'main');
    const source = await readSourceState({
      connection,
      slot,
      clusters: await storedClusters(repository, 'main'),
      stored: storedEnds(status),
      storedNow: () => readStoredEnds(repository, 'main'),
      now: new Date(),
      clock: systemClock,
    });
    const limits = { maxLag: 60, minRoom: 0 };
    return walAlarms({ slot, limits, status, source }).map(({ name }) => name);
  };
  await query(server, 'create table log (n int)');
  {
    await using stream = await startWalStream(fixture, server);
    await stream.upToNow();
    assert.deepEqual(await ask(fixture), []);
    assert.deepEqual(await ask(other), ['elsewhere'], 'nothing is stored there');
  }
  await using stream = await startWalStream(other, server);
  await query(server, 'insert into log select generate_series(1, 100000)');
  await stream.upToNow();
  assert.deepEqual(await ask(other), []);
  assert.deepEqual(await ask(fixture), ['elsewhere']);
});
