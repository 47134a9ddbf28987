import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MemoryRepository, memoryRepository } from '../../../test/repository-fixture.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import {
  addHold,
  liftHold,
  listHolds,
  logPieceName,
  noteRemovedLog,
  putLogNote,
  putLogPiece,
} from '../../repository/index.ts';
import { openMemoryDriver } from '../../storage/index.ts';
import { copy, copyLog, planCopy } from './copy.ts';

const place = (line: number, begin: number, end: number) => ({
  line,
  begin: BigInt(begin),
  end: BigInt(end),
});

async function put({ repository }: MemoryRepository, at: ReturnType<typeof place>): Promise<string> {
  const name = logPieceName('db', at);
  const bytes = Buffer.alloc(Number(at.end - at.begin), 7);
  const dataKey = { dataKey: Buffer.alloc(32, 7), dataKeyId: '0'.repeat(16) };
  await putLogPiece(repository.driver, name, bytes, { ring: repository.ring, ...dataKey });
  return name;
}

function request({ repository, clock }: MemoryRepository) {
  const target = openMemoryDriver({ clock });
  const { signal } = new AbortController();
  return { source: repository, target, database: 'db', clock: systemClock, progress: silentProgress, signal };
}

async function namesIn(driver: ReturnType<typeof openMemoryDriver>, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of driver.list(prefix)) names.push(name);
  return names;
}

test('WAL that retention removed from the copy – stays away, up to there and on that timeline only', async () => {
  const source = await memoryRepository();
  const old = [await put(source, place(1, 0, 10)), await put(source, place(1, 10, 20))];
  const kept = [await put(source, place(1, 20, 30)), await put(source, place(2, 0, 10))];
  const options = request(source);
  assert.equal((await planCopy(options)).wal.pieces, 4);
  await copy(options);
  assert.deepEqual(await namesIn(options.target, 'wal/db/'), [...old, ...kept]);

  await noteRemovedLog(options.target, 'db', [place(1, 0, 10), place(1, 10, 20)]);
  for (const name of old) await options.target.remove(name);
  assert.equal((await planCopy(options)).wal.pieces, 0);
  await copy(options);
  await copyLog(options);
  assert.deepEqual(await namesIn(options.target, 'wal/db/'), kept);
  // A later, smaller removal changes nothing; what is wanted again comes.
  await noteRemovedLog(options.target, 'db', [place(1, 0, 10)]);
  assert.equal((await planCopy(options)).wal.pieces, 0);
  await copy({ ...options, again: true });
  assert.deepEqual(await namesIn(options.target, 'wal/db/'), [...old, ...kept]);
});

test('notes about WAL – come with it, and not where the WAL was removed', async () => {
  const source = await memoryRepository();
  const { repository } = source;
  const note = (kind: 'index' | 'names', at: ReturnType<typeof place>) =>
    putLogNote(repository, { database: 'db', kind, ...at, bytes: Buffer.from('{}') });
  await note('index', place(1, 0, 20));
  await note('names', place(1, 5, 16384));
  const kept = [await note('index', place(1, 20, 30)), await note('names', place(1, 20, 16384))];
  const options = request(source);
  await noteRemovedLog(options.target, 'db', [place(1, 0, 20)]);
  await copy(options);
  assert.deepEqual(await namesIn(options.target, 'log-'), kept);
});

test('a hold that was lifted while a copy was away – stays lifted, whichever is copied from; others come', async () => {
  const main = await memoryRepository();
  const { repository, clock } = main;
  const there = request(main);
  const back = { ...there, source: repository.on(there.target), target: main.driver };
  const put = (reason: string) =>
    addHold(repository, { database: 'db', backup: undefined, reason, by: 'me', from: '', pin: false });
  const heldIn = async (driver: typeof main.driver) =>
    (await listHolds(repository.on(driver), { now: clock.now() })).map(({ reason }) => reason).sort();
  const lifted = await put('case 1');
  await put('case 2');
  await copy(there);
  await liftHold(repository, lifted, { by: 'me', at: clock.now().toISOString() });
  await put('case 3');
  assert.deepEqual(await heldIn(there.target), ['case 1', 'case 2']);
  await copy(back);
  assert.deepEqual(await heldIn(main.driver), ['case 2', 'case 3']);
  await copy(there);
  assert.deepEqual(await heldIn(there.target), ['case 2', 'case 3']);
  // Also from a third one that knows it as it is.
  const third = openMemoryDriver({ clock });
  await copy({ ...there, target: third });
  await copy({ ...back, source: repository.on(third) });
  assert.deepEqual(await heldIn(main.driver), ['case 2', 'case 3']);
});

test('the word that a hold was lifted beside the hold – it holds, and is lifted in no copy', async () => {
  const main = await memoryRepository();
  const { repository, clock, driver } = main;
  const there = request(main);
  const hold = { database: 'db', backup: undefined, reason: 'case 1', by: 'me', from: '', pin: false };
  const { id } = await addHold(repository, hold);
  await copy(there);
  // All that a credential can do which may not remove.
  const writes = {
    ...driver,
    put: driver.put.bind(driver),
    remove: () => Promise.reject(new Error('denied')),
  };
  const forged = liftHold(repository.on(writes as never), { ...hold, id }, { by: 'thief', at: '' });
  await assert.rejects(forged, /denied/);
  await copy(there);
  for (const store of [driver, there.target])
    assert.equal((await listHolds(repository.on(store), { now: clock.now() })).length, 1);
});
