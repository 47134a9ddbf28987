import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HelvinoError } from '../../base/errors.ts';
import { parseMoment } from './moment.ts';

const now = new Date(2026, 10, 25, 14, 30);

test('words for moments – days begin at midnight of the local zone', () => {
  const midnight = (day: number) => new Date(2026, 10, day).getTime() * 1000;
  assert.equal(parseMoment('today', now), midnight(25));
  assert.equal(parseMoment('Yesterday', now), midnight(24));
  assert.equal(parseMoment('2026-11-20', now), midnight(20));
  assert.equal(parseMoment('today', now, 'end'), midnight(26) - 1);
  assert.equal(parseMoment('yesterday', now, 'end'), midnight(25) - 1);
  assert.equal(parseMoment('2026-11-20', now, 'end'), midnight(21) - 1);
  assert.equal(parseMoment('now', now, 'end'), now.getTime() * 1000);
  assert.equal(parseMoment('2 hours ago', now), (now.getTime() - 7_200_000) * 1000);
  assert.equal(parseMoment('2026-11-20 10:00:00.000001Z', now), Date.UTC(2026, 10, 20, 10) * 1000 + 1);
});

test('what is no moment – USAGE', () => {
  for (const text of ['2026-02-30', 'latest', '0/3000148', 'soon'])
    assert.throws(
      () => parseMoment(text, now),
      (thrown) => thrown instanceof HelvinoError && thrown.code === 'USAGE',
    );
  for (const text of ['tomorrow', '1 year ago', '5 minutes', 'xid:12'])
    assert.throws(() => parseMoment(text, now), {
      message: `"${text}" is not a time`,
      hint: /^today, yesterday/,
    });
  assert.throws(() => parseMoment('2026-03-29 02:30 Europe/Berlin', now), /clocks were put forward/);
});
