import assert from 'node:assert/strict';
import { test } from 'node:test';
import { damagedEnds, gapsBetween, type RecordedGap, withoutDamage } from './log-gaps.ts';

const range = (line: number, begin: number, end: number) => ({
  line,
  begin: BigInt(begin),
  end: BigInt(end),
});
const recorded = (from: number, to: number, more: Partial<RecordedGap> = {}): RecordedGap => ({
  reason: 'slot-lost',
  timeline: 1,
  toTimeline: 1,
  from: BigInt(from),
  to: BigInt(to),
  time: '2026-01-01T00:00:00.000Z',
  ...more,
});
const text = (gaps: ReturnType<typeof gapsBetween>) =>
  gaps.map((gap) => `${gap.line}: ${gap.begin}-${gap.end} ${gap.reason}`);

test('damage in what is stored – what is before and behind it, on its own timeline only', () => {
  const damaged = (from: number, to: number) => recorded(from, to, { reason: 'damaged' });
  const ranges = [range(1, 0, 30), range(2, 0, 30)];
  const expect = (gaps: readonly RecordedGap[], first: readonly (readonly [number, number])[]) =>
    assert.deepEqual(withoutDamage(ranges, gaps), [
      ...first.map(([b, e]) => range(1, b, e)),
      range(2, 0, 30),
    ]);
  expect(
    [damaged(10, 20)],
    [
      [0, 10],
      [20, 30],
    ],
  );
  expect(
    [damaged(10, 20), damaged(12, 25)],
    [
      [0, 10],
      [25, 30],
    ],
  );
  expect([damaged(25, 40)], [[0, 25]]);
  expect([damaged(0, 5)], [[5, 30]]);
  expect([damaged(0, 30)], []);
  expect([damaged(30, 40), recorded(10, 20)], [[0, 30]]);
  const tail = (gaps: RecordedGap[], end: number) =>
    text(damagedEnds(withoutDamage(ranges, gaps), gaps, new Map([[1, BigInt(end)]])));
  assert.deepEqual(tail([damaged(25, 40)], 30), ['1: 25-40 damaged'], 'nothing sound is behind it');
  assert.deepEqual(tail([damaged(0, 30)], 30), ['1: 0-30 damaged'], 'nothing sound at all');
  assert.deepEqual(tail([damaged(10, 20)], 30), [], 'a hole between two ranges');
  assert.deepEqual(tail([damaged(30, 40)], 30), [], 'nothing is stored there');
  const sound = withoutDamage(ranges, [damaged(10, 20)]);
  assert.deepEqual(text(gapsBetween(sound, new Map(), [damaged(10, 20)])), ['1: 10-20 damaged']);
});

test('two holes on one timeline, one of them recorded – a reason for that one, the other is unknown', () => {
  const ranges = [range(1, 0, 10), range(1, 20, 30), range(1, 35, 40)];
  assert.deepEqual(text(gapsBetween(ranges, new Map(), [recorded(10, 18)])), [
    '1: 10-20 slot-lost',
    '1: 30-35 unknown',
  ]);
});

test('a promotion without a hole – no gap; WAL before the first piece is none either', () => {
  const ranges = [range(1, 5, 25), range(2, 20, 40)];
  assert.deepEqual(gapsBetween(ranges, new Map([[2, [{ timeline: 1, switchLsn: 25n }]]]), []), []);
});

test('a promotion that was missed – what is missing of both timelines, with the reason that covers both', () => {
  const ranges = [range(1, 5, 22), range(2, 30, 40)];
  const history = new Map([[2, [{ timeline: 1, switchLsn: 25n }]]]);
  const reasons = [recorded(22, 30, { toTimeline: 2, reason: 'slot-missing' })];
  assert.deepEqual(text(gapsBetween(ranges, history, reasons)), [
    '1: 22-25 slot-missing',
    '2: 25-30 slot-missing',
  ]);
});

test('found twice – the newest reason', () => {
  const ranges = [range(1, 0, 10), range(1, 20, 30)];
  const late = recorded(10, 20, { reason: 'wal-removed', time: '2026-02-01T00:00:00.000Z' });
  assert.equal(gapsBetween(ranges, new Map(), [late, recorded(10, 15)])[0]!.reason, 'wal-removed');
});
