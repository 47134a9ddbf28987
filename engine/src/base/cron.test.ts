import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextTime, parseCron } from './cron.ts';

const next = (cron: string, after: string, zone = 'UTC') =>
  nextTime(parseCron(cron), new Date(after), zone)?.toISOString();

test('next time – strictly after, in the zone', () => {
  assert.equal(next('0 5 1 * *', '2026-11-25T18:00:00Z'), '2026-12-01T05:00:00.000Z');
  assert.equal(next('0 5 1 * *', '2026-12-01T05:00:00Z'), '2027-01-01T05:00:00.000Z');
  assert.equal(next('0 5 1 * *', '2026-12-01T04:59:59.999Z'), '2026-12-01T05:00:00.000Z');
  assert.equal(next('30 2 * * *', '2026-07-01T00:00:00Z', 'Europe/Berlin'), '2026-07-01T00:30:00.000Z');
  assert.equal(next('*/20 9-17/4 * * mon-fri', '2026-11-27T17:45:00Z'), '2026-11-30T09:00:00.000Z');
  assert.equal(next('@weekly', '2026-11-25T00:00:00Z'), '2026-11-29T00:00:00.000Z');
  assert.equal(next('0 0 * * 7', '2026-11-25T00:00:00Z'), '2026-11-29T00:00:00.000Z');
});

test('next time – a day of the month or of the week when both are given', () => {
  assert.equal(next('0 0 13 * fri', '2026-11-25T00:00:00Z'), '2026-11-27T00:00:00.000Z');
  assert.equal(next('0 0 13 * fri', '2026-12-12T00:00:00Z'), '2026-12-13T00:00:00.000Z');
});

test('next time – a leap day comes; a time that the clocks leave out is passed over', () => {
  assert.equal(next('0 0 29 2 *', '2026-11-25T00:00:00Z'), '2028-02-29T00:00:00.000Z');
  assert.equal(next('30 2 * * *', '2026-03-28T12:00:00Z', 'Europe/Berlin'), '2026-03-30T00:30:00.000Z');
});

test('no schedule – refused with the part that is wrong', () => {
  for (const wrong of [
    '',
    '* * * *',
    '60 * * * *',
    '0 24 * * *',
    '0 0 0 * *',
    '0 0 * 13 *',
    '*/0 * * * *',
    '5-1 * * * *',
    'x * * * *',
  ])
    assert.throws(() => parseCron(wrong), { code: 'CONFIG_INVALID' }, wrong);
  assert.throws(() => parseCron('0 0 31 2,4 *'), /never comes/);
  assert.throws(() => parseCron('0 0 31 2 *'), /never comes/);
});
