import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notedProgress } from '../../../test/noted-progress.ts';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import type { CatalogSnapshot } from '../../postgres/index.ts';
import { logNoteName, putLogNote } from '../../repository/log-notes.ts';
import { tablePlaces } from './table-places.ts';

/** The table `visits` (oid 1) with the partitions `visits_<n>` (oid 10 + n). */
function snapshot(day: number, partitions: readonly number[], database = 5): CatalogSnapshot {
  const relation = (oid: number, name: string): CatalogSnapshot['relations'][number] =>
    [...[oid, 2200, name, 'r', 'p', oid, 0, 0, 1]] as unknown as CatalogSnapshot['relations'][number];
  return {
    database: { oid: database, name: `db${database}`, tablespace: 1663 },
    lsn: String(day << 24),
    taken: new Date(Date.UTC(2026, 10, day)).toISOString(),
    running: [],
    classFile: 1259,
    databases: [],
    schemas: [[2200, 'public']],
    relations: [relation(1, 'visits'), ...partitions.map((n) => relation(10 + n, `visits_${n}`))],
    children: partitions.map((n) => [10 + n, 1]),
  };
}

async function stored(snapshots: readonly CatalogSnapshot[]) {
  const memory = await memoryRepository();
  for (const one of snapshots)
    await putLogNote(memory.repository, {
      database: 'main',
      kind: 'names',
      line: 1,
      begin: BigInt(one.lsn),
      end: BigInt(one.database.oid),
      bytes: Buffer.from(JSON.stringify(one)),
    });
  const { progress, notes } = notedProgress();
  const look = async (filter: { tables: string[]; since?: number; xid?: number }) => {
    const { signal } = new AbortController();
    const { repository } = memory;
    const { partitions: found } = await tablePlaces({
      repository,
      database: 'main',
      filter,
      progress,
      signal,
    });
    return [...found].filter((key) => key.includes('visits')).sort();
  };
  return { ...memory, look, notes };
}

const key = (n: number, database = 5) => `["db${database}","public","visits_${n}"]`;
const micro = (day: number) => Date.UTC(2026, 10, day) * 1000;

test('partitions of a time – those of the last snapshot before it, and of all after it, in each database', async () => {
  const { look } = await stored([
    snapshot(1, [1]),
    snapshot(2, [2], 6),
    snapshot(3, [2]),
    snapshot(5, [3]),
    snapshot(6, [4]),
  ]);
  assert.deepEqual(await look({ tables: ['visits'] }), [key(1), key(2), key(3), key(4), key(2, 6)].sort());
  assert.deepEqual(
    await look({ tables: ['visits'], since: micro(4) }),
    [key(2), key(3), key(4), key(2, 6)].sort(),
  );
  assert.deepEqual(await look({ tables: ['db6.public.visits'], since: micro(4) }), [key(2, 6)]);
  assert.deepEqual(await look({ tables: ['visits_1'] }), []);
  assert.deepEqual(await look({ tables: ['visits'], xid: 7 }), []);
});

test('damaged snapshots – are told, the others count', async () => {
  const { look, notes, driver } = await stored([snapshot(1, [1]), snapshot(2, [2]), snapshot(3, [3])]);
  for (const [day, place] of [
    [2, -1],
    [3, 12],
  ] as const) {
    const name = logNoteName('main', 'names', { line: 1, begin: BigInt(day << 24), end: 5n });
    const bytes = Buffer.from(await driver.get(name));
    bytes[place < 0 ? bytes.length + place : place]! ^= 1;
    await driver.put(name, [bytes], { ifAbsent: false });
  }
  assert.deepEqual(await look({ tables: ['visits'] }), [key(1)]);
  assert.equal(notes.length, 2);
  assert.match(notes[0]!, /^what only log-names\/main\/\S+ knows of tables is not found/);
});
