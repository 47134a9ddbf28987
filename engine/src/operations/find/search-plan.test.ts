import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../../../test/repository-fixture.ts';
import { LogIndex } from '../../repository/index.ts';
import { openMemoryDriver } from '../../storage/index.ts';
import { searchPlan } from './search-plan.ts';

const ranges = fc.array(
  fc.record({ begin: fc.nat(60), length: fc.integer({ min: 1, max: 12 }) }).map(({ begin, length }) => ({
    name: '',
    line: 1,
    begin: BigInt(begin) * 100n,
    end: BigInt(begin + length) * 100n,
  })),
  { maxLength: 10 },
);

function units(list: readonly { begin: bigint; end: bigint }[]): Set<number> {
  const found = new Set<number>();
  for (const { begin, end } of list) for (let at = begin / 100n; at < end / 100n; at++) found.add(Number(at));
  return found;
}

/** As it is listed. */
async function indexOf(notes: readonly { begin: bigint; end: bigint }[]): Promise<LogIndex> {
  const driver = openMemoryDriver({ clock: new TestClock() });
  const hex = (position: bigint) => position.toString(16).toUpperCase().padStart(16, '0');
  for (const { begin, end } of notes)
    await driver.put(`log-index/db/00000001/${hex(begin)}-${hex(end)}`, [], { ifAbsent: false });
  return LogIndex.read(driver, 'db');
}

test('any indexes and any WAL – each byte of WAL is searched, by an index where there is one, else read', async () => {
  await fc.assert(
    fc.asyncProperty(ranges, ranges, async (notes, wal) => {
      const pieces = wal.map((range) => ({ ...range, size: 1, stored: new Date(0) }));
      const plan = [...searchPlan(1, await indexOf(notes), pieces)];
      const indexed = units(notes);
      const read = units(plan.filter((step) => step.kind === 'wal'));
      assert.deepEqual(units(plan.filter((step) => step.kind === 'index')), indexed);
      assert.deepEqual(
        [...read].sort((a, b) => a - b),
        [...units(wal)].filter((at) => !indexed.has(at)).sort((a, b) => a - b),
      );
      for (const [i, step] of plan.entries()) assert.ok(i === 0 || step.begin <= plan[i - 1]!.begin);
    }),
  );
});
