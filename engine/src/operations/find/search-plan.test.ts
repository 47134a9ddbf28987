import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
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

test('any indexes and any WAL – each byte of WAL is searched, by an index where there is one, else read', () => {
  fc.assert(
    fc.property(ranges, ranges, (notes, wal) => {
      const pieces = wal.map((range) => ({ ...range, size: 1, stored: new Date(0) }));
      const plan = searchPlan(1, notes, pieces);
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
