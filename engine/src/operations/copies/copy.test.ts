import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MemoryRepository, memoryRepository } from '../../../test/repository-fixture.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { logPieceName, noteRemovedLog, putLogNote, putLogPiece } from '../../repository/index.ts';
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
