import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cutRun, Daily, dayMs, failRun, removes, segment, settings } from '../../../test/daily-backups.ts';
import {
  addHold,
  Lease,
  liftHold,
  listHolds,
  listLogNotes,
  logPieceName,
  putLogNote,
  putLogPiece,
} from '../../repository/index.ts';
import { hasCode } from '../../storage/testing/contract-tools.ts';

const lifted = { by: 'someone@here', at: '2026-01-09T00:00:00.000Z' };

test('a plan that was shown – applied: backups, the WAL that only they needed, and their packs are gone', async () => {
  const daily = await Daily.of(8);
  await daily.prove(1);
  const plan = await daily.plan();
  // 6 and 7 are the newest two, 4 begins the window of three days, 1 is proven.
  assert.deepEqual(removes(plan, daily), [0, 2, 3, 5]);
  assert.equal(plan.kinds[0]!.frees, 4 * 6);
  assert.deepEqual(plan.log.remove.length, 4);
  const done = await daily.apply(plan.id);
  assert.deepEqual([done.removed.length, done.skipped, done.packs.removed], [4, [], 4]);
  assert.deepEqual(await daily.left(), [1, 4, 6, 7]);
  assert.deepEqual(await daily.log(), [4, 5, 6, 7]);
  assert.equal((await daily.memory.names('packs/')).length, 5);
  assert.deepEqual(removes(await daily.plan(), daily), []);
});

test('the state has changed since the plan was shown – PLAN_CHANGED, nothing is done', async () => {
  const changes: ((daily: Daily) => Promise<unknown>)[] = [
    (daily) => daily.add(),
    (daily) => daily.prove(2),
    (daily) => daily.prove(7, 'failed'),
    (daily) => daily.memory.repository.remove('db', daily.ids[0]!),
    (daily) => hold(daily, daily.ids[0]),
    async (daily) => daily.memory.clock.advance(2 * dayMs),
  ];
  for (const change of changes) {
    const daily = await Daily.of(8);
    const { id } = await daily.plan();
    await change(daily);
    const before = await daily.memory.names('');
    await assert.rejects(daily.apply(id), hasCode('PLAN_CHANGED'));
    assert.deepEqual(await daily.memory.names(''), before);
  }
});

function hold(daily: Daily, backup: string | undefined, more: { pin?: boolean; until?: string } = {}) {
  const from = daily.memory.clock.now().toISOString();
  return addHold(daily.memory.repository, {
    database: 'db',
    backup,
    reason: 'case 4711',
    by: 'me@here',
    from,
    pin: false,
    ...more,
  });
}

test('a hold – retention keeps, remove refuses; a pin binds retention only; it ends by itself or by being lifted', async () => {
  const daily = await Daily.of(8);
  const { repository, clock } = daily.memory;
  const held = await hold(daily, daily.ids[0], {
    until: new Date(clock.now().getTime() + 5 * dayMs).toISOString(),
  });
  const pinned = await hold(daily, daily.ids[2], { pin: true });
  const plan = await daily.plan();
  assert.deepEqual(removes(plan, daily), [1, 3, 5]);
  assert.match(
    plan.kinds[0]!.decisions[0]!.reasons[0]!.detail,
    /^hold [0-9a-f]{8}: case 4711 \(me@here, until 2026-01-13\)$/,
  );
  await assert.rejects(repository.remove('db', daily.ids[0]!), hasCode('BACKUP_HELD'));
  await daily.apply(plan.id);
  await repository.remove('db', daily.ids[2]!);
  await liftHold(repository, pinned, lifted);
  clock.advance(6 * dayMs);
  assert.deepEqual(await listHolds(repository, { database: 'db', now: clock.now() }), []);
  await repository.remove('db', daily.ids[0]!);
  assert.equal(held.backup, daily.ids[0]);
});

test('a hold on everything – nothing goes, by retention or by hand', async () => {
  const daily = await Daily.of(8);
  const all = await hold(daily, undefined);
  assert.deepEqual(removes(await daily.plan(), daily), []);
  await assert.rejects(daily.memory.repository.remove('db', daily.ids[0]!), hasCode('BACKUP_HELD'));
  await liftHold(daily.memory.repository, all, lifted);
  assert.deepEqual(removes(await daily.plan(), daily), [0, 1, 2, 3, 5]);
});

test('backups fail: too old, empty, shrunk, a failed drill, a lost manifest – nothing goes, WAL neither', async () => {
  const troubles: [RegExp, (daily: Daily) => Promise<unknown>][] = [
    [
      /newest backup is 2 d old, the objective is 36 h/,
      async (daily) => daily.memory.clock.advance(2 * dayMs),
    ],
    [/is empty/, (daily) => daily.add({ totals: totals(0) })],
    [/the newest backup shrank: 400 B; usual is 1000 B/, (daily) => daily.add({ totals: totals(400) })],
    [/the drill of the newest backup, .*, failed/, (daily) => daily.prove(7, 'failed')],
    [/cannot be read/, (daily) => daily.memory.driver.remove(`backups/db/${daily.ids[3]}`)],
    [/cannot be read/, (daily) => spoil(daily, 3)],
    [/the last run, begun 1 min ago, failed: the disk is full \(STORAGE_FULL\)/, (daily) => failRun(daily)],
    [/the last run, begun 1 min ago, was stopped/, (daily) => failRun(daily, 'INTERRUPTED')],
    [/the last run, begun 1 min ago, was cut off/, (daily) => cutRun(daily)],
  ];
  for (const [said, trouble] of troubles) {
    const daily = await Daily.of(8);
    assert.deepEqual(removes(await daily.plan(), daily), [0, 1, 2, 3, 5]);
    await trouble(daily);
    const plan = await daily.plan();
    assert.deepEqual(removes(plan, daily), []);
    assert.equal(plan.log.remove.length, 0);
    assert.match(plan.kinds[0]!.trouble.join(), said);
    assert.match(plan.log.reason, said);
  }
});

test('a backup that shrank is proven by a drill – it is right so, and retention goes on', async () => {
  const daily = await Daily.of(8);
  await daily.add({ totals: totals(400) });
  assert.deepEqual(removes(await daily.plan(), daily), []);
  await daily.prove(8);
  assert.ok(removes(await daily.plan(), daily).length > 0);
});

function totals(bytes: number) {
  return { files: 1, bytes, received: 0, fresh: 0, stored: 6, referenced: 12 };
}

async function spoil(daily: Daily, index: number): Promise<void> {
  const name = `backups/db/${daily.ids[index]}`;
  const bytes = Buffer.from(await daily.memory.driver.get(name));
  bytes[bytes.length - 1]! ^= 1;
  await daily.memory.driver.put(name, [bytes], { ifAbsent: false });
}

test('a backup in use by a run – left for the next time, the others go', async () => {
  const daily = await Daily.of(8);
  const plan = await daily.plan();
  const lease = await Lease.acquire(daily.memory.driver, daily.memory.clock, {
    kind: 'backup',
    uses: [daily.ids[3]!],
  });
  const done = await daily.apply(plan.id);
  assert.deepEqual(
    done.skipped.map(({ id }) => daily.ids.indexOf(id)),
    [3],
  );
  assert.deepEqual(await daily.left(), [3, 4, 6, 7]);
  await lease.release();
});

test('kinds – each has its own rules, and one that fails stops only itself', async () => {
  const daily = await Daily.of(8);
  const { clock } = daily.memory;
  for (let i = 0; i < 3; i++) {
    clock.advance(60_000);
    await daily.add({ facts: { method: 'logical' } });
  }
  const both = settings(
    '{ keep: { last: 2 }, minimum: 1, pitr: 3d, kinds: { logical: { keep: { last: 1 } } } }',
  );
  assert.deepEqual(removes(await daily.plan(both), daily), [8, 9, 0, 1, 2, 3, 5]);
  clock.advance(dayMs);
  await daily.add({ facts: { method: 'logical' } });
  clock.advance(dayMs);
  await daily.add({ facts: { method: 'logical' } });
  const plan = await daily.plan(both);
  assert.deepEqual(removes(plan, daily), [8, 9, 10, 11]);
  assert.deepEqual(
    plan.kinds.map(({ kind, trouble }) => [kind, trouble.length]),
    [
      ['logical', 0],
      ['physical', 1],
    ],
  );
});

test('no WAL window is wanted – WAL from the newest backup on stays all the same', async () => {
  const daily = await Daily.of(5);
  const none = settings('{ keep: { last: 1 }, minimum: 1, pitr: 0s }');
  await daily.apply((await daily.plan(none)).id, none);
  assert.deepEqual([await daily.left(), await daily.log()], [[4], [4]]);
});

test('a second timeline whose history is not stored – its WAL stays', async () => {
  const daily = await Daily.of(8);
  const { driver, repository } = daily.memory;
  const name = logPieceName('db', { line: 2, begin: 0n, end: 8n });
  await putLogPiece(driver, name, Buffer.alloc(8), {
    ring: repository.ring,
    dataKey: Buffer.alloc(32),
    dataKeyId: '0'.repeat(16),
  });
  daily.memory.clock.advance(dayMs);
  await daily.add();
  daily.memory.clock.advance(3 * dayMs);
  for (let i = 0; i < 5; i++) {
    daily.memory.clock.advance(dayMs);
    await daily.add();
  }
  const plan = await daily.plan();
  assert.ok(plan.log.remove.length > 8);
  assert.ok([...plan.log.remove].every(({ line }) => line === 1));
});

test('proofs of a backup whose removal was cut – gone with the next apply', async () => {
  const daily = await Daily.of(8);
  await daily.prove(0, 'partly proven');
  await daily.prove(7, 'partly proven');
  const { driver } = daily.memory;
  await driver.remove(`ledger/db/${daily.ids[0]}`);
  await driver.remove(`backups/db/${daily.ids[0]}`);
  await daily.apply((await daily.plan()).id);
  assert.deepEqual((await daily.memory.names('proofs/')).length, 1);
});

test('notes about WAL that was removed – gone with it; of each database the last names before the WAL that is left stay', async () => {
  const daily = await Daily.of(8);
  const { repository } = daily.memory;
  const at = (n: number) => BigInt(n) * BigInt(segment);
  const note = { database: 'db', line: 1, bytes: Buffer.from('x') };
  for (let n = 0; n < 7; n++)
    await putLogNote(repository, { ...note, kind: 'index', begin: at(n), end: at(n + 1) });
  // Empty: of a record that goes across the whole segment before. One is superfluous since a later one ended.
  for (const n of [2, 5, 8])
    await putLogNote(repository, { ...note, kind: 'index', begin: at(n), end: at(n) });
  // The end of names is the oid of a database.
  for (let n = 0; n < 7; n++) await putLogNote(repository, { ...note, kind: 'names', begin: at(n), end: 5n });
  for (const n of [0, 2, 6])
    await putLogNote(repository, { ...note, kind: 'names', begin: at(n), end: 16384n });
  await daily.apply((await daily.plan()).id);
  const left = async (kind: 'index' | 'names') =>
    (await listLogNotes(repository, 'db', kind)).map(({ begin, end }) =>
      kind === 'index' ? Number(begin / BigInt(segment)) : `${begin / BigInt(segment)} of ${end}`,
    );
  assert.deepEqual(
    [await daily.log(), await left('index'), await left('names')],
    [
      [4, 5, 6, 7],
      [4, 5, 6, 8],
      ['2 of 16384', '4 of 5', '5 of 5', '6 of 5', '6 of 16384'],
    ],
  );
  const sparse = await Daily.of(8);
  await putLogNote(sparse.memory.repository, {
    database: 'db',
    kind: 'names',
    line: 1,
    begin: 0n,
    end: 1n,
    bytes: Buffer.from('x'),
  });
  await sparse.apply((await sparse.plan()).id);
  assert.equal((await listLogNotes(sparse.memory.repository, 'db', 'names')).length, 1);
});

test('a hold that is damaged – holds all the same, and can be lifted', async () => {
  const daily = await Daily.of(8);
  const { repository, driver, clock } = daily.memory;
  await hold(daily, daily.ids[0]);
  const [name] = await daily.memory.names('holds/');
  await driver.put(name!, [Buffer.from('spoiled')], { ifAbsent: false });
  assert.deepEqual(removes(await daily.plan(), daily), [1, 2, 3, 5]);
  await assert.rejects(repository.remove('db', daily.ids[0]!), hasCode('BACKUP_HELD'));
  const [damaged] = await listHolds(repository, { database: 'db', now: clock.now() });
  await liftHold(repository, damaged!, lifted);
  assert.deepEqual(removes(await daily.plan(), daily), [0, 1, 2, 3, 5]);
});

test('backups and WAL that the store keeps locked – left for the next time, the rest goes', async () => {
  const daily = await Daily.of(8);
  const { driver, clock } = daily.memory;
  const until = new Date(clock.now().getTime() + dayMs);
  await driver.extendRetention(`ledger/db/${daily.ids[2]}`, until);
  await driver.extendRetention((await daily.memory.names('wal/'))[2]!, until);
  const done = await daily.apply((await daily.plan()).id);
  assert.deepEqual(
    done.skipped.map(({ id }) => (id === 'WAL' ? id : daily.ids.indexOf(id))),
    [2, 'WAL'],
  );
  assert.deepEqual(await daily.left(), [2, 4, 6, 7]);
  clock.advance(2 * dayMs);
  await daily.add();
  const next = await daily.apply((await daily.plan()).id);
  assert.deepEqual(next.skipped, []);
  assert.deepEqual(await daily.log(), [6, 7, 8]);
});
