import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../../base/errors.ts';
import { parseTarget } from './target-words.ts';

const now = new Date('2026-11-25T12:00:00Z');
const micro = (text: string) => BigInt(new Date(text).getTime()) * 1000n;

test('targets as people write them – are understood', () => {
  assert.deepEqual(parseTarget('latest', now), { kind: 'latest' });
  assert.deepEqual(parseTarget(' backup ', now), { kind: 'backup' });
  assert.deepEqual(parseTarget('0/3000148', now), { kind: 'lsn', lsn: '0/3000148' });
  assert.deepEqual(parseTarget('xid:1234', now), { kind: 'xid', xid: 1234 });
  assert.deepEqual(parseTarget('before:xid:1234', now), { kind: 'xid', xid: 1234, side: 'before' });
  assert.deepEqual(parseTarget('name:before lunch', now), { kind: 'name', name: 'before lunch' });
  assert.deepEqual(parseTarget('after:0/3000148', now), { kind: 'lsn', lsn: '0/3000148', side: 'after' });
  assert.deepEqual(parseTarget('before:name:x', now), { kind: 'name', name: 'x', side: 'before' });
  assert.deepEqual(parseTarget('before: 10 minutes ago', now), {
    kind: 'time',
    time: micro('2026-11-25T11:50:00Z'),
    side: 'before',
  });
  assert.deepEqual(parseTarget('10 minutes ago', now), { kind: 'time', time: micro('2026-11-25T11:50:00Z') });
  assert.deepEqual(parseTarget('2026-11-25 14:03:00.123456+01', now), {
    kind: 'time',
    time: micro('2026-11-25T13:03:00Z') + 123_456n,
  });
  assert.deepEqual(parseTarget('2026-11-25T14:03Z', now), {
    kind: 'time',
    time: micro('2026-11-25T14:03:00Z'),
  });
  assert.deepEqual(parseTarget('2026-11-25 14:03:00 +0530', now), {
    kind: 'time',
    time: micro('2026-11-25T08:33:00Z'),
  });
});

test('a zone by its name – its offset at that time; where the clocks change, refused', () => {
  const at = (text: string) => parseTarget(text, now);
  const is = (text: string) => ({ kind: 'time', time: micro(text) });
  assert.deepEqual(at('2026-07-01 14:00 Europe/Berlin'), is('2026-07-01T12:00:00Z'));
  assert.deepEqual(at('2026-12-01 14:00 Europe/Berlin'), is('2026-12-01T13:00:00Z'));
  assert.deepEqual(at('2026-10-25 01:59:59 Europe/Berlin'), is('2026-10-24T23:59:59Z'));
  assert.deepEqual(at('2026-10-25 03:00 Europe/Berlin'), is('2026-10-25T02:00:00Z'));
  assert.deepEqual(at('2026-07-01 14:00 Asia/Kolkata'), is('2026-07-01T08:30:00Z'));
  assert.deepEqual(at('2026-07-01 14:00 Etc/UTC'), is('2026-07-01T14:00:00Z'));
  assert.throws(() => at('2026-10-25 02:30 Europe/Berlin'), { message: /twice, at \+02:00 and at \+01:00/ });
  assert.throws(() => at('2026-03-29 02:30 Europe/Berlin'), { message: /is not there/ });
  assert.throws(() => at('2026-03-08 02:30 America/New_York'), {
    hint: 'write the offset instead of the name: "2026-03-08 02:30-05:00" or "2026-03-08 02:30-04:00"',
  });
  for (const zone of ['CET', 'CEST', 'Europe/Nowhere', 'EST5EDT'])
    assert.throws(
      () => at(`2026-07-01 14:00 ${zone}`),
      { code: 'USAGE', message: /is not a time zone/ },
      zone,
    );
});

test('a time without a zone, or nonsense – refused with what to write', () => {
  assert.throws(() => parseTarget('2026-11-25 14:03:00', now), { code: 'USAGE', message: /has no zone/ });
  for (const wrong of [
    '',
    'yesterday',
    '25.11.2026',
    'xid:',
    'name:',
    '2026-13-45 99:00Z',
    '0/',
    '2026-02-30 10:00Z',
    '9999999 days ago',
    `${'9'.repeat(400)} days ago`,
  ]) {
    assert.throws(() => parseTarget(wrong, now), { code: 'USAGE' }, wrong);
  }
});

test('any text – a target or USAGE', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        parseTarget(text, now);
      } catch (thrown) {
        assert.ok(thrown instanceof HelvinoError && thrown.code === 'USAGE');
      }
    }),
  );
});
