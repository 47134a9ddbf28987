import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fixture, makeFixture, query } from '../../../test/backup-fixture.ts';
import { startLoad, untilVisited } from '../../../test/busy-server.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { beforeReading, hastyClock, startWalStream, type TestStream } from '../../../test/wal-stream.ts';
import { silentProgress } from '../../base/progress.ts';
import { parseLsn } from '../../postgres/index.ts';

/** A host that is gone, as far as we can see: nothing answers, nothing is closed. Gives what brings it back. */
async function freeze(server: TestServer): Promise<() => void> {
  const children = await readFile(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8');
  const all = [server.pid, ...children.trim().split(' ').map(Number)];
  const signal = (name: 'SIGSTOP' | 'SIGCONT') => {
    for (const pid of all)
      try {
        process.kill(pid, name);
      } catch {
        // it has ended meanwhile
      }
  };
  signal('SIGSTOP');
  return () => signal('SIGCONT');
}

async function endsSoon(done: Promise<void>, what: string): Promise<void> {
  const ended = await Promise.race([done.then(() => true), sleep(30_000, false)]);
  assert.ok(ended, `the stream goes on although it was stopped ${what}`);
}

/** A stream that does something when it is about to read a timeline. */
async function streamAtStart(
  fixture: Fixture,
  server: TestServer,
  atStart: () => Promise<void> | void,
): Promise<TestStream & { stop(): void; begun: Promise<void> }> {
  const stop = new AbortController();
  const begun = Promise.withResolvers<void>();
  const phase = () => void Promise.resolve(atStart()).then(() => begun.resolve());
  const stream = await startWalStream(fixture, server, {
    clock: hastyClock,
    signal: stop.signal,
    progress: { ...silentProgress, phase },
  });
  return Object.assign(stream, { stop: () => stop.abort(), begun: begun.promise });
}

test('stopped while it starts – the stream ends', async () => {
  await using server = await startTestServer({ major: 17 });
  await using fixture = await makeFixture();
  const { onPhase } = beforeReading(fixture, 1, () => stream.stop());
  const stream = await streamAtStart(fixture, server, onPhase);
  await endsSoon(stream.done, 'while it started');
});

test('stopped while the server does not answer: as it starts, between two visits, while it listens – the stream ends', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'] });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  let thaw = () => {};
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => thaw());
  const starting = await streamAtStart(fixture, server, async () => {
    thaw = await freeze(server);
  });
  await starting.begun;
  await sleep(200);
  starting.stop();
  await endsSoon(starting.done, 'while it started');
  thaw();

  const visiting = await startWalStream(fixture, server, { clock: hastyClock });
  await visiting.upToNow();
  const load = startLoad(server);
  await untilVisited(server);
  thaw = await freeze(server);
  await sleep(300);
  await endsSoon(visiting.end(), 'while it visited');
  thaw();
  await load.end();

  const listening = await startWalStream(fixture, server, { clock: hastyClock });
  await listening.upToNow();
  await sleep(300);
  thaw = await freeze(server);
  await endsSoon(listening.end(), 'while it listened');
});

test('a calm server is stopped in order – it waits until its last bytes are stored', async () => {
  await using server = await startTestServer({ major: 17 });
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, { intervalMs: 1000 });
  await stream.upToNow();
  const { rows } = await query<{ lsn: string }>(
    server,
    'create table log (n int)',
    'select pg_current_wal_flush_lsn()::text as lsn',
  );
  assert.ok(stream.durable < parseLsn(rows[0]!.lsn));
  await server.stop('fast');
  assert.ok(stream.durable >= parseLsn(rows[0]!.lsn));
});

test('the server is gone with its disk – what had come is stored, although no interval had passed', async () => {
  await using server = await startTestServer({ major: 17 });
  await using fixture = await makeFixture();
  const stream = await startWalStream(fixture, server, { intervalMs: 3_600_000 });
  await query(server, 'create table log (n int)');
  const { rows } = await query<{ lsn: string }>(server, 'select pg_current_wal_flush_lsn()::text as lsn');
  const sent = `select count(*)::int as n from pg_stat_replication where sent_lsn >= '${rows[0]!.lsn}'`;
  while ((await query<{ n: number }>(server, sent)).rows[0]!.n === 0) await sleep(20);
  await sleep(500);
  await server.stop('kill');
  await stream.upTo(rows[0]!.lsn);
  await stream.end();
});
