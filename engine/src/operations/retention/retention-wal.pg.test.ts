import assert from 'node:assert/strict';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Fixture, makeFixture, query, startRestored } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream, type TestStream } from '../../../test/wal-stream.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { backupFacts } from '../../catalog/index.ts';
import { parseConfigText } from '../../config/index.ts';
import { parseLsn, walSegmentBegin } from '../../postgres/index.ts';
import { listLog, type Manifest } from '../../repository/index.ts';
import { hasCode } from '../../storage/testing/contract-tools.ts';
import { health } from '../health/health.ts';
import { findRecovery } from '../restore/find-recovery.ts';
import { parseTarget } from '../restore/target-words.ts';
import { applyRetention } from './apply.ts';
import { planRetentionOf } from './plan.ts';

const settings = parseConfigText(
  `version: 1
repositories: { r: { storage: { type: fs, path: . }, recipients: [age1a], catalogKey: { file: key } } }
databases: { main: { connection: {}, repository: r, retention: { keep: { last: 1 }, minimum: 1, pitr: 14d } } }`,
  'test',
).databases.main!;
const dayMs = 86_400_000;
const major = 18;

/** The position after a row was committed, and everything before it is stored. */
async function add(server: TestServer, stream: TestStream, n: number): Promise<string> {
  await query(server, `insert into log select ${n}, repeat(md5(i::text), 30) from generate_series(1, 900) i`);
  const { rows } = await query<{ lsn: string }>(server, 'select pg_current_wal_flush_lsn()::text as lsn');
  await stream.upTo(rows[0]!.lsn);
  return rows[0]!.lsn;
}

/** A backup as of some days ago. */
async function backupAt(fixture: Fixture, server: TestServer, daysAgo: number): Promise<Manifest> {
  const now = () => new Date(Date.now() - daysAgo * dayMs);
  const manifest = await fixture.takeBackup(server, { clock: { ...systemClock, now }, fingerprint: 'off' });
  await age(join(fixture.root, 'backups/main', manifest.id), daysAgo);
  return manifest;
}

async function age(path: string, daysAgo: number): Promise<void> {
  const at = new Date(Date.now() - daysAgo * dayMs);
  await utimes(path, at, at);
}

async function recover(fixture: Fixture, words: string): Promise<number[]> {
  const target = parseTarget(words, new Date());
  assert.ok(target.kind !== 'backup');
  const { repository, identities } = fixture;
  const signal = new AbortController().signal;
  const recovery = await findRecovery({ repository, identities, database: 'main', target, signal });
  const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
  await using server = await startRestored(directory, major);
  const { rows } = await query<{ n: number }>(server, 'select distinct n from log order by n');
  return rows.map(({ n }) => n);
}

test('WAL of an applied plan – every moment of the window is recoverable, what is before it is gone', async () => {
  await using server = await startTestServer({
    major,
    initdbArgs: ['--wal-segsize=1'],
    config: { wal_keep_size: '64MB', summarize_wal: 'on' },
  });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  await using stream = await startWalStream(fixture, server);
  await add(server, stream, 1);
  const first = await backupAt(fixture, server, 40);
  const before = await add(server, stream, 2);
  const second = await backupAt(fixture, server, 20);
  const inWindow = await add(server, stream, 3);
  const third = await backupAt(fixture, server, 0.5);
  await add(server, stream, 4);
  // All that was written before the second backup is as old as the first.
  const { walEnd, walSegmentSize } = backupFacts(second);
  const from = walSegmentBegin(parseLsn(walEnd), walSegmentSize);
  for await (const { name, end } of listLog(fixture.repository.driver, 'main'))
    if (end <= from) await age(join(fixture.root, name), 30);
  assert.deepEqual(await recover(fixture, before), [1, 2]);

  const { repository } = fixture;
  const plan = await planRetentionOf(repository, 'main', settings);
  assert.deepEqual(
    plan.kinds[0]!.decisions.map(({ id, action, reasons }) => [id, action, reasons[0]!.rule]),
    [
      [first.id, 'remove', 'no rule'],
      [second.id, 'keep', 'recovery window'],
      [third.id, 'keep', 'minimum'],
    ],
  );
  assert.ok(plan.log.remove.length > 0);
  await applyRetention({
    repository,
    database: 'main',
    settings,
    planId: plan.id,
    others: [],
    graceMs: 0,
    progress: silentProgress,
    signal: new AbortController().signal,
  });
  for await (const { end } of listLog(repository.driver, 'main')) assert.ok(end > from);
  assert.deepEqual(await recover(fixture, inWindow), [1, 2, 3]);
  assert.deepEqual(await recover(fixture, 'latest'), [1, 2, 3, 4]);
  await assert.rejects(recover(fixture, before), hasCode('TARGET_UNREACHABLE'));
  const report = await health({
    repository,
    database: 'main',
    settings,
    clock: systemClock,
    copies: [],
    env: {},
  });
  assert.deepEqual([report.recoverable?.how, report.recoverable?.from], ['any moment', second.finished]);
  // The stream goes on where it was.
  await add(server, stream, 5);
  assert.deepEqual(await recover(fixture, 'latest'), [1, 2, 3, 4, 5]);
});
