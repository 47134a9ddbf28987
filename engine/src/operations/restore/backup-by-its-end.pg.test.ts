import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onceReceived } from '../../../test/backup-faults.ts';
import { type Fixture, makeFixture, query, startRestored, withClient } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { backupFacts } from '../../catalog/index.ts';
import { formatLsn, parseLsn } from '../../postgres/index.ts';
import type { Manifest } from '../../repository/index.ts';
import { findRecovery } from './find-recovery.ts';
import { parseTarget } from './target-words.ts';

const options = { major: 17, initdbArgs: ['--wal-segsize=1'] } as const;

interface Committed {
  readonly xid: string;
  /** All of it is before this, nothing of the next is. */
  readonly lsn: string;
  readonly time: string;
}

/** A row, and a restore point after it. */
async function commit(server: TestServer, n: number): Promise<Committed> {
  const results = await withClient(server, (client) =>
    client.query(`begin; insert into log values (${n}); select pg_current_xact_id()::text as xid; commit;
      select pg_current_wal_flush_lsn()::text as lsn, clock_timestamp()::text as time;
      select pg_create_restore_point('row ${n}')`),
  );
  const [, , { rows: first } = { rows: [] }, , { rows: second } = { rows: [] }] = results as unknown as {
    rows: Record<string, string>[];
  }[];
  return { xid: first[0]!.xid!, lsn: second[0]!.lsn!, time: second[0]!.time! };
}

/** The backup cannot end before the work is done: what sends its files is halted. Slow, so that this is not too late. */
async function backupAround(fixture: Fixture, server: TestServer, work: () => Promise<void>) {
  const sending = `select pid from pg_stat_replication where state = 'backup' order by backend_start desc`;
  const middle = onceReceived(1e6, async () => {
    const { rows } = await query<{ pid: number }>(server, sending);
    process.kill(rows[0]!.pid, 'SIGSTOP');
    try {
      await work();
    } finally {
      process.kill(rows[0]!.pid, 'SIGCONT');
    }
  });
  const manifest = await fixture.takeBackup(server, { maxRateKiB: 3_072, progress: middle.progress });
  await middle.done();
  return manifest;
}

function recover(fixture: Fixture, words: string) {
  const target = parseTarget(words, new Date());
  assert.ok(target.kind !== 'backup');
  const { repository, identities } = fixture;
  const signal = new AbortController().signal;
  return findRecovery({ repository, identities, database: 'main', target, signal });
}

const chosen = async (fixture: Fixture, words: string) => (await recover(fixture, words)).target.manifest.id;

async function numbersIn(fixture: Fixture, manifest: Manifest, words?: string): Promise<number[]> {
  const recovery = words === undefined ? undefined : await recover(fixture, words);
  const { directory } = await fixture.restoreTo(recovery?.target.manifest ?? manifest, { recovery });
  await using server = await startRestored(directory, 17);
  return (await query<{ n: number }>(server, 'select n from log order by n')).rows.map(({ n }) => n);
}

/** The ways to say that a row is the last one. */
const wordsFor = (n: number, { xid, lsn, time }: Committed) => [lsn, time, `xid:${xid}`, `name:row ${n}`];

/** Each of these rows, named in any way, is restored from this backup. */
async function assertChosen(
  fixture: Fixture,
  manifest: Manifest,
  { numbers, at }: { numbers: readonly number[]; at: (n: number) => Committed },
): Promise<void> {
  for (const n of numbers)
    for (const words of wordsFor(n, at(n)))
      assert.equal(await chosen(fixture, words), manifest.id, `${n}: ${words}`);
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

function assertWithin(manifest: Manifest, lsn: string): void {
  const { startLsn, walEnd } = backupFacts(manifest);
  const at = parseLsn(lsn);
  assert.ok(parseLsn(startLsn) < at && at <= parseLsn(walEnd), `${startLsn} < ${lsn} <= ${walEnd}`);
}

test('committed while a backup runs – restored from the backup before it; that one only leads to what is after its end', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int)');
  await using stream = await startWalStream(fixture, server);
  const rows = new Map<number, Committed>();
  const add = async (n: number) => void rows.set(n, await commit(server, n));
  await add(1);
  const a = await backupAround(fixture, server, () => add(2));
  await add(3);
  const b = await backupAround(fixture, server, async () => {
    await add(4);
    await add(5);
  });
  await add(6);
  await add(7);
  await stream.upToNow();
  await stream.end();
  const at = (n: number) => rows.get(n)!;
  assertWithin(a, at(2).lsn);
  for (const n of [4, 5]) assertWithin(b, at(n).lsn);

  const end = backupFacts(a).walEnd;
  for (const words of wordsFor(2, at(2)))
    await assert.rejects(recover(fixture, words), {
      code: 'TARGET_UNREACHABLE',
      hint: new RegExp(`recoverable is from ${end} \\(the end of backup ${a.id}, `),
    });
  for (const [manifest, numbers] of [
    [a, [3, 4]],
    [b, [6]],
  ] as const)
    await assertChosen(fixture, manifest, { numbers, at });
  for (const words of [`before:xid:${at(5).xid}`, `before:${at(4).time}`, 'before:name:row 5'])
    assert.equal(await chosen(fixture, words), a.id, words);

  for (const words of [at(4).lsn, at(4).time])
    assert.deepEqual(await numbersIn(fixture, a, words), upTo(4), words);
  assert.deepEqual(await numbersIn(fixture, b), upTo(5), 'alone');
  assert.deepEqual(await numbersIn(fixture, b, at(6).time), upTo(6));

  // The border itself.
  const { walEnd, ended } = backupFacts(b);
  assert.ok(ended);
  assert.equal(await chosen(fixture, walEnd), b.id);
  assert.equal(await chosen(fixture, formatLsn(parseLsn(walEnd) - 1n)), a.id);
  assert.equal(await chosen(fixture, ended), b.id);
  assert.equal(await chosen(fixture, new Date(new Date(ended).getTime() - 1).toISOString()), a.id);
  assert.equal(await chosen(fixture, 'latest'), b.id);
});

test('a backup within another – each leads to what is after its own end, whichever began first', async () => {
  await using server = await startTestServer(options);
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int)');
  await using stream = await startWalStream(fixture, server);
  const rows = new Map<number, Committed>();
  const add = async (n: number) => void rows.set(n, await commit(server, n));
  const a = await fixture.takeBackup(server);
  await add(1);
  let inner: Manifest | undefined;
  const outer = await backupAround(fixture, server, async () => {
    await add(2);
    inner = await backupAround(fixture, server, () => add(3));
    await add(4);
  });
  await add(5);
  await add(6);
  await stream.upToNow();
  await stream.end();
  assert.ok(inner && outer.id < inner.id);
  const at = (n: number) => rows.get(n)!;
  assertWithin(inner, at(3).lsn);
  assert.ok(parseLsn(backupFacts(inner).walEnd) < parseLsn(at(4).lsn));
  assertWithin(outer, at(4).lsn);

  for (const [manifest, numbers] of [
    [a, [1, 2, 3]],
    [inner, [4]],
  ] as const)
    await assertChosen(fixture, manifest, { numbers, at });
  assert.deepEqual(await numbersIn(fixture, inner, at(4).time), upTo(4));
  assert.deepEqual(await numbersIn(fixture, outer), upTo(4), 'alone');
  assert.deepEqual(await numbersIn(fixture, outer, `xid:${at(5).xid}`), upTo(5));
});
