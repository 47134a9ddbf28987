import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Daily, dayMs, segment, settings } from '../../../test/daily-backups.ts';
import { silentProgress } from '../../base/progress.ts';
import { logPieceName, putLogFile } from '../../repository/index.ts';
import { extendLocks } from './extend-lock.ts';

const window = settings('{ keep: { last: 20 }, minimum: 2, pitr: 3d }');

/** What is locked, and until which day after the first backup. */
async function locked(daily: Daily, dryRun = false) {
  const { repository, driver, clock } = daily.memory;
  const days = new Map<string, number>();
  const begun = clock.now().getTime() - (daily.ids.length - 1) * dayMs;
  const recording = {
    ...driver,
    capabilities: driver.capabilities,
    extendRetention: async (name: string, until: Date) => {
      assert.ok(!days.has(name) || !name.startsWith('wal/'), `${name} twice`);
      days.set(name, (until.getTime() - begun) / dayMs);
    },
  };
  for (const method of ['put', 'get', 'head', 'list', 'remove', 'now', 'close'] as const)
    Object.assign(recording, { [method]: (driver[method] as () => unknown).bind(driver) });
  const { log } = await extendLocks({
    repository: repository.on(recording as never),
    database: 'db',
    settings: window,
    dryRun,
    progress: silentProgress,
    signal: new AbortController().signal,
  });
  return { log, wal: [...days].filter(([name]) => name.startsWith('wal/db/0')), days };
}

const piece = (from: number, to: number) =>
  logPieceName('db', { line: 1, begin: BigInt(from * segment), end: BigInt(to * segment) });

test('WAL of the window – locked until the next backup is as old as the window is long; before it nothing', async () => {
  const daily = await Daily.of(8);
  const { wal, log } = await locked(daily);
  // The window begins on day 4: the backup of that day leads there. Its own segment is needed as long as it is.
  assert.deepEqual(wal, [
    [piece(4, 5), 8],
    [piece(5, 6), 9],
    [piece(6, 7), 10],
    [piece(7, 8), 10],
  ]);
  assert.deepEqual([log.pieces, log.until?.getTime()], [4, daily.memory.clock.now().getTime() + 3 * dayMs]);
});

test('parts of an open segment, WAL after the newest backup, and what tells the timelines', async () => {
  const daily = await Daily.of(8);
  const { repository, driver } = daily.memory;
  const part = logPieceName('db', { line: 1, begin: BigInt(9 * segment), end: BigInt(9 * segment) + 5n });
  for (const name of [piece(8, 9), part]) await driver.put(name, [Buffer.from('x')], { ifAbsent: true });
  const history = {
    database: 'db',
    kind: 'history',
    name: '00000002.history',
    bytes: Buffer.from('x'),
  } as const;
  await putLogFile(repository, history);
  const { wal, days } = await locked(daily);
  assert.deepEqual(wal.at(-1), [piece(8, 9), 10]);
  assert.equal(days.get('wal/db/history/00000002.history'), 10);
  daily.memory.clock.advance(7_200_000);
  assert.deepEqual((await locked(daily)).wal.at(-1)?.[0], part);
});

test('a dry run – says the same and locks nothing', async () => {
  const daily = await Daily.of(8);
  const { log, days } = await locked(daily, true);
  assert.deepEqual([log.pieces, days.size], [4, 0]);
});
