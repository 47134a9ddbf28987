import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query, startRestored } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestMajor, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { HelvinoError } from '../../base/errors.ts';
import { findRecovery } from '../restore/find-recovery.ts';
import { walStatus } from './status.ts';

/** Commits without pause, about a megabyte a second or more, until told to stop. Gives the rows that were committed. */
function load(server: TestServer): { end(): Promise<number> } {
  let running = true;
  const work = (async () => {
    let rows = 0;
    while (running) {
      await query(
        server,
        ...Array(20).fill(
          `insert into log select g, repeat(md5(g::text), 10) from generate_series(1, 100) g`,
        ),
      );
      rows += 2000;
    }
    return rows;
  })();
  return {
    end: () => {
      running = false;
      return work;
    },
  };
}

interface Seen {
  readonly state: string;
  readonly active: boolean;
  readonly claimed: boolean;
}

const look = `select r.state, s.active, c.active is true as claimed from pg_stat_replication r
  join pg_replication_slots s on s.slot_name = 'helvino'
  left join pg_replication_slots c on c.slot_name = 'helvino_reader' and c.active_pid = r.pid`;

async function states(server: TestServer, ms: number): Promise<Seen[]> {
  const seen: Seen[] = [];
  for (const end = performance.now() + ms; performance.now() < end; await sleep(10))
    seen.push(...(await query<Seen & Record<string, unknown>>(server, look)).rows);
  return seen;
}

/** Until the sender does as it should; fails after a minute. */
async function until(server: TestServer, what: string, condition: (seen: Seen) => boolean): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(10))
    if ((await query<Seen & Record<string, unknown>>(server, look)).rows.some(condition)) return;
  assert.fail(what);
}

for (const major of [14, 18] as const satisfies TestMajor[])
  test(`PostgreSQL ${major}, a busy server – is visited, others are kept off the slot, nothing is missing; a calm one is listened to`, async () => {
    await using server = await startTestServer({ major, initdbArgs: ['--wal-segsize=1'] });
    await using fixture = await makeFixture();
    await query(server, 'create table log (n int, body text)');
    await using stream = await startWalStream(fixture, server, { intervalMs: 500 });
    await stream.upToNow();
    await fixture.takeBackup(server);
    const busy = load(server);
    await until(
      server,
      'the stream never ended between two reads',
      ({ active, claimed }) => !active && claimed,
    );
    const second = await startWalStream(fixture, server);
    await assert.rejects(
      second.done,
      (thrown) =>
        thrown instanceof HelvinoError &&
        /another stream uses the replication slot helvino/.test(thrown.message),
    );
    await sleep(1500);
    const rows = await busy.end();
    await stream.upToNow();
    await until(server, 'the calm server is not listened to', ({ state }) => state === 'streaming');
    const calm = await states(server, 500);
    assert.ok(
      calm.every(({ active, claimed }) => active && claimed),
      'a calm stream stays',
    );
    const status = await walStatus(fixture.repository, 'main');
    assert.equal(status.ranges.length, 1);
    assert.deepEqual(status.gaps, []);
    assert.deepEqual(
      stream.notes.filter((note) => note.startsWith('warn')),
      [],
    );

    const signal = new AbortController().signal;
    const { repository, identities } = fixture;
    const target = { kind: 'latest' } as const;
    const recovery = await findRecovery({ repository, identities, database: 'main', target, signal });
    const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
    await using restored = await startRestored(directory, major);
    const { rows: counted } = await query<{ n: number }>(restored, 'select count(*)::int as n from log');
    assert.equal(counted[0]!.n, rows);
  });

test('a busy server, its connection cut between two reads – the stream comes back, nothing is missing', async () => {
  await using server = await startTestServer({ major: 17, initdbArgs: ['--wal-segsize=1'] });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  await using stream = await startWalStream(fixture, server, { intervalMs: 500 });
  await stream.upToNow();
  const busy = load(server);
  await until(server, 'the stream never ended between two reads', ({ active }) => !active);
  await query(server, 'select pg_terminate_backend(pid) from pg_stat_replication');
  await sleep(1000);
  await busy.end();
  await stream.upToNow();
  assert.match(stream.notes.join('\n'), /warn: .* trying again/);
  const status = await walStatus(fixture.repository, 'main');
  assert.equal(status.ranges.length, 1);
  assert.deepEqual(status.gaps, []);
});

test('synchronous, or a server that logs each command – the stream stays', async () => {
  await using server = await startTestServer({ major: 17 });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  for (const [settings, options] of [
    ['select 1', { synchronous: true }],
    [`alter system set log_replication_commands = on`, {}],
  ] as const) {
    await query(server, settings, 'select pg_reload_conf()');
    await using stream = await startWalStream(fixture, server, { intervalMs: 500, ...options });
    await stream.upToNow();
    const busy = load(server);
    const seen = await states(server, 2500);
    await busy.end();
    assert.ok(seen.length > 0 && seen.every(({ active }) => active), 'it streams all the time');
  }
});
