/** Full, load, incremental, load, incremental on each supported major; every backup is proven. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Contents,
  makeFixture,
  notPassed,
  query,
  serverContents,
} from '../../../test/backup-fixture.ts';
import { edgeMajors, startTestServer, type TestMajor } from '../../../test/pg-server.ts';
import { type Progress, silentProgress } from '../../base/progress.ts';
import { parseLsn } from '../../postgres/index.ts';
import type { Manifest } from '../../repository/index.ts';

const setUp = [
  `create table accounts (id int primary key, owner text not null, balance numeric(12,2), at timestamptz default '2026-01-01')`,
  `insert into accounts select i, md5(i::text), i * 1.25 from generate_series(1, 20000) i`,
  `create index on accounts (owner)`,
  `create table documents (id int primary key, body text)`,
  `insert into documents select i, (select string_agg(md5((i * 1000 + j)::text), '') from generate_series(1, 200) j) from generate_series(1, 200) i`,
  `create table events (id int, kind text, primary key (id, kind)) partition by list (kind)`,
  `create table events_a partition of events for values in ('a')`,
  `create table events_b partition of events for values in ('b')`,
  `insert into events select i, case when i % 2 = 0 then 'a' else 'b' end from generate_series(1, 2000) i`,
  `create materialized view totals as select kind, count(*) from events group by kind`,
  `create table shrinking as select i, repeat('x', 300) as pad from generate_series(1, 20000) i`,
];
const loads = [
  [
    `update accounts set balance = balance + 1 where id between 100 and 300`,
    `insert into documents select i, repeat(md5(i::text), 200) from generate_series(1000, 1020) i`,
    `delete from shrinking where i > 2000`,
    `vacuum shrinking`,
    `create table added as select i from generate_series(1, 1000) i`,
  ],
  [
    `truncate events_b`,
    `insert into accounts select i, 'new', 0 from generate_series(30001, 30300) i`,
    `drop table added`,
    `vacuum full documents`,
    `refresh materialized view totals`,
  ],
];

for (const major of edgeMajors) {
  test(`PostgreSQL ${major}, a full and two incremental backups – each restores to its own moment and is proven`, async () => {
    const summaries: Record<string, string> = major >= 17 ? { summarize_wal: 'on' } : {};
    await using server = await startTestServer({ major, initdbArgs: ['-k'], config: summaries });
    await using fixture = await makeFixture();
    await query(server, ...setUp);
    const backups: { manifest: Manifest; contents: Contents }[] = [];
    for (const statements of [[], ...loads]) {
      await query(server, ...statements);
      const shares = receivedShares();
      const manifest = await fixture.takeBackup(server, { progress: shares.progress });
      const share = shares.ofLast();
      assert.ok(share > 0.9 && share < 1.1, `the progress of the ${manifest.kind} backup ends at ${share}`);
      backups.push({ manifest, contents: await serverContents(server) });
    }
    checkTotals(
      backups.map((b) => b.manifest),
      major,
    );
    for (const { manifest, contents } of backups) {
      assert.deepEqual(await fixture.recorded(manifest), contents, `recorded content of ${manifest.kind}`);
      const report = await fixture.drillIt(manifest);
      assert.deepEqual(notPassed(report), []);
      assert.equal(report.verdict, 'proven');
    }
    // Without the drill's own comparison: the middle one, as a user would start it.
    assert.deepEqual(await fixture.contentsOf(backups[1]!.manifest), backups[1]!.contents);
  });
}

/** How much of its total the phase of receiving has advanced by. */
function receivedShares(): { progress: Progress; ofLast: () => number } {
  let [phase, total, done] = ['', 0, 0];
  const isReceiving = () => phase.startsWith('receiving') && !/WAL/.test(phase);
  let share = Number.NaN;
  return {
    progress: {
      ...silentProgress,
      phase: (name, expected = Number.NaN) => {
        [phase, total, done] = [name, expected, 0];
      },
      advance: (count) => {
        done += count;
        if (isReceiving()) share = done / total;
      },
    },
    ofLast: () => share,
  };
}

function checkTotals([full, ...incrementals]: Manifest[], major: TestMajor): void {
  assert.equal(full!.kind, 'full');
  assert.equal(full!.facts.transfer, 'all');
  assert.ok(full!.totals.bytes > 20e6, 'the cluster has more than 20 MB');
  for (const manifest of incrementals) {
    const { totals, facts } = manifest;
    assert.equal(manifest.kind, 'incremental');
    assert.ok(totals.stored < full!.totals.stored / 2, `stored ${totals.stored} of ${full!.totals.stored}`);
    assert.deepEqual(facts.warnings, []);
    if (major >= 17) {
      assert.equal(facts.transfer, 'changed-pages');
      const [got, all] = [dataReceived(manifest), dataReceived(full!)];
      assert.ok(got < all / 4, `received ${got} of ${all}`);
    } else {
      assert.equal(facts.transfer, 'changed-chunks');
    }
  }
}

/** Without the segments of WAL, which come whole with every backup. */
function dataReceived({ totals, facts }: Manifest): number {
  const segment = BigInt(facts.walSegmentSize as number);
  const [start, end] = [parseLsn(String(facts.startLsn)), parseLsn(String(facts.walEnd))];
  const segments = (end - 1n) / segment - start / segment + 1n;
  return totals.received - Number(segments * segment);
}
