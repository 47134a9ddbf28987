import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Daily, failRun, removes } from '../../../test/daily-backups.ts';
import { silentProgress } from '../../base/progress.ts';
import { Lease, putRunNote } from '../../repository/index.ts';
import { recordRun } from '../runs/record-run.ts';

test('a run that failed – forgotten with the next backup; of another kind, or a wrong command line – no matter', async () => {
  const daily = await Daily.of(8);
  await failRun(daily, 'USAGE');
  await failRun(daily, 'SERVER_GONE', 'logical');
  assert.deepEqual(removes(await daily.plan(), daily), [0, 1, 2, 3, 5]);
  await failRun(daily);
  assert.deepEqual(removes(await daily.plan(), daily), []);
  daily.memory.clock.advance(60_000);
  await daily.add();
  assert.notDeepEqual(removes(await daily.plan(), daily), []);
});

test('a run that goes on – nothing is said of it; on another host it is cut off once no lease of a backup lives', async () => {
  const daily = await Daily.of(8);
  const { repository, clock } = daily.memory;
  const holder = { place: 'elsewhere', pid: 1 };
  const note = { at: clock.now().toISOString(), program: 'test', holder };
  clock.advance(60_000);
  await putRunNote(
    repository,
    { database: 'db', run: '20260109T000000Z-00000000-physical', what: 'begun' },
    note,
  );
  const trouble = async () => (await daily.plan()).kinds[0]!.trouble;
  assert.deepEqual(await trouble(), []);
  clock.advance(11 * 60_000);
  const lease = await Lease.acquire(daily.memory.driver, clock, { kind: 'backup', uses: [] });
  assert.deepEqual(await trouble(), []);
  await lease.release();
  assert.match((await trouble()).join(), /was cut off/);
});

test('notes of runs – the newest hundred stay, and those that left a container stopped', async () => {
  const daily = await Daily.of(8);
  const { repository, clock } = daily.memory;
  const run = {
    repository,
    database: 'db',
    kind: 'volume' as const,
    program: 'test',
    clock,
    progress: silentProgress,
  };
  const left = { engine: 'unix:///x', containers: [{ id: 'a', name: 'a', startedAt: '' }] };
  await recordRun(run, (notes) => notes.stopping(left));
  for (let n = 0; n < 110; n++) {
    clock.advance(1000);
    await recordRun(run, () => Promise.resolve());
  }
  await daily.apply((await daily.plan()).id);
  const names = await daily.memory.names('runs/db/');
  assert.equal(names.length, 102);
  assert.equal(names.filter((name) => name.endsWith('/stopped')).length, 1);
});
