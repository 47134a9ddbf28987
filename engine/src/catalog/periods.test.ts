import assert from 'node:assert/strict';
import { test } from 'node:test';
import { periodsIn } from './periods.ts';

const names = (zone: string, time: string) => {
  const p = periodsIn(zone)(new Date(time));
  return [p.daily.name, p.weekly.name, p.monthly.name, p.yearly.name];
};

test('a moment – its day is that of the zone, not of UTC', () => {
  assert.deepEqual(names('UTC', '2026-12-31T23:30:00Z'), ['2026-12-31', '2026-W53', '2026-12', '2026']);
  assert.deepEqual(names('Europe/Berlin', '2026-12-31T23:30:00Z'), [
    '2027-01-01',
    '2026-W53',
    '2027-01',
    '2027',
  ]);
  assert.deepEqual(names('Pacific/Kiritimati', '2026-11-25T10:00:00Z')[0], '2026-11-26');
  assert.deepEqual(names('America/Los_Angeles', '2026-11-25T07:59:00Z')[0], '2026-11-24');
});

test('ISO weeks – begin on Monday, and the first of a year is that with its first Thursday', () => {
  assert.equal(names('UTC', '2026-11-22T23:59:59Z')[1], '2026-W47');
  assert.equal(names('UTC', '2026-11-23T00:00:00Z')[1], '2026-W48');
  assert.equal(names('UTC', '2027-01-03T12:00:00Z')[1], '2026-W53');
  assert.equal(names('UTC', '2027-01-04T12:00:00Z')[1], '2027-W01');
  assert.equal(names('UTC', '2024-12-30T12:00:00Z')[1], '2025-W01');
});

test('every day of twelve years in a zone with summer time – numbers of periods never skip or go back', () => {
  const periods = periodsIn('Europe/Berlin');
  let last = periods(new Date('2020-01-01T12:00:00Z'));
  for (let day = 1; day < 12 * 365; day++) {
    const next = periods(new Date(Date.UTC(2020, 0, 1 + day, 12)));
    assert.equal(next.daily.number, last.daily.number + 1);
    for (const kind of ['weekly', 'monthly', 'yearly'] as const) {
      const step = next[kind].number - last[kind].number;
      assert.ok(step === 0 || step === 1);
      assert.equal(step === 1, next[kind].name !== last[kind].name);
    }
    last = next;
  }
});

test('an unknown zone – RangeError', () => {
  assert.throws(() => periodsIn('Europe/Nowhere'), RangeError);
});
