import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TestClock } from '../../../test/repository-fixture.ts';
import { LogIndex } from '../../repository/index.ts';
import { openMemoryDriver } from '../../storage/index.ts';
import { mergedPlan, planUntil, searchPlan } from './search-plan.ts';

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
async function indexOf(notes: readonly { line?: number; begin: bigint; end: bigint }[]): Promise<LogIndex> {
  const driver = openMemoryDriver({ clock: new TestClock() });
  const hex = (position: bigint) => position.toString(16).toUpperCase().padStart(16, '0');
  for (const { line = 1, begin, end } of notes)
    await driver.put(`log-index/db/0000000${line}/${hex(begin)}-${hex(end)}`, [], { ifAbsent: false });
  return LogIndex.read(driver, 'db');
}

test('any indexes and any WAL – each byte of WAL is searched, by an index where there is one, else read', async () => {
  await fc.assert(
    fc.asyncProperty(ranges, ranges, async (notes, wal) => {
      const pieces = wal.map((range) => ({ ...range, size: 1, stored: new Date(0) }));
      const plan = [...searchPlan(1, { notes: await indexOf(notes), pieces })];
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

/** Of timeline 1 up to 1000, then of timeline 2. */
async function failedOver(
  notes: readonly { line: number; begin: bigint; end: bigint }[],
  stored: readonly (readonly [number, bigint, bigint])[],
) {
  const index = await indexOf(notes);
  const pieces = stored.map(([line, begin, end]) => ({
    ...{ name: '', line, begin, end },
    ...{ size: 1, stored: new Date(0) },
  }));
  return (line: number) =>
    [...searchPlan(line, { notes: index, pieces, kin: [{ line: 3 - line, until: 1000n }] })].map(
      ({ kind, line: on, begin, end }) => [kind, on, begin, end],
    );
}

test('a timeline’s first segment begins with its parent’s WAL – searched where either has an index, missed once where none has', async () => {
  const wal = [
    [1, 0n, 1000n],
    [2, 800n, 1600n],
  ] as const;
  const [before, after] = [
    { line: 1, begin: 0n, end: 1000n },
    { line: 2, begin: 1000n, end: 1600n },
  ];
  let plan = await failedOver([before, after], wal);
  assert.deepEqual(plan(2), [
    ['index', 2, 1000n, 1600n],
    ['index', 2, 800n, 1000n],
  ]);
  assert.deepEqual(plan(1), [['index', 1, 0n, 1000n]]);
  // The stream was cut off before the index of the tail was stored; that of the next timeline has it.
  plan = await failedOver(
    [
      { ...before, end: 800n },
      { ...after, begin: 800n },
    ],
    wal,
  );
  assert.deepEqual(plan(2), [['index', 2, 800n, 1600n]]);
  assert.deepEqual(plan(1), [
    ['index', 1, 800n, 1000n],
    ['index', 1, 0n, 800n],
  ]);
  plan = await failedOver([{ ...before, end: 800n }, after], wal);
  assert.deepEqual(plan(2), [['index', 2, 1000n, 1600n]]);
  assert.deepEqual(plan(1), [
    ['wal', 1, 800n, 1000n],
    ['index', 1, 0n, 800n],
  ]);
  // The tail of the parent was never stored as its own; and what it has behind the fork is its alone.
  plan = await failedOver([{ ...before, end: 700n }, after], [[1, 0n, 700n], wal[1]]);
  assert.deepEqual(plan(2), [
    ['index', 2, 1000n, 1600n],
    ['wal', 2, 800n, 1000n],
  ]);
  plan = await failedOver(
    [
      { ...before, end: 800n },
      { ...after, begin: 800n },
    ],
    [[1, 0n, 1200n], wal[1]],
  );
  assert.deepEqual(plan(1)[0], ['wal', 1, 1000n, 1200n]);
});

test('a timeline that went on alone, and what only the timeline that left it has of its end – one plan up to the fork, newest first', async () => {
  const notes = await indexOf([
    { line: 1, begin: 0n, end: 700n },
    { line: 1, begin: 1000n, end: 1200n },
    { line: 2, begin: 700n, end: 900n },
    { line: 2, begin: 900n, end: 1600n },
    { line: 2, begin: 1600n, end: 2000n },
  ]);
  const [own, child] = [1, 2].map((line) => searchPlan(line, { notes, pieces: [] }));
  const plan = [...mergedPlan([planUntil(child!, 1000n), own!])];
  assert.deepEqual(
    plan.map(({ line, begin, end }) => [line, begin, end]),
    [
      [1, 1000n, 1200n],
      [2, 900n, 1000n],
      [2, 700n, 900n],
      [1, 0n, 700n],
    ],
  );
  assert.deepEqual([...mergedPlan([[], []])], []);
});
