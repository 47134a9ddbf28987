import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { rowsAtLatest, startWalStream } from '../../../test/wal-stream.ts';
import { silentProgress } from '../../base/progress.ts';
import { formatLsn, parseLsn } from '../../postgres/index.ts';
import { findTransactions } from '../find/find.ts';
import { findRecovery } from '../restore/find-recovery.ts';
import { parseTarget } from '../restore/target-words.ts';
import { walAlarms } from './alarms.ts';
import { walStatus } from './status.ts';

const pageSize = 8192;

/** On the server's disk: its sender hands over what is there. */
async function change(
  server: TestServer,
  file: string,
  page: number,
  work: (bytes: Buffer) => void,
): Promise<void> {
  await using handle = await open(join(server.dataDir, 'pg_wal', file), 'r+');
  const bytes = Buffer.alloc(pageSize);
  await handle.read(bytes, 0, pageSize, page * pageSize);
  work(bytes);
  await handle.write(bytes, 0, pageSize, page * pageSize);
}

async function now(server: TestServer): Promise<{ lsn: string; time: string; file: string }> {
  const { rows } = await query<{ lsn: string; time: string; file: string }>(
    server,
    `select pg_current_wal_flush_lsn()::text as lsn, clock_timestamp()::text as time,
       pg_walfile_name(pg_current_wal_insert_lsn()) as file`,
  );
  return rows[0]!;
}

const insert = (n: number) =>
  `insert into log select ${n}, repeat(md5(g::text), 20) from generate_series(1, 200) g`;

for (const [how, work] of [
  ['a flipped bit', (bytes: Buffer) => void bytes.writeUInt8(bytes[4000]! ^ 1, 4000)],
  ['a page of zeroes, which recovery takes for the end of WAL', (bytes: Buffer) => void bytes.fill(0)],
] as const)
  test(`WAL that is damaged on the server's disk: ${how} – a typed gap, an alarm, no target beyond it, until a new backup`, async () => {
    await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
    await using fixture = await makeFixture();
    await query(server, 'create table log (n int, body text)');
    const first = await startWalStream(fixture, server);
    await fixture.takeBackup(server);
    await query(server, insert(1));
    await first.upToNow();
    await first.end();

    await query(server, 'select pg_switch_wal()', insert(2));
    const bad = await now(server);
    await query(server, insert(3), 'select pg_switch_wal()', insert(4));
    await change(server, bad.file, 10, work);
    await using second = await startWalStream(fixture, server);
    await second.upToNow();
    await query(server, 'select pg_switch_wal()', insert(5));
    await second.upToNow();
    assert.match(
      second.notes.join('\n'),
      /warn: the WAL at \S+ is damaged: .*recovery can go up to \S+: take a backup now/,
    );

    const { repository, identities } = fixture;
    const signal = new AbortController().signal;
    const to = (words: string) => {
      const target = parseTarget(words, new Date());
      assert.ok(target.kind !== 'backup');
      return findRecovery({ repository, identities, database: 'main', target, signal });
    };
    const status = await walStatus(repository, 'main');
    const [gap, ...others] = status.gaps;
    assert.ok(gap && others.length === 0, JSON.stringify(status.gaps));
    assert.deepEqual([gap.reason, gap.closedBy], ['damaged', undefined]);
    assert.ok(gap.time);
    const [from, end] = [parseLsn(gap.from), parseLsn(gap.to)];
    assert.equal(end % (1n << 20n), 0n);
    assert.ok(end - from < 1n << 20n && from < parseLsn(bad.lsn), `${gap.from} to ${gap.to}`);
    assert.equal(status.windows[0]!.to, gap.from, 'no promise beyond the damage');
    const limits = { maxLag: 60, minRoom: 0 };
    const alarms = walAlarms({ slot: 'helvino', limits, status, source: undefined });
    assert.match(alarms[0]?.message ?? '', /is damaged, and there is no backup after it/);

    for (const words of [(await now(server)).lsn, bad.time])
      await assert.rejects(to(words), { code: 'TARGET_UNREACHABLE', hint: new RegExp(`to ${gap.from}`) });
    await assert.rejects(to((await now(server)).lsn), { message: /what is stored is damaged/ });
    const latest = await to('latest');
    assert.equal(formatLsn(latest.target.end), gap.from);
    assert.match(latest.target.description, /there is a gap \(what is stored is damaged/);
    assert.equal(await rowsAtLatest(fixture, 18), 200);

    // What is behind the damage is still found, and what is not known is said.
    const found = await findTransactions({
      repository,
      database: 'main',
      filter: { tables: [], drops: false, truncates: false, all: true },
      limit: 100,
      progress: silentProgress,
      signal,
    });
    assert.equal(found.transactions.at(-1)?.changes[0]?.inserted, 200);
    assert.ok(
      found.notSearched.some((one) => one.from === gap.from && one.to === gap.to && /damaged/.test(one.why)),
      JSON.stringify(found.notSearched),
    );

    const backup = await fixture.takeBackup(server);
    await query(server, insert(6));
    await second.upToNow();
    const closed = await walStatus(repository, 'main');
    assert.equal(closed.gaps[0]?.closedBy, backup.id);
    assert.equal(await rowsAtLatest(fixture, 18), 1200);
  });
